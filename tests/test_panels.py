"""Figures of a whole experiment: that every number of an outcome arrives at its place."""

from dataclasses import replace

import numpy as np
import pytest
from bundles import ATTACK, CONSTRAINT, case, one_thread  # noqa: F401
from sklearn.decomposition import PCA

from hfcviz import layer_views
from hfcviz.experiment import run_experiment
from hfcviz.layer_views import embed_layer, scatter_figure
from hfcviz.outcome import Plan, load_outcome, save_outcome
from hfcviz.palette import COLOURS
from hfcviz.panels import (
    all_figures,
    caution,
    confidence_figure,
    depth_figure,
    detector_figure,
    difference_figure,
    distance_figure,
    layer_figure,
    role_labels,
    scan_figure,
)
from hfcviz.projections import PROJECTIONS, TSNE, UMAP, Embedding
from hfcviz.scans import flat

both_ranks = pytest.mark.parametrize("dims", [2, 3], ids=["2-D", "3-D"])
ROLES = ("clean", "noise", "attack", "hidden")
MAPS = {"t-SNE": TSNE(perplexity=5), "UMAP": UMAP(neighbours=5)}


def names(dims=2):
    return case(dims).classifier.class_names


def by_name(figure):
    return {trace.name: trace for trace in figure.data}


def xy(trace):
    return np.column_stack([trace.x, trace.y])


def scattered(dims, layer, method=PROJECTIONS["PCA"], outcome=None):
    outcome, r = outcome or case(dims).outcome, case(dims).reference
    embedding = embed_layer(outcome, r, layer, method)
    return embedding, by_name(scatter_figure(outcome, r, layer, embedding, names(dims)))


# Pictures


