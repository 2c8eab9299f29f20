from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from bundles import case, one_thread  # noqa: F401

from hfcviz.bundle import open_bundle
from hfcviz.figure_sets import COHORT_FIGURES, RUN_FIGURES, of_cohort, of_outcome
from hfcviz.settings import InputError


def made(spatial_dims: int = 2):
    one = case(spatial_dims)
    about = {"class_names": one.classifier.class_names}
    return one.outcome, SimpleNamespace(reference=one.reference, about=about, affine_of=lambda name: None, judged=None)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_figure_of_a_run_can_be_made_by_its_name(spatial_dims):
    outcome, bundle = made(spatial_dims)
    names = [*RUN_FIGURES, *(["planes"] if spatial_dims == 3 else [])]
    for name in names:
        assert len(of_outcome(outcome, bundle, name, {"methods": ["PCA"]}).data) > 0, name


def test_a_view_chooses_layer_and_plane():
    outcome, bundle = made()
    first = next(iter(outcome.activations.layers))
    last = of_outcome(outcome, bundle, "scatter", {})
    assert not np.array_equal(of_outcome(outcome, bundle, "scatter", {"layer": first}).data[0].x, last.data[0].x)
    outcome, bundle = made(3)
    one = of_outcome(outcome, bundle, "planes", {"names": ["axial"], "changes": ["attack"], "index": [1, 2, 3]})
    three = of_outcome(outcome, bundle, "planes", {})
    assert sum(trace.type == "image" for trace in one.data) == 4
    assert sum(trace.type == "image" for trace in three.data) == 15


@pytest.mark.parametrize(
    ("name", "view", "words"),
    [
        ("movie", {}, "A figure must be one of scan, .*; got 'movie'"),
        ("scatter", {"layer": "nowhere"}, "The layer of a figure must be one of .*; got 'nowhere'"),
        ("scatter", {"method": "LDA"}, "The method of a figure must be one of PCA"),
        ("montage", {"layers": "fc"}, "The layers of a figure must be a list"),
        ("planes", {"grid": "own"}, "own grid, which its recipe does not hold"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(name, view, words):
    with pytest.raises(InputError, match=words):
        of_outcome(*made(), name, view)


def test_every_figure_of_a_published_cohort_can_be_made_and_marks_what_was_selected():
    judged = open_bundle("chest").runs.load("PGD", 4)
    for name in COHORT_FIGURES:
        assert len(of_cohort(judged, name, {}).data) > 0, name
    chosen = list(judged.ids[3:5])
    assert list(of_cohort(judged, "cohort", {"selected": chosen}).data[0].selectedpoints) == [3, 4]
    more = len(of_cohort(judged, "roc", {"selected": chosen}).data) - len(of_cohort(judged, "roc", {}).data)
    assert more == len(judged.scores) * len(judged.attacks)
    last = list(judged.scores)[-1]
    assert last in of_cohort(judged, "scores", {"detector": last}).layout.xaxis2.title.text
