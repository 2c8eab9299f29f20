"""What figures show, read from the figures themselves."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest

from hfcviz.charts import depth_strip, detector_chart, squashed_ticks, trace_lines, verdict_map
from hfcviz.figures import difference_panels, scan_panels
from hfcviz.palette import CLASS_COLOURS, COLOURS, SYMBOLS
from hfcviz.paper import plain
from hfcviz.scatters import Group, Own, layer_scatter

ROLES = ("clean", "noise", "attack", "hidden")
LABELS = {"clean": "scan", "noise": "noise", "attack": "MIM", "hidden": "MIM+HFC"}
RNG = np.random.default_rng(0)


def pictures(channels=1):
    """One random picture (C, 5, 7) a role."""
    return {role: RNG.random((channels, 5, 7), dtype=np.float32) for role in ROLES}


def scatter(ticks=True):
    """Two training classes, one held-out class, and the three other roles; the scan's four points, two with paths."""
    groups = [
        Group("healthy", "clean", RNG.random((4, 2)), ["t0", "t1", "t2", "t3"], 0),
        Group("lesion", "clean", RNG.random((3, 2)), ["t4", "t5", "t6"], 1),
        Group("lesion, held out", "clean", RNG.random((2, 2)), ["h0", "h1"], 1, hollow=True),
        *(Group(f"{role}s", role, RNG.random((2, 2)), [f"{role}0", f"{role}1"]) for role in ROLES[1:]),
    ]
    paths = {"attack": RNG.random((3, 2)), "hidden": RNG.random((3, 2))}
    own = [Own(LABELS[role], role, RNG.random(2), paths.get(role)) for role in ROLES]
    return groups, own, layer_scatter(groups, own, ("first", "second"), ticks=ticks)


FIGURES = {
    "scans": lambda: scan_panels(pictures(), LABELS, dict.fromkeys(ROLES, "")),
    "differences": lambda: difference_panels({role: v - 0.5 for role, v in pictures().items()}, LABELS, 0.1),
    "scatter": lambda: scatter()[2],
    "depth": lambda: depth_strip(["a", "b"], {role: RNG.normal(size=2) for role in ROLES}, LABELS, -np.ones(2)),
    "detectors": lambda: detector_chart({"KD": dict.fromkeys(ROLES, 50.0)}, LABELS),
    "trace": lambda: trace_lines({role: RNG.random(4) for role in ROLES}, LABELS, "p", (0, 1)),
}


def colours_by_label(figure):
    """{what people read: every colour it comes in}, from titles and traces."""
    found = {}
    for note in figure.layout.annotations:
        if note.text.startswith("<b>"):
            label = note.text.removeprefix("<b>").removesuffix("</b>").removesuffix(" − scan")
            found.setdefault(label, set()).add(note.font.color)
    for trace in figure.data:
        if isinstance(trace, go.Scatter):
            label = trace.name.removeprefix("path of ").removeprefix("this scan: ")
            if trace.marker.color is not None:
                found.setdefault(label, set()).add(trace.marker.color)
            if trace.line.color is not None:
                found.setdefault(label, set()).add(trace.line.color)
    return found


# The same for all


@pytest.mark.parametrize("name", FIGURES)
def test_a_role_has_one_colour_in_every_figure(name):
    found = colours_by_label(FIGURES[name]())
    for role in ROLES:
        assert found[LABELS[role]] == {COLOURS[role]}


def test_no_two_roles_share_a_colour_or_a_marker():
    assert set(COLOURS) == set(SYMBOLS) == set(ROLES)
    assert len(set(COLOURS.values())) == len(set(SYMBOLS.values())) == 4
    assert not set(CLASS_COLOURS) & {COLOURS[role] for role in ROLES[1:]}


