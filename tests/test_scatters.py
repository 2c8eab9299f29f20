"""Scatters of features: the selection, what the mouse reads, the panels of all layers, and their alignment."""

from __future__ import annotations

import numpy as np
import pytest
from bundles import case
from sklearn.manifold import trustworthiness
from streamlit.testing.v1 import AppTest

from hfcviz import hovers
from hfcviz.cohort import judge
from hfcviz.layer_views import embed_layer, grid_figure, scatter_figure
from hfcviz.palette import DIM
from hfcviz.projections import NEIGHBOURS, PROJECTIONS, Embedding, aligned, trust

both_ranks = pytest.mark.parametrize("dims", [2, 3], ids=["2-D", "3-D"])
PCA = PROJECTIONS["PCA"]


def held_out(r):
    return [name for name, trains in zip(r.ids, r.trains, strict=True) if not trains]


def in_one_layer(dims, layer, chosen=frozenset(), judged=None):
    c = case(dims)
    embedding = embed_layer(c.outcome, c.reference, layer, PCA)
    names = c.classifier.class_names
    return scatter_figure(c.outcome, c.reference, layer, embedding, names, judged=judged, chosen=chosen)


def in_all_layers(dims, chosen=frozenset()):
    c = case(dims)
    found = {layer: embed_layer(c.outcome, c.reference, layer, PCA) for layer in c.outcome.activations.layers}
    return found, grid_figure(c.outcome, c.reference, found, c.classifier.class_names, chosen=chosen)


@both_ranks
def test_chosen_scans_are_marked_in_every_role_and_the_others_dim(dims):
    r = case(dims).reference
    chosen = frozenset(held_out(r)[1:3])
    figure = in_one_layer(dims, "block2", chosen)
    marked = 0
    for trace in figure.data:
        if trace.mode == "lines":
            continue
        if trace.customdata is None:
            assert trace.selectedpoints is None and trace.unselected.marker.opacity == 1, "the scan itself never dims"
            continue
        ids = [entry[0] for entry in trace.customdata]
        assert {ids[row] for row in trace.selectedpoints} == chosen & set(ids)
        assert trace.unselected.marker.opacity == DIM and trace.selected.marker.opacity == 1
        marked += len(trace.selectedpoints)
    assert marked == len(chosen) * 4, "clean, noise, attack, hidden"


def test_nothing_dims_where_nothing_is_chosen():
    assert all(trace.selectedpoints is None for trace in in_one_layer(2, "block2").data)


@both_ranks
def test_every_layer_has_its_panel_with_the_same_scans_and_the_layer_in_each_point(dims):
    found, figure = in_all_layers(dims, frozenset(held_out(case(dims).reference)[:1]))
    layers = list(found)
    assert [note.text for note in figure.layout.annotations] == layers, "in order of depth"
    by_layer = {}
    for trace in figure.data:
        if trace.customdata is not None:
            assert len({entry[1] for entry in trace.customdata}) == 1
            by_layer.setdefault(trace.customdata[0][1], {})[trace.name] = [entry[0] for entry in trace.customdata]
            assert len(trace.selectedpoints) <= 1
    assert list(by_layer) == layers
    assert all(by_layer[layer] == by_layer[layers[0]] for layer in layers)
    assert len({trace.xaxis for trace in figure.data}) == len(layers)
    legend = [trace.name for trace in figure.data if trace.showlegend]
    classes = len(case(dims).classifier.class_names)
    assert len(legend) == len(set(legend)) == classes + 3, "classes, noise and two attacks, each once"


def test_the_panels_axes_have_no_ticks_as_their_scales_differ():
    _, figure = in_all_layers(2)
    axes = [getattr(figure.layout, name) for name in figure.layout if name.startswith(("xaxis", "yaxis"))]
    assert axes and all(not axis.showticklabels for axis in axes)


@pytest.mark.parametrize("mirror", [1, -1])
def test_a_turned_and_mirrored_copy_is_turned_back_and_distances_stay(mirror):
    draw = np.random.default_rng(0)
    first = draw.normal(size=(40, 2)) * [3, 1]
    angle = 1.1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, mirror])
    one, other = aligned([first, 5 * first @ turn + 7])
    np.testing.assert_allclose(one, first - first.mean(0), atol=1e-9)
    np.testing.assert_allclose(other, 5 * one, atol=1e-9)


def test_alignment_of_any_pictures_changes_no_distance():
    draw = np.random.default_rng(1)
    pictures = [draw.normal(size=(20, 2)) for _ in range(3)]
    for before, after in zip(pictures, aligned(pictures), strict=True):
        gaps = [np.linalg.norm(xy[:, None] - xy[None], axis=-1) for xy in (before, after)]
        np.testing.assert_allclose(gaps[0], gaps[1], atol=1e-9)


