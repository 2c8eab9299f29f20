"""What the grid of planes shows, read back from the figure."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from hfcviz.encoding import grey_png, signed_png
from hfcviz.palette import COLOURS
from hfcviz.plane_figures import HOVER, KEPT, checked, plane_parts
from hfcviz.plane_rows import Axis, Row, Scale

LABELS = {"clean": "scan", "attack": "PGD", "hidden": "PGD+HFC"}
RNG = np.random.default_rng(0)
SCALE = Scale((-100.0, 300.0), 8 / 255, 400.0, "HU")


def plane_grid(*about, **view):
    return checked(plane_parts(*about, **view))


def row(rows=20, columns=30, mm=(3.0, 2.0), place=(4, 7), title="axial"):
    clean = RNG.uniform(-200, 400, (1, rows, columns)).astype(np.float32)
    changes = {role: RNG.uniform(-12, 12, clean.shape).astype(np.float32) for role in ("attack", "hidden")}
    versions = {"clean": clean} | {role: clean + change for role, change in changes.items()}
    across, down = Axis(-10, mm[1], "L"), Axis(5, mm[0], "P")
    return Row(title, versions, changes, across, down, place, ("A", "L", "P", "R"))


def decoded(trace) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(trace.source.partition(",")[2]))).convert("RGB"))


def pictures(figure):
    return [trace for trace in figure.data if trace.type == "image"]


def of(figure, name):
    return [trace for trace in figure.data if trace.name == name and trace.type == "scatter"]


def test_versions_are_drawn_in_one_window_and_differences_on_one_scale_of_eps():
    one = row()
    figure = plane_grid([one], LABELS, {}, SCALE)
    shown = pictures(figure)
    for trace, values in zip(shown, one.versions.values(), strict=False):
        expected = np.clip((values[0] + 100) / 400 * 255, 0, 255)
        assert np.abs(decoded(trace)[..., 0] - expected).max() <= 0.501
    red, blue = decoded(shown[4])[..., 0].astype(int), decoded(shown[4])[..., 2].astype(int)
    change = one.changes["hidden"][0]
    assert np.all(red[change > 3] > blue[change > 3]) and np.all(red[change < -3] < blue[change < -3])
    bar = next(trace for trace in figure.data if trace.type == "scatter" and trace.marker.showscale)
    assert bar.marker.cmax == -bar.marker.cmin == pytest.approx(8 / 255 * 400)
    assert bar.marker.colorbar.title.text == "change, HU"


def test_no_change_is_white_and_the_scale_is_symmetric():
    middle = decoded_source(signed_png(np.zeros((1, 2, 2)), 5.0))
    assert middle.min() >= 240
    ends = decoded_source(signed_png(np.array([[[-5.0, 5.0, -99.0, 99.0]]]), 5.0))[0]
    assert np.array_equal(ends[0], ends[2]) and np.array_equal(ends[1], ends[3]) and ends[0][2] > ends[0][0]


def decoded_source(source):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))


def test_colours_stay_colours():
    image = RNG.random((3, 4, 5))
    assert np.abs(decoded_source(grey_png(image, (0, 1))) / 255 - image.transpose(1, 2, 0)).max() <= 0.51 / 255


def test_proportions_are_true_and_zoom_is_linked_within_a_plane():
    figure = plane_grid([row(), row(10, 30, title="coronal")], LABELS, {}, SCALE)
    for trace in pictures(figure):
        assert (trace.dx, trace.dy, trace.x0, trace.y0) == (2.0, 3.0, -10, 5)
    for place in range(1, 11):
        x, y = (figure.layout[f"{letter}axis{place if place > 1 else ''}"] for letter in "xy")
        first = "" if place <= 5 else "6"
        assert y.scaleanchor == f"x{place if place > 1 else ''}" and y.scaleratio in (None, 1)
        if place not in (1, 6):
            assert (x.matches, y.matches) == (f"x{first}", f"y{first}")
        assert x.range[0] < x.range[1] and y.range[0] > y.range[1], "row 0 is on top"
        assert x.range == (-11, 49)
    first, second = (pictures(figure)[at] for at in (0, 5))
    heights = [np.ptp(figure.layout[trace.yaxis.replace("y", "yaxis")].domain) for trace in (first, second)]
    assert heights[0] / heights[1] == pytest.approx(2), "20 rows and 10 rows of 3 mm"


def crosshair(trace):
    """The ends of its lines."""
    found = [(x, y) for x, y, word in zip(trace.x, trace.y, trace.text, strict=True) if x is not None and not word]
    return np.array(found).T


def test_one_crosshair_stands_at_the_same_place_in_every_picture():
    one = row(place=(4, 7))
    found = of(plane_grid([one], LABELS, {}, SCALE), "marks")
    assert len(found) == 5
    for trace in found:
        xs, ys = crosshair(trace)
        upright, level = xs == -10 + 2 * 7, ys == 5 + 3 * 4
        assert upright.sum() == level.sum() == 4 and np.all(upright | level)


def test_letters_stand_at_their_edges_in_every_version_and_not_on_differences():
    versions, changes = np.split(np.array(of(plane_grid([row()], LABELS, {}, SCALE), "marks"), dtype=object), [3])
    assert len(changes) == 2 and not any(word for trace in changes for word in trace.text)
    for trace in versions:
        assert [word for word in trace.text if word] == ["A", "L", "P", "R"]
        places = dict(zip(trace.text, zip(trace.x, trace.y, strict=True), strict=True))
        assert places["A"][1] < places["P"][1] and places["R"][0] < places["L"][0]
        assert places["A"][0] == places["P"][0] and places["R"][1] == places["L"][1]


def test_without_letters_or_a_crosshair_none_is_drawn():
    one = row(place=None)
    plain = Row("", one.versions, one.changes, one.across, one.down)
    figure = plane_grid([plain], LABELS, {}, SCALE)
    assert not of(figure, "marks")


def test_the_mouse_tells_value_unit_and_position():
    one = row()
    figure = plane_grid([one], LABELS, {}, SCALE)
    clean, change = pictures(figure)[0], pictures(figure)[4]
    assert np.array_equal(np.asarray(clean.customdata), one.versions["clean"][0])
    where = "R–L %{x:+.1f} mm, A–P %{y:+.1f} mm (+ towards L, P)<extra></extra>"
    assert clean.hovertemplate == f"scan %{{customdata:.1f}} HU<br>{where}"
    assert change.hovertemplate.startswith("PGD+HFC − scan %{customdata:+.1f} HU")
    clean, change = (pictures(plane_grid([one], LABELS, {}, Scale((0.0, 1.0), 8 / 255)))[at] for at in (0, 4))
    assert "%{customdata:.3f} of 1" in clean.hovertemplate and "%{customdata:+.2f}/255" in change.hovertemplate
    assert np.allclose(change.customdata, one.changes["hidden"][0] * 255), "in 255ths, as the bar of colours"
    small = pictures(plane_grid([one], LABELS, {}, Scale((0.0, 1.5), 8 / 255, 1.5, "SUV")))
    assert "%{customdata:.3f} SUV" in small[0].hovertemplate and "%{customdata:+.3f} SUV" in small[4].hovertemplate
    whole = pictures(plane_grid([one], LABELS, {}, Scale((5.0, 6.0), 8 / 255, 1.0, "SUV")))
    assert "%{customdata:.3f} SUV" in whole[0].hovertemplate, "a window of one unit is not the network's range"


def test_values_are_not_told_where_they_would_be_too_many_and_come_with_the_zoom():
    side = int(np.sqrt(HOVER / 5)) + 2
    one = row(side, side, place=(side // 2, side // 2))
    for zoom, told in ((1, False), (2, True)):
        shown = pictures(plane_grid([one], LABELS, {}, SCALE, zoom=zoom))
        assert all(("customdata" in trace.hovertemplate) == told and trace.customdata is not None for trace in shown)


def test_a_figure_holds_no_more_values_than_its_table_can_have():
    side = int(np.sqrt(KEPT / 5)) + 2
    one = row(side, side, place=(side // 2, side // 2))
    assert all(trace.customdata is None for trace in pictures(plane_grid([one], LABELS, {}, SCALE)))


@pytest.mark.parametrize("place", [(0, 0), (10, 15), (19, 29)])
def test_zoom_shows_the_surroundings_of_the_crosshair_at_their_place(place):
    one = row(place=place)
    whole, part = plane_grid([one], LABELS, {}, SCALE), plane_grid([one], LABELS, {}, SCALE, zoom=2)
    trace = pictures(part)[0]
    assert decoded(trace).shape[:2] == (10, 15)
    top, left = round((trace.y0 - 5) / 3), round((trace.x0 + 10) / 2)
    assert np.array_equal(decoded(trace), decoded(pictures(whole)[0])[top : top + 10, left : left + 15])
    assert top <= place[0] < top + 10 and left <= place[1] < left + 15
    before, after = (crosshair(of(figure, "marks")[0])[0] for figure in (whole, part))
    assert -10 + 2 * place[1] in before and -10 + 2 * place[1] in after, "the crosshair stays where it was in mm"


def test_titles_are_in_the_colours_of_the_roles_with_what_the_network_says():
    figure = plane_grid([row()], LABELS, {"clean": "healthy, 99 %"}, SCALE)
    heads = [re.fullmatch(r"<b style='color:(.*?)'>(.*?)</b>(.*)", note.text) for note in figure.layout.annotations]
    assert {head[2]: head[1] for head in heads if head} == {
        "scan": COLOURS["clean"],
        "PGD": COLOURS["attack"],
        "PGD+HFC": COLOURS["hidden"],
        "PGD − scan": COLOURS["attack"],
        "PGD+HFC − scan": COLOURS["hidden"],
    }
    assert next(head[3] for head in heads if head) == "<br><span style='font-size:12px'>healthy, 99 %</span>"
    # Their grey is the page's own, which reads on light and dark: none of ours does on both.
    assert all(note.font.color is None for note in figure.layout.annotations)


def test_blinking_lays_the_scan_over_the_attacked_version_in_every_plane_and_ends():
    rows = [row(), row(10, 30)]
    figure = plane_grid(rows, LABELS, {}, SCALE, blink="hidden")
    states = {frame.name: frame for frame in figure.frames}
    assert set(states) == {"clean", "hidden"}
    *overlays, word = states["clean"].traces
    for one, number in zip(rows, overlays, strict=True):
        over, under = figure.data[number], figure.data[number - 1]
        assert over.opacity == 0 and over.xaxis == under.xaxis and under.name == "PGD+HFC"
        assert over.source == grey_png(one.versions["clean"], SCALE.window)
    assert [change.opacity for change in states["clean"].data[:-1]] == [1, 1]
    assert [change.opacity for change in states["hidden"].data[:-1]] == [0, 0]
    assert (states["clean"].data[-1].text, states["hidden"].data[-1].text) == (("<b>scan</b>",), ("<b>PGD+HFC</b>",))
    assert figure.data[word].mode == "text"
    play, stop, *by_hand = figure.layout.updatemenus[0].buttons
    frames, timing = play.args
    assert list(frames) == ["clean", "hidden"] * 10 and timing["frame"]["duration"] >= 334, (
        "at most three flashes a second"
    )
    assert [list(button.args[0]) for button in (stop, *by_hand)] == [["hidden"], ["clean"], ["hidden"]]


def test_a_figure_is_plain_json_on_a_clear_ground():
    figure = plane_grid([row()], LABELS, {}, SCALE, blink="attack")
    json.loads(figure.to_json())
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