@pytest.mark.parametrize("name", ["scatter", "depth", "detectors"])
def test_a_role_has_one_marker_in_every_figure(name):
    for role in ROLES:
        marks = [
            t.marker.symbol for t in FIGURES[name]().data if t.name in (LABELS[role], f"this scan: {LABELS[role]}")
        ]
        assert set(marks) == {SYMBOLS[role]}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_plain_json_on_a_clear_ground(name):
    figure = FIGURES[name]()
    json.loads(figure.to_json())
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


# Pictures


def test_all_versions_of_a_scan_are_shown_in_one_window_with_row_0_on_top():
    images = pictures()
    figure = scan_panels(images, LABELS, dict.fromkeys(ROLES, ""))
    for trace, image in zip(figure.data, images.values(), strict=True):
        assert (trace.zmin, trace.zmax) == (0, 1)
        assert np.array_equal(trace.z, image[0])
    assert all(axis.autorange == "reversed" for axis in figure.select_yaxes())
    assert [axis.scaleanchor for axis in figure.select_yaxes()] == ["x", "x2", "x3", "x4"]


def test_every_picture_has_its_own_name_above_and_its_own_line_below():
    captions = {role: f"line of {role}" for role in ROLES}
    figure = scan_panels(pictures(), LABELS, captions)
    for place, role in enumerate(ROLES, 1):
        axis = "x domain" if place == 1 else f"x{place} domain"
        notes = {note.y: note.text for note in figure.layout.annotations if note.xref == axis}
        assert notes == {1.0: f"<b>{LABELS[role]}</b>", 0.0: captions[role]}


def test_letters_stand_at_the_edges_of_every_picture_in_the_order_top_right_bottom_left():
    figure = scan_panels(pictures(), LABELS, dict.fromkeys(ROLES, ""), ("A", "L", "P", "R"))
    at = {(1, 0.5): "L", (0, 0.5): "R", (0.5, 1): "A", (0.5, 0): "P"}
    for number in ("", 2, 3, 4):
        own = [one for one in figure.layout.annotations if one.xref == f"x{number} domain" and len(one.text) == 1]
        assert {(one.x, one.y): one.text for one in own} == at
        assert {one.yref for one in own} == {f"y{number} domain"}
        assert {(one.xanchor, one.yanchor) for one in own if one.x == 1} == {("right", "middle")}, "within the picture"


def test_colour_pictures_are_shown_in_colour():
    images = pictures(3)
    figure = scan_panels(images, LABELS, dict.fromkeys(ROLES, ""))
    for trace, image in zip(figure.data, images.values(), strict=True):
        assert isinstance(trace, go.Image)
        shown = np.asarray(trace.z)
        assert shown.shape == (5, 7, 3)
        assert np.abs(shown / 255 - image.transpose(1, 2, 0)).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(("n", "gain"), [(1, "128"), (2, "63.8"), (8, "15.9"), (255, "0.5")])
def test_a_difference_is_in_255ths_on_a_scale_centred_at_zero_with_its_gain(n, gain):
    changes = {role: (RNG.random((1, 5, 7)) * 2 - 1) * n / 255 for role in ("attack", "hidden")}
    figure = difference_panels(changes, LABELS, n / 255)
    for trace, change in zip(figure.data, changes.values(), strict=True):
        assert trace.zmin == -trace.zmax == pytest.approx(-n)
        np.testing.assert_allclose(trace.z, change[0] * 255)
    said = [note.text for note in figure.layout.annotations if "shown" in note.text]
    assert said == [f"shown × {gain}"] * 2
    assert [trace.showscale for trace in figure.data] == [False, True]


def test_no_difference_is_drawn_as_none_when_eps_is_zero():
    figure = difference_panels({"attack": np.zeros((1, 5, 7))}, LABELS, 0.0)
    assert figure.data[0].zmin == -figure.data[0].zmax < 0
    assert not np.any(figure.data[0].z)


def test_of_a_colour_difference_the_most_changed_channel_is_shown():
    change = np.zeros((3, 5, 7))
    change[0, 1, 1], change[1, 2, 3], change[2, 4, 4] = 0.01, -0.03, 0.02
    shown = difference_panels({"attack": change}, LABELS, 0.03).data[0].z
    assert np.argwhere(shown).tolist() == [[2, 3]]
    assert shown[2, 3] == pytest.approx(-0.03 * 255)