def test_trust_is_scikit_learns_and_one_for_what_lies_in_a_plane_already():
    draw = np.random.default_rng(2)
    z = draw.normal(size=(80, 5))
    assert trust(z, z[:, :2]) == pytest.approx(trustworthiness(z, z[:, :2], n_neighbors=NEIGHBOURS))
    flat = np.hstack([z[:, :2], np.zeros((80, 3))])
    assert trust(flat, flat[:, :2]) == 1
    assert trust(z, draw.permutation(z[:, :2])) < 0.7, "neighbours of chance"


def test_a_projection_states_method_fit_and_trust_and_says_so_where_trust_is_not_known():
    z = np.random.default_rng(3).normal(size=(60, 4))
    embedding = embed_layer(case(2).outcome, case(2).reference, "block1", PCA)
    assert f"trustworthiness {embedding.trustworthiness:.2f} of 1" in embedding.statement
    assert "PCA fitted on" in embedding.statement
    assert "not known" in Embedding(z[:, :2], ("", ""), "PCA", True).statement


def test_what_is_stored_of_a_projection_comes_back():
    known = embed_layer(case(2).outcome, case(2).reference, "block1", PCA)
    again = Embedding.of(known.xy, known.about, exact=True)
    assert (again.axes, again.note, again.trustworthiness) == (known.axes, known.note, known.trustworthiness)


@both_ranks
def test_the_mouse_reads_class_prediction_confidence_likelihood_and_verdicts(dims):
    c = case(dims)
    judged, names = judge(c.reference), c.classifier.class_names
    figure = in_one_layer(dims, "block2", judged=judged)
    texts = {}
    for trace in figure.data:
        if trace.customdata is not None and "PGD+HFC" in trace.name:
            texts |= dict(zip((entry[0] for entry in trace.customdata), trace.hovertext, strict=True))
    rest = c.reference.part("hidden", trains=False)
    likelihood = -c.reference.detectors()["GMM"].layer_scores(rest)["block2"]
    assert list(texts) == held_out(c.reference)
    for row, (name, text) in enumerate(texts.items()):
        label = names[int(c.reference.labels[c.reference.ids.index(name)])]
        assert f"class {label}, seen as {names[int(rest.logits[row].argmax())]} ({rest.confidence[row]:.1%})" in text
        assert f"log-likelihood in block2: {likelihood[row]:.4g}" in text
        caught = [one for one in judged.scores if judged.scores[one]["hidden"][row] > judged.thresholds[one]]
        assert (", ".join(caught) in text and f"({len(caught)} of" in text) if caught else "caught by none" in text


def test_the_number_beside_the_picture_is_that_of_the_strip_over_depth():
    o = case(2).outcome
    place = list(o.activations.layers).index("block2")
    _, median, upper = o.depth_quantiles[place]
    expected = (o.layer_scores["GMM"][place, o.row("attack")] - median) / (upper - median)
    said = hovers.evidence(o, "block2")
    number = float(said.split("PGD ")[1].split(",")[0])
    assert number == pytest.approx(expected, abs=0.051 if abs(expected) < 100 else 0.51)
    assert f"all {o.activations.layers['block2'].shape[1]} dimensions of block2" in said


def test_the_panels_lie_as_the_alignment_puts_them():
    found, figure = in_all_layers(2)
    expected = aligned([embedding.xy for embedding in found.values()])
    o = case(2).outcome
    own = len(next(iter(found.values())).xy) - len(o.roles) - sum(len(trace.linf) for trace in o.traces.values())
    points = [trace for trace in figure.data if trace.name == "this scan: scan"]
    assert len(points) == len(found)
    for trace, xy in zip(points, expected, strict=True):
        np.testing.assert_allclose([trace.x[0], trace.y[0]], xy[own], atol=1e-9)


def test_the_scans_own_likelihood_is_minus_the_mixtures_score():
    o = case(2).outcome
    place = list(o.activations.layers).index("block2")
    for role in o.roles:
        text = hovers.of_outcome(o, role, case(2).classifier.class_names, "block2")
        assert f"log-likelihood in block2: {-o.layer_scores['GMM'][place, o.row(role)]:.4g}" in text


def test_a_widget_that_has_selected_stays_and_the_others_begin_anew():
    def page():
        import streamlit as st

        from hfcviz.ui import linked

        st.session_state.chosen = frozenset()
        before = [linked.key(name) for name in ("one", "two")]
        linked.select(["scan"], "one")
        after = [linked.key(name) for name in ("one", "two")]
        st.session_state.found = [old == new for old, new in zip(before, after, strict=True)]

    assert AppTest.from_function(page).run().session_state["found"] == [True, False]


def test_a_distance_that_rounds_to_nothing_has_no_sign():
    assert [hovers._rounded(np.float64(value)) for value in (-0.01, -0.4, 1234.4)] == ["0.0", "-0.4", "1234"]
