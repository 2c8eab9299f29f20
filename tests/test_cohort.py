"""A cohort judged: every scan in its place, nothing but held-out scans, and charts that show the numbers they are given."""

import numpy as np
import pytest
from bundles import case, one_thread  # noqa: F401
from sklearn.metrics import roc_auc_score

from hfcviz.cohort import by_role, curve, embed_cohort, judge, selected_marks
from hfcviz.cohort_charts import DIM, auc_map, cohort_scatter, roc_grid, score_strips
from hfcviz.palette import COLOURS
from hfcviz.projections import PROJECTIONS, TSNE

LABELS = {"clean": "clean", "noise": "noise", "attack": "PGD", "hidden": "PGD+HFC"}


@pytest.fixture(scope="module")
def judged():
    return judge(case().reference)


def test_only_scans_that_no_detector_was_trained_on_are_judged(judged):
    r = case().reference
    held_out = [name for name, trains in zip(r.ids, r.trains, strict=True) if not trains]
    assert list(judged.ids) == held_out
    for own in judged.scores.values():
        assert {role: len(values) for role, values in own.items()} == dict.fromkeys(r.cohort, len(held_out))


def test_scores_belong_to_their_scans(judged):
    r = case().reference
    row = r.ids.index(judged.ids[4])
    for name, detector in r.detectors().items():
        for role in r.cohort:
            alone = detector.score(r.cohort[role].take([row]))[0]
            assert judged.scores[name][role][4] == pytest.approx(alone, rel=1e-6, abs=1e-9)
    for role, values in judged.linf.items():
        assert values.shape == (len(judged.ids),) and values[4] == r.linf[role][row]
    for role in ("attack", "hidden"):
        assert judged.fooled[role][4] == (r.cohort[role].predicted[row] == r.targets[row])


def test_curves_have_the_area_that_scikit_learn_finds_and_that_the_table_says(judged):
    for row in judged.rows:
        name, role = row["detector"], row["role"]
        scores = [judged.scores[name][kind] for kind in ("clean", "noise", role)]
        truth = np.repeat([0, 0, 1], [len(part) for part in scores])
        expected = roc_auc_score(truth, np.concatenate(scores))
        fpr, tpr, auc = curve(judged, name, role)
        assert auc == pytest.approx(expected) == pytest.approx(row["auc"])
        assert np.trapezoid(tpr, fpr) == pytest.approx(expected)


def test_a_scan_lies_as_far_right_as_negatives_score_at_least_as_high(judged):
    negatives = np.concatenate([judged.scores["KD"]["clean"], judged.scores["KD"]["noise"]])
    for value in (negatives.min(), np.median(negatives), negatives.max(), negatives.max() + 1):
        expected = np.mean(negatives >= value)
        assert judged.false_alarms("KD", np.array([value]))[0] == pytest.approx(expected)


def test_the_export_holds_the_chosen_scans_and_their_verdicts(judged):
    chosen = {judged.ids[2], judged.ids[7], "unknown"}
    lines = judged.table(chosen)
    assert [line["scan"] for line in lines] == [judged.ids[2], judged.ids[7]]
    for line, row in zip(lines, (2, 7), strict=True):
        for name in judged.scores:
            assert line[f"{name} hidden"] == judged.scores[name]["hidden"][row]
            assert line[f"{name} hidden caught"] == (judged.scores[name]["hidden"][row] > judged.thresholds[name])
    assert len(judged.table()) == len(judged.ids)


def test_the_share_that_is_caught_counts_the_chosen_scans_alone(judged):
    rows = np.array([0, 2, 3])
    found = judged.shares_caught(rows)
    assert list(found) == judged.roles
    for role, by_detector in found.items():
        for name, share in by_detector.items():
            above = sum(judged.scores[name][role][row] > judged.thresholds[name] for row in rows)
            assert share == pytest.approx(above / 3)


def test_marks_lie_on_the_curves(judged):
    marks = selected_marks(judged, np.arange(len(judged.ids)))
    for name, found in marks.items():
        for role, (fpr, tpr) in found.items():
            corners = set(zip(*(part.round(9) for part in curve(judged, name, role)[:2]), strict=True))
            assert set(zip(fpr.round(9), tpr.round(9), strict=True)) <= corners