# Scatter


def test_groups_lie_where_they_are_and_every_point_knows_its_scan():
    groups, _, figure = scatter()
    for group, trace in zip(groups, figure.data, strict=False):
        assert np.array_equal(np.column_stack([trace.x, trace.y]), group.xy)
        assert ([entry[0] for entry in trace.customdata], trace.name) == (group.ids, group.label)
        assert all(name in text for name, text in zip(group.ids, trace.hovertext, strict=True))
        assert "%{hovertext}" in trace.hovertemplate


def test_held_out_points_are_hollow_and_of_the_colour_of_their_class():
    _, _, figure = scatter()
    healthy, lesion, held_out = figure.data[:3]
    assert held_out.marker.symbol == f"{lesion.marker.symbol}-open"
    assert held_out.marker.color == lesion.marker.color != healthy.marker.color
    assert lesion.marker.symbol != healthy.marker.symbol
    assert [str(trace.marker.symbol).endswith("-open") for trace in figure.data].count(True) == 1


def test_own_points_lie_on_top_of_their_paths():
    groups, own, figure = scatter()
    rest = figure.data[len(groups) :]
    paths, points = rest[:2], rest[2:]
    for trace, one in zip(paths, own[2:], strict=True):
        assert np.array_equal(np.column_stack([trace.x, trace.y]), one.path)
        assert [text.rpartition(" ")[2] for text in trace.hovertext] == ["0", "1", "2"]
        assert trace.name == f"path of {one.label}"
    for trace, one in zip(points, own, strict=True):
        assert (trace.x[0], trace.y[0]) == tuple(one.point)
        assert trace.marker.size > max(group.marker.size for group in figure.data[: len(groups)])


@pytest.mark.parametrize("ticks", [True, False], ids=["exact", "map"])
def test_only_exact_views_have_numbers_on_their_axes(ticks):
    figure = scatter(ticks)[2]
    assert (figure.layout.xaxis.showticklabels, figure.layout.yaxis.showticklabels) == (ticks, ticks)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("first", "second")


# Depth


def test_depth_keeps_the_order_of_values_and_its_ticks_say_the_values():
    values = np.array([-10, -4, -1, -0.2, 0, 0.2, 1, 2, 3, 10, 55, 300, 1000, 1e4])
    figure = depth_strip([str(v) for v in values], {"attack": values}, LABELS, -np.ones(len(values)))
    y = np.asarray(figure.data[-1].y)
    assert (np.diff(y) > 0).all()
    ticks = dict(zip(map(float, figure.layout.yaxis.ticktext), figure.layout.yaxis.tickvals, strict=True))
    known = dict(zip(values.tolist(), y.tolist(), strict=True))
    assert set(ticks) & set(known) >= {-10, -1, 0, 1, 3, 10, 300, 1000, 1e4}
    for value in set(ticks) & set(known):
        assert ticks[value] == pytest.approx(known[value])
    assert list(figure.data[-1].customdata) == values.tolist()
    assert known[0] == 0


def test_ticks_span_the_values_and_the_clean_band_ends_at_one():
    figure = depth_strip(
        ["a", "b"], {"clean": np.array([0.3, -0.8]), "hidden": np.array([1.0, -1.0])}, LABELS, np.array([-0.5, -2.0])
    )
    ticks = [float(text) for text in figure.layout.yaxis.ticktext]
    assert min(ticks) <= -1 and 1 <= max(ticks) <= 10
    upper, lower, _, hidden = (np.asarray(trace.y) for trace in figure.data)
    assert upper == pytest.approx([hidden[0]] * 2)
    known = dict(zip(ticks, figure.layout.yaxis.tickvals, strict=True))
    assert known[-1] < lower[0] < known[0] and known[-3] < lower[1] < known[-1]
    assert figure.data[1].fill == "tonexty"
    wide = depth_strip(["a"], {"attack": np.array([5000.0])}, LABELS, -np.ones(1))
    assert max(float(text) for text in wide.layout.yaxis.ticktext) >= 3000


