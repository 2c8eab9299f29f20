from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from bundles import case, one_thread  # noqa: F401

from hfcviz.bundle import open_bundle
from hfcviz.figure_sets import COHORT_FIGURES, RUN_FIGURES, of_cohort, of_outcome
from hfcviz.grids import shown
from hfcviz.scans import Scan
from hfcviz.settings import InputError
from hfcviz.tour import BUNDLE, TOUR
from hfcviz.tour_figures import LETTERS, gather


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
        ("montage", {"layers": []}, "got none"),
        ("scatter", {"selected": 0}, "The selected of a figure must be a list"),
        ("montage", {"layer": "../x"}, "The layer of a figure must be one of"),
        ("planes", {"grid": "own"}, "own grid, which its recipe does not hold: name the scan's file with --scan"),
        ("tour-1-1", {}, "must be of the tour's result, .*: export it again from the Tour page"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(name, view, words):
    with pytest.raises(InputError, match=words):
        of_outcome(*made(), name, view)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("zoom", value) for value in (0, -1, 7, "2", True, None, float("nan"), [2])),
        *(("changes", value) for value in ("attack", [], ["noise"], ["attack", "attack"], [["attack"]], 3, None)),
        *(("names", value) for value in ("axial", [], ["oblique"], [1])),
        *(("index", value) for value in ([1, 2], [1, 2, 8], [1, 2, -1], [1.0, 2.0, 3.0], "1,2,3", None, [True, 1, 1])),
        *(("window", value) for value in ([1, 0], [0], [0, float("inf")], "wide", [None, 1], None)),
        *(("radiological", value) for value in (1, "true", None)),
        *(("grid", value) for value in ("other", None, ["own"])),
        *(("blink", value) for value in ("clean", True, [])),
        ("zom", 2),
    ],
)
def test_a_damaged_view_of_slices_is_one_sentence_with_its_key(key, value):
    outcome, bundle = made(3)
    view = {"names": ["axial"], "index": [1, 2, 3], "radiological": True, "window": [0.0, 1.0], "zoom": 1.5}
    view |= {"changes": ["hidden"], "grid": "network", "blink": "hidden"}
    assert len(of_outcome(outcome, bundle, "planes", view).frames) == 2, "the whole view is sound"
    with pytest.raises(
        InputError, match=f"^The {key} in the view of a recipe must be [^\n]*: export the figure again.$"
    ):
        of_outcome(outcome, bundle, "planes", view | {key: value})


def test_a_view_of_an_image_has_no_voxel_and_no_zoom():
    outcome, bundle = made(2)
    assert len(of_outcome(outcome, bundle, "planes", {"window": [0.1, 0.6], "grid": "network"}).data) > 0
    for key, value in {"zoom": 2.0, "index": [1, 1], "names": ["axial"]}.items():
        with pytest.raises(InputError, match=f"The {key} in the view of a recipe must be left out"):
            of_outcome(outcome, bundle, "planes", {key: value})


def test_a_view_on_the_scans_own_grid_is_drawn_on_that():
    outcome, bundle = made(3)
    values = np.random.default_rng(1).uniform(-150, 230, (1, 12, 10, 8)).astype(np.float32)
    scan = Scan(values, None, (2.0, 2.0, 4.0), "mine", window=(-160.0, 240.0))
    view = {"grid": "own", "names": ["axial"], "index": [11, 9, 7], "window": [0.0, 90.0]}
    found = of_outcome(outcome, bundle, "planes", view, own=shown(outcome, scan))
    assert [trace.dy for trace in found.data if trace.type == "image"] == [2] * 5
    again = of_outcome(outcome, bundle, "planes", {"names": ["axial"]}, own=shown(outcome, scan))
    assert {trace.dy for trace in again.data if trace.type == "image"} == {1}, "the network's, where that was shown"
    with pytest.raises(InputError, match="must be a voxel of 8 x 8 x 8"):
        of_outcome(outcome, bundle, "planes", view | {"grid": "network"}, own=shown(outcome, scan))


def test_every_figure_of_the_tour_can_be_made_by_its_name():
    bundle = open_bundle(BUNDLE)
    recipe = SimpleNamespace(recipe=bundle.first.recipe)  # read anew, as from a recipe's file
    for number, step in enumerate(TOUR, 1):
        drawn = step.draw(gather(bundle, bundle.maps))
        for place, one in enumerate(drawn, 1):
            figure = of_outcome(recipe, bundle, f"tour-{number}-{place}", {})
            assert [trace.name for trace in figure.data] == [trace.name for trace in one.figure.data]
            assert figure.layout.font.size == LETTERS, "as large as for a class"
            for trace, wanted in zip(figure.data, one.figure.data, strict=True):
                if trace.type == "scatter" and trace.x is not None:
                    assert np.array_equal(trace.x, wanted.x) and np.array_equal(trace.y, wanted.y)
        with pytest.raises(InputError, match=f"the {number}th step has"):
            of_outcome(recipe, bundle, f"tour-{number}-{len(drawn) + 1}", {})
    for name in ("tour-11-1", "tour-0-1", "tour-01-1", "tour-", "tour-1-1/../x", "tour-\u0661-1"):
        with pytest.raises(InputError, match="must be named as tour-3-1"):
            of_outcome(recipe, bundle, name, {})
    with pytest.raises(InputError, match="must be empty"):
        of_outcome(recipe, bundle, "tour-1-1", {"layer": "layer4.1"})


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