@pytest.mark.parametrize("method", PROJECTIONS)
def test_positions_belong_to_their_role_and_scan(judged, method):
    r = case().reference
    settings = TSNE(perplexity=200) if method == "t-SNE" else PROJECTIONS[method]
    embedding = embed_cohort(judged, "block3", settings)
    xy = by_role(judged, embedding)
    assert {role: points.shape for role, points in xy.items()} == dict.fromkeys(r.cohort, (len(judged.ids), 2))
    if method == "PCA":
        parts = {role: r.part(role, trains=False).layers["block3"].astype(float) for role in r.cohort}
        gaps = {role: xy[role] - xy["clean"] for role in xy}
        _, _, axes = np.linalg.svd(parts["clean"] - parts["clean"].mean(0))
        for role, gap in gaps.items():
            expected = np.abs((parts[role] - parts["clean"]) @ axes[:2].T)
            np.testing.assert_allclose(np.abs(gap), expected, rtol=1e-3, atol=1e-4)


# Charts


def test_the_scatter_can_be_selected_from_by_the_id_of_a_scan():
    xy = {role: np.arange(8.0).reshape(4, 2) + place for place, role in enumerate(LABELS)}
    ids, chosen = ["s0", "s1", "s2", "s3"], [1, 3]
    figure = cohort_scatter(xy, ids, np.array([0, 1, 0, 1]), chosen, LABELS, ("x", "y"), ticks=True)
    assert [trace.name for trace in figure.data] == list(LABELS.values())
    for trace, (role, points) in zip(figure.data, xy.items(), strict=True):
        assert [entry[0] for entry in trace.customdata] == ids
        assert np.array_equal(np.column_stack([trace.x, trace.y]), points)
        assert trace.marker.color == COLOURS[role] and list(trace.selectedpoints) == chosen
        assert 0 < trace.unselected.marker.opacity < 0.3, "the rest dims, it does not disappear"
    assert figure.layout.dragmode == "lasso"
    nothing = cohort_scatter(xy, ids, np.array([0, 1, 0, 1]), [], LABELS, ("x", "y"), ticks=False)
    assert all(trace.selectedpoints is None for trace in nothing.data)


def test_strips_show_every_scan_and_dim_those_that_are_not_chosen():
    scores = {role: np.linspace(place, place + 3, 20) for place, role in enumerate(LABELS)}
    ids = [f"s{n}" for n in range(20)]
    figure = score_strips(scores, ids, [4], 2.5, LABELS, "score")
    histograms = [trace for trace in figure.data if trace.type == "histogram"]
    strips = [trace for trace in figure.data if trace.type == "scatter"]
    for bars, strip, (role, values) in zip(histograms, strips, scores.items(), strict=True):
        assert len(bars.x) == len(strip.x) == 20
        assert [entry[0] for entry in strip.customdata] == ids
        np.testing.assert_allclose(np.array([entry[1] for entry in strip.customdata], dtype=float), values)
        assert strip.marker.opacity[4] == 1 and set(np.delete(strip.marker.opacity, 4)) == {DIM}
        assert strip.marker.color == COLOURS[role]
    assert {shape.x0 for shape in figure.layout.shapes} == {2.5}


def test_the_roc_grid_has_a_panel_for_each_detector_and_marks_the_selection():
    line = np.array([0, 0.5, 1]), np.array([0, 0.8, 1]), 0.65
    curves = {name: {"attack": line, "hidden": line} for name in ("A", "B", "C", "D", "E")}
    marks = {"B": {"attack": (np.array([0.1]), np.array([0.4]))}}
    figure = roc_grid(curves, marks, LABELS)
    assert [note.text for note in figure.layout.annotations] == list(curves)
    drawn = [trace for trace in figure.data if trace.name == "PGD"]
    assert len(drawn) == 5 and all(np.array_equal(trace.y, line[1]) for trace in drawn)
    (mark,) = [trace for trace in figure.data if trace.mode == "markers"]
    assert (mark.x[0], mark.y[0], mark.xaxis) == (0.1, 0.4, drawn[1].xaxis)


def test_the_map_is_centred_on_chance_and_each_cell_is_its_auc():
    aucs = {role: {"KD": {"a": 0.9, "b": 0.1}, "LID": {"a": 0.4, "b": 0.6}} for role in ("attack", "hidden")}
    figure = auc_map(aucs, ["a", "b"], LABELS)
    assert [note.text for note in figure.layout.annotations] == ["PGD", "PGD+HFC"]
    for panel in figure.data:
        assert (panel.zmin, panel.zmax) == (0, 1)
        assert np.array_equal(panel.z, [[0.9, 0.1], [0.4, 0.6]])
    for axis in figure.select_yaxes():
        assert tuple(axis.range) == (1.5, -0.5), "the first detector above, and its whole cell"