def middle_of(x):
    """What is shown of (V, C, *spatial): an image, or a RAS+ volume's middle slice from the front and the patient's right."""
    if x.ndim == 4:
        return x
    right, front = x.shape[2] - 1, x.shape[3] - 1
    rows, columns = range(front + 1), range(right + 1)
    picture = [[x[:, :, right - column, front - row, x.shape[-1] // 2] for column in columns] for row in rows]
    return np.moveaxis(np.array(picture), (0, 1), (2, 3))


def test_of_a_volume_the_middle_slice_is_shown_as_a_radiologist_sees_it_and_an_image_as_it_is():
    image, volume = np.random.default_rng(0).random((2, 4, 5)), np.random.default_rng(1).random((1, 4, 5, 7))
    assert flat(image) is image
    assert np.array_equal(flat(volume), middle_of(volume[None])[0])


@both_ranks
def test_scan_and_attacks_are_shown_with_what_the_network_says_of_each(dims):
    o = case(dims).outcome
    figure = scan_figure(o, names(dims))
    middle = middle_of(o.x)
    captions = [note.text for note in figure.layout.annotations if not note.text.startswith("<b>")]
    for trace, caption, row in zip(figure.data, captions, (0, 2, 3), strict=True):
        assert np.array_equal(trace.z, middle[row, 0])
        odds = np.exp(o.activations.logits[row].astype(float))
        assert caption == f"{names(dims)[odds.argmax()]}, {100 * odds.max() / odds.sum():.1f}%"


@both_ranks
def test_the_difference_is_attacked_minus_scan(dims):
    o = case(dims).outcome
    for trace, row in zip(difference_figure(o).data, (2, 3), strict=True):
        assert np.abs(trace.z).max() <= 12 + 1e-3
        assert trace.zmax == pytest.approx(12)
        middle = middle_of(o.x)
        np.testing.assert_allclose(np.asarray(trace.z) / 255 + middle[0, 0], middle[row, 0], atol=1e-6)


# Depth, detectors, steps


@both_ranks
def test_depth_is_0_at_the_clean_median_and_1_at_the_clean_95_percent_quantile(dims):
    o, r = case(dims).outcome, case(dims).reference
    clean = r.detectors()["GMM"].layer_scores(r.calibration)
    for trace, role in zip(depth_figure(o).data[2:], o.roles, strict=True):
        for layer, value in zip(trace.x, trace.customdata, strict=True):
            median, upper = np.percentile(clean[layer], [50, 95])
            score = r.detectors()["GMM"].layer_scores(o.activations)[layer][ROLES.index(role)]
            assert value == pytest.approx((score - median) / (upper - median), abs=0.02, rel=1e-3)


@both_ranks
def test_each_version_stands_at_its_percentile(dims):
    o = case(dims).outcome
    for row, trace in enumerate(detector_figure(o).data):
        assert dict(zip(trace.y, trace.x, strict=True)) == {name: o.ranks[name][row] for name in o.scores}
        assert trace.marker.color == COLOURS[ROLES[row]]


@both_ranks
def test_the_verdict_map_flags_layer_scores_above_their_thresholds(dims):
    o = case(dims).outcome
    figure = layer_figure(o)
    assert [note.text for note in figure.layout.annotations] == ["PGD", "PGD+HFC"]
    for trace, row in zip(figure.data, (2, 3), strict=True):
        for name, cells in zip(trace.y, trace.z, strict=True):
            expected = [
                score[row] > limit for score, limit in zip(o.layer_scores[name], o.layer_thresholds[name], strict=True)
            ]
            assert cells.tolist() == expected
    assert np.sum(figure.data[0].z) > np.sum(figure.data[1].z)


@both_ranks
def test_the_confidence_line_ends_at_the_targets_probability(dims):
    o = case(dims).outcome
    figure = confidence_figure(o, names(dims))
    assert figure.layout.yaxis.title.text == f"probability of {names(dims)[o.target]}"
    for trace, row in zip(figure.data, (2, 3), strict=True):
        assert len(trace.y) == ATTACK.steps + 1
        assert trace.y[-1] == pytest.approx(o.activations.probabilities[row, o.target], abs=1e-4)


@both_ranks
@pytest.mark.parametrize("layer", ["block1", "block3"])
def test_the_distance_line_is_the_mahalanobis_distance_to_the_targets_clean_class_per_channel(dims, layer):
    o, r = case(dims).outcome, case(dims).reference
    clean = r.train.layers[layer][r.train_labels == o.target].astype(float)
    ridge = CONSTRAINT.regularisation * clean.var(0).mean()
    inverse = np.linalg.inv(np.cov(clean.T, bias=True) + ridge * np.eye(clean.shape[1]))
    for trace, role in zip(distance_figure(o, r, layer).data, ("attack", "hidden"), strict=True):
        for value, z in zip(trace.y, o.traces[role].features[layer][:, 0], strict=True):
            gap = z - clean.mean(0)
            assert value == pytest.approx(gap @ inverse @ gap / len(gap), rel=0.02, abs=1e-3)


# Scatter


@both_ranks
@pytest.mark.parametrize("layer", ["block1", "block2", "block3"])
@pytest.mark.parametrize("shown", [12, 150], ids=["few", "all"])
def test_in_the_pca_view_every_point_and_path_lies_where_scikit_learn_puts_its_features(
    dims, layer, shown, monkeypatch
):
    monkeypatch.setattr(layer_views, "SHOWN", shown)
    o, r = case(dims).outcome, case(dims).reference
    held_out = np.flatnonzero(~r.trains)
    train, classes = r.train.layers[layer].astype(float), range(len(names(dims)))
    chosen = {c: np.flatnonzero(r.train_labels == c)[:shown] for c in classes}
    view = PCA(2, svd_solver="full").fit(np.concatenate([train[rows] for rows in chosen.values()]))
    expected, ids = {}, {}
    for c in classes:
        expected[f"{names(dims)[c]}, training"] = train[chosen[c]]
        rows = [row for row in held_out if r.labels[row] == c][: shown // 2]
        expected[f"{names(dims)[c]}, held out"] = r.cohort["clean"].layers[layer][rows]
        ids[f"{names(dims)[c]}, held out"] = [r.ids[row] for row in rows]
    for role, name in (("noise", "noise, 12/255"), ("attack", "PGD, 12/255"), ("hidden", "PGD+HFC, 12/255")):
        expected[name] = r.cohort[role].layers[layer][held_out[:shown]]
        ids[name] = [r.ids[row] for row in held_out[:shown]]
    for role, name in role_labels(o).items():
        expected[f"this scan: {name}"] = o.activations.layers[layer][[ROLES.index(role)]]
    for role, name in (("attack", "path of PGD"), ("hidden", "path of PGD+HFC")):
        expected[name] = o.traces[role].features[layer][:, 0]
    found = scattered(dims, layer)[1]
    assert set(found) == set(expected)
    for name, z in expected.items():
        np.testing.assert_allclose(xy(found[name]), view.transform(z.astype(float)), atol=1e-4)
    for name, those in ids.items():
        assert [entry[0] for entry in found[name].customdata] == those


@both_ranks
def test_a_path_starts_where_the_other_starts_and_ends_at_its_point(dims):
    found = scattered(dims, "block3")[1]
    for name in ("PGD", "PGD+HFC"):
        np.testing.assert_allclose(xy(found[f"path of {name}"])[-1], xy(found[f"this scan: {name}"])[0], atol=1e-3)
    np.testing.assert_allclose(xy(found["path of PGD"])[0], xy(found["path of PGD+HFC"])[0], atol=1e-5)


def test_no_scan_that_detectors_were_trained_on_is_shown_beside_the_training_images():
    r = case().reference
    trained = {r.ids[row] for row in np.flatnonzero(r.trains)}
    for name, trace in scattered(2, "block3")[1].items():
        if "/255" in name or "held out" in name:
            assert len(trace.customdata) and not trained & {entry[0] for entry in trace.customdata}


@pytest.mark.parametrize("method", MAPS)
def test_a_map_has_own_points_in_their_places_and_neither_paths_nor_ticks(method, monkeypatch):
    o, r = case(3).outcome, case(3).reference
    if method == "UMAP":  # slow to start, and where it puts the points is no matter here
        monkeypatch.setattr(
            layer_views, "project", lambda method, z, *rest, **more: Embedding(z[:, :2], ("", ""), "", False)
        )
    embedding = embed_layer(o, r, "block3", MAPS[method])
    figure = scatter_figure(o, r, "block3", embedding, names(3))
    found = by_name(figure)
    assert not [name for name in found if "path" in name]
    assert figure.layout.xaxis.showticklabels is False
    # The joint fit holds what is shown and the four versions, which come last.
    groups = [trace for trace in figure.data if len(trace.x) != 1]
    assert len(embedding.xy) == sum(len(trace.x) for trace in groups) + 4
    assert np.array_equal(np.concatenate([xy(trace) for trace in groups]), embedding.xy[:-4])
    own = [xy(found[f"this scan: {role_labels(o)[role]}"])[0] for role in ROLES]
    assert np.array_equal(own, embedding.xy[-4:])


def test_a_map_made_beforehand_is_shown_as_it_is():
    """The app keeps maps as positions alone."""
    o, r = case().outcome, case().reference
    count = len(embed_layer(o, r, "block1", PROJECTIONS["PCA"]).xy) - 2 * (ATTACK.steps + 1)
    positions = np.column_stack([np.arange(count), -np.arange(count)]).astype(np.float32)
    figure = scatter_figure(o, r, "block1", Embedding(positions, ("u", "v"), "", False), names())
    assert np.array_equal(np.concatenate([xy(trace) for trace in figure.data]), positions)


# All together


@both_ranks
def test_every_run_has_five_figures_of_a_volume_its_planes_too_and_a_scatter_of_each_layer(dims):
    found = all_figures(case(dims).outcome, case(dims).reference, names(dims))
    layers = case(dims).classifier.layer_names
    assert list(found) == [
        *("scan", "difference", *(["planes"] if dims == 3 else []), "depth", "detectors", "confidence"),
        *(f"scatter-{layer}-pca" for layer in layers),
    ]
    for figure in found.values():
        assert "NaN" not in figure.to_json()


def test_figures_of_a_run_without_penalty_show_one_attack():
    one = case()
    plan = Plan("BIM", ATTACK.replace(steps=3, random_start=False), "none", None)
    o = run_experiment(one.classifier, one.reference, one.scan, plan)
    found = all_figures(o, one.reference, names())
    assert [len(found[name].data) for name in ("scan", "difference", "confidence")] == [2, 1, 1]
    assert [trace.name for trace in found["depth"].data[2:]] == ["scan", "noise", "BIM"]
    points = by_name(found["scatter-block3-pca"])
    assert "path of BIM" in points and "this scan: BIM" in points and len(points) == 13
    # The cohort keeps the name of the attack that it met.
    assert "PGD, 12/255" in points
    assert len(layer_figure(o).data) == 1
    assert len(distance_figure(o, one.reference, "block2").data) == 1


def test_a_loaded_outcome_gives_the_same_figures(tmp_path):
    one = case()
    save_outcome(one.outcome, tmp_path / "first.npz")
    back = load_outcome(tmp_path / "first.npz")
    fresh, loaded = (all_figures(o, one.reference, names()) for o in (one.outcome, back))
    assert {name: f.to_json() for name, f in fresh.items()} == {name: f.to_json() for name, f in loaded.items()}
    assert distance_figure(back, one.reference, "block1") == distance_figure(one.outcome, one.reference, "block1")


def test_people_read_the_same_names_in_figures_as_in_the_progress():
    one = case()
    o = replace(one.outcome, recipe=one.outcome.recipe | {"plan": Plan("MIM").as_dict()})
    assert role_labels(o) == {"clean": "scan", "noise": "noise", "attack": "MIM", "hidden": "MIM+HFC"}
    assert all(role_labels(o)[role] == Plan("MIM").label(role) for role in ("noise", "attack", "hidden"))


# Words


def flagging_clean(*detectors):
    """The outcome with thresholds such that these detectors, and no others, flag the unchanged scan."""
    o = case(2).outcome
    return replace(o, thresholds={name: o.scores[name][0] + (-1 if name in detectors else 1) for name in o.scores})


def test_no_caution_where_no_detector_flags_the_unchanged_scan():
    assert caution(flagging_clean(), case(2).reference) is None


def test_a_detector_that_flags_the_unchanged_scan_is_named():
    said = caution(flagging_clean("KD"), case(2).reference)
    assert said.startswith("KD catches the unchanged scan")
    assert not any(name in said for name in case(2).outcome.scores if name != "KD")


def test_a_scan_that_most_detectors_flag_is_called_unlike_the_others():
    said = caution(flagging_clean(*case(2).outcome.scores), case(2).reference)
    assert said.startswith("The scan is unlike those")
    assert all(name in said for name in case(2).outcome.scores)


def test_a_scan_that_trained_the_detectors_is_told_from_one_that_did_not():
    r, o = case(2).reference, flagging_clean()

    def named(row):
        return replace(o, recipe=o.recipe | {"scan": {"name": r.ids[row], "sha256": ""}})

    known, unknown = np.flatnonzero(r.trains)[0], np.flatnonzero(~r.trains)[0]
    assert caution(named(known), r).startswith(f"The detectors were trained on {r.ids[known]}")
    assert caution(named(unknown), r) is None