def test_layers_stand_in_order_of_depth():
    figure = depth_strip(["layer10", "layer2", "head"], {role: np.zeros(3) for role in ROLES}, LABELS, -np.ones(3))
    assert [list(trace.x) for trace in figure.data] == [["layer10", "layer2", "head"]] * 6


# Detectors


def test_every_version_stands_at_its_percentile_in_the_row_of_its_detector():
    ranks = {name: {role: float(RNG.integers(0, 101)) for role in ROLES} for name in ("KD", "LID", "SVM")}
    figure = detector_chart(ranks, LABELS)
    for trace, role in zip(figure.data, ROLES, strict=True):
        assert dict(zip(trace.y, trace.x, strict=True)) == {name: ranks[name][role] for name in ranks}
    assert list(figure.layout.yaxis.categoryarray) == ["SVM", "LID", "KD"]  # plotly counts from below


def test_a_marker_at_the_edge_of_the_chart_is_whole():
    figure = detector_chart({"KD": dict.fromkeys(ROLES, 100.0)}, LABELS)
    assert figure.data and all(trace.cliponaxis is False for trace in figure.data)


def test_the_flagged_zone_of_the_chart_begins_at_the_threshold():
    figure = detector_chart({"KD": dict.fromkeys(ROLES, 1.0)}, LABELS, 90)
    zone, line = figure.layout.shapes
    assert (zone.x0, line.x0, line.x1) == (90, 90, 90)
    assert zone.x1 >= 100
    low, high = figure.layout.xaxis.range
    assert low < 0 and high > 100


def test_the_verdict_map_says_caught_where_a_detector_flags():
    flags = {"MIM": np.array([[True, False, True], [False, False, True]]), "MIM+HFC": np.zeros((2, 3), dtype=bool)}
    figure = verdict_map(flags, ["KD", "SVM"], ["a", "b", "c"])
    for trace, (what, flag) in zip(figure.data, flags.items(), strict=True):
        assert (list(trace.x), list(trace.y)) == (["a", "b", "c"], ["KD", "SVM"])
        assert np.array_equal(trace.z, flag)
        assert (trace.zmin, trace.zmax) == (0, 1)
        words = [[plain(text) for text in row] for row in trace.text]
        assert np.array_equal(words, np.where(flag, "caught", "passes")) and np.array_equal(trace.hovertext, words)
        assert what in trace.hovertemplate
    assert [note.text for note in figure.layout.annotations] == ["MIM", "MIM+HFC"]
    assert all(axis.autorange == "reversed" for axis in figure.select_yaxes())


# Steps


def test_a_line_over_the_steps_starts_at_step_0():
    series = {"attack": np.array([0.1, 0.5, 0.9]), "hidden": np.array([0.1, 0.4, 0.8])}
    figure = trace_lines(series, LABELS, "probability of lesion", (-0.02, 1.02))
    for trace, values in zip(figure.data, series.values(), strict=True):
        assert list(trace.x) == [0, 1, 2]
        assert np.array_equal(trace.y, values)
    assert figure.layout.yaxis.range == (-0.02, 1.02)
    assert figure.layout.yaxis.title.text == "probability of lesion"
    assert figure.data[0].line.dash != figure.data[1].line.dash


def test_values_without_bounds_stand_on_a_logarithmic_scale():
    figure = trace_lines({"attack": np.array([1.0, 1000.0])}, LABELS, "distance", None)
    assert figure.layout.yaxis.type == "log"


def test_the_clean_median_and_quantile_are_marked_however_far_all_versions_lie():
    assert {"0", "1", "1000"} <= set(squashed_ticks(np.array([900.0, 5000.0]))["ticktext"])
    assert "-10" not in squashed_ticks(np.array([0.5, 2.0]))["ticktext"]
