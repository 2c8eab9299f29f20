from __future__ import annotations

import re

import numpy as np
import pytest
from bundles import case, one_thread  # noqa: F401

from hfcviz import montage
from hfcviz.montage_figures import letters
from hfcviz.projections import PROJECTIONS, Embedding
from hfcviz.settings import InputError

METHODS = ["PCA", "UMAP"]


@pytest.fixture(scope="module")
def made():
    """Case, layers, positions (those of UMAP made up, as it is slow) and the figure."""
    one = case()
    layers = list(one.outcome.activations.layers)[:2]

    def known(layer: str, method: str) -> Embedding | None:
        if method == "PCA":
            return None
        count = len(montage.embeddings(one.outcome, one.reference, [layer], ["PCA"])[layer, "PCA"].xy)
        return Embedding(np.random.default_rng(0).normal(size=(count, 2)), ("UMAP 1", "UMAP 2"), "UMAP of all", False)

    found = montage.embeddings(one.outcome, one.reference, layers, METHODS, known)
    return (
        one,
        layers,
        found,
        montage.montage(one.outcome, one.reference, one.classifier.class_names, layers, METHODS, found),
    )


def test_panels_have_letters_in_reading_order_and_names_at_the_edges(made):
    _, layers, _, figure = made
    notes = [note.text for note in figure.layout.annotations]
    assert notes[:4] == ["<b>a</b>", "<b>b</b>", "<b>c</b>", "<b>d</b>"]
    assert notes[4:] == [f"<b>{name}</b>" for name in [*METHODS, *layers]]
    assert [note.xref for note in figure.layout.annotations[:4]] == ["x domain", "x2 domain", "x3 domain", "x4 domain"]
    assert letters(28)[-3:] == ["z", "aa", "ab"]


def test_each_panel_shows_its_own_layer_and_projection(made):
    one, layers, found, figure = made
    for panel, (layer, method) in enumerate([(layer, method) for layer in layers for method in METHODS], 1):
        traces = [trace for trace in figure.data if (trace.xaxis or "x") == (f"x{panel}" if panel > 1 else "x")]
        drawn = np.concatenate([np.stack([trace.x, trace.y], 1) for trace in traces if trace.mode == "markers"])
        wanted = found[layer, method].xy
        small = sum(
            len(trace.x)
            for trace in traces
            if trace.showlegend is not None and "this scan" not in trace.name and trace.mode == "markers"
        )
        assert np.array_equal(drawn[:small], wanted[:small]), (layer, method)
        assert np.array_equal(drawn[small:], wanted[small : small + len(one.outcome.roles)])


def test_the_legend_names_everything_once_and_maps_without_meaning_have_no_ticks(made):
    _, _, _, figure = made
    listed = [trace.name for trace in figure.data if trace.showlegend]
    assert len(listed) == len(set(listed)) > 3
    assert {trace.name for trace in figure.data if not (trace.name or "").startswith(("this scan", "path of"))} == set(
        listed
    )
    assert figure.layout.xaxis.showticklabels and figure.layout.xaxis.title.text.startswith("PC 1")
    assert figure.layout.xaxis2.showticklabels is False and not figure.layout.xaxis2.title.text


def test_the_numbers_of_the_caption_are_those_of_the_arrays(made):
    one, layers, _, figure = made
    text = figure.layout.meta["caption"]
    reference, plan = one.reference, one.plan
    held_out = ~reference.trains
    for index, name in enumerate(one.classifier.class_names):
        train = min(montage.layer_views.SHOWN, int((reference.train_labels == index).sum()))
        held = min(montage.layer_views.SHOWN // 2, int((reference.labels[held_out] == index).sum()))
        assert f"{name}, training (n = {train})" in text and f"{name}, held out (n = {held})" in text
    for label in ("noise", "PGD", "PGD+HFC"):
        assert f"{label}, 12/255 (n = {int(held_out.sum())})" in text
    steps = f"12 steps of {plan.attack.step * 255:.3g}/255, seed {plan.seed}"
    assert f"eps 12/255 (L-inf), {steps}" in text and "K = 1, weight 2, all layers" in text
    chances = one.outcome.activations.probabilities[:, one.outcome.target]
    for role, label in (("attack", "PGD"), ("hidden", "PGD+HFC")):
        assert f"{chances[one.outcome.row(role)]:.1%} by {label}" in text
    assert f"a-b, {layers[0]}; c-d, {layers[1]}" in text and one.classifier.name in text and "random" in text
    fitted = sum(min(montage.layer_views.SHOWN, count) for count in np.bincount(reference.train_labels))
    assert re.search(rf"PCA fitted on {fitted} clean scans", text)


def test_positions_that_are_known_are_not_computed_again(made, monkeypatch):
    one, layers, found, _ = made
    monkeypatch.setattr(montage.layer_views, "embed_layer", None)
    assert montage.embeddings(one.outcome, one.reference, layers, METHODS, lambda *pair: found[pair]) == found


@pytest.mark.parametrize(
    ("layers", "methods", "words"),
    [
        (["nowhere"], ["PCA"], "layers of a figure must be of .*; got nowhere"),
        ([], ["PCA"], "got none"),
        (None, ["LDA"], "projections of a figure must be of PCA, t-SNE, UMAP; got LDA"),
        (None, list(PROJECTIONS) * 30, "at most 24 panels"),
    ],
)
def test_a_choice_that_cannot_be_drawn_is_one_sentence(made, layers, methods, words):
    one, known, _, _ = made
    with pytest.raises(InputError, match=words):
        montage.check_choice(one.outcome, known if layers is None else layers, methods)
