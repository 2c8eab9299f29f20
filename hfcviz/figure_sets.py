"""Every figure by name, from a finished run or from a judged cohort: what the app exports and what the command line makes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hfcviz import cohort_charts, layer_views, panels
from hfcviz.bundle import BUNDLES, Bundle
from hfcviz.cohort import Judged, by_role, curve, embed_cohort, selected_marks
from hfcviz.film import make_film
from hfcviz.film_figures import film_figure
from hfcviz.grids import Shown, shown
from hfcviz.montage import embeddings, montage
from hfcviz.outcome import Outcome
from hfcviz.projections import PROJECTIONS, Embedding
from hfcviz.settings import InputError, Progress, silent
from hfcviz.slices import read_view, slices_figure
from hfcviz.store import digest
from hfcviz.tour import BUNDLE, TOUR, pictures_of
from hfcviz.tour_figures import gather

if TYPE_CHECKING:
    import plotly.graph_objects as go

View = Mapping[str, Any]
"""What was chosen for a figure: what ANYWHERE names ("selected": ids), and of slices what `slices.read_view` knows; each has a default."""
ANYWHERE = ("layer", "method", "layers", "methods", "detector", "selected")
"""What any view may hold, whether its figure looks at it or not."""


def of_outcome(
    outcome: Outcome, bundle: Bundle, name: str, view: View, *, own: Shown | None = None, progress: Progress = silent
) -> go.Figure:
    """A figure of one scan's run. own: the run on its scan's own grid, for a view of that.

    InputError for a name, layer or projection that is unknown, and for a view that is damaged or needs `own` where there is none.
    """
    if name.startswith("tour-"):
        return _of_tour(outcome, name, view)
    names = bundle.about["class_names"]
    last = list(outcome.activations.layers)[-1]
    layer = _one(view, "layer", list(outcome.activations.layers), last)
    if name == "montage":
        layers, methods = _many(view, "layers", [last]), _many(view, "methods", list(PROJECTIONS))
        found = embeddings(outcome, bundle.reference, layers, methods, progress=progress)
        return montage(outcome, bundle.reference, names, layers, methods, found)
    method = _one(view, "method", list(PROJECTIONS), "PCA")
    chosen = frozenset(_many(view, "selected", []))
    affine = bundle.affine_of(outcome.recipe["scan"]["name"])

    def planes() -> go.Figure:
        seen = own if view.get("grid") == "own" else shown(outcome, affine=affine)
        if seen is None:
            raise InputError(
                "This figure shows a scan on its own grid, which its recipe does not hold: name the scan's file with --scan, and the "
                "same --window, --axis, --slice or --volume as then."
            )
        chosen_here = {key: value for key, value in view.items() if key not in ANYWHERE}
        return slices_figure(outcome, seen, names, **read_view(chosen_here, seen))

    def scatter() -> go.Figure:
        place = layer_views.embed_layer(outcome, bundle.reference, layer, PROJECTIONS[method], progress=progress)
        return layer_views.scatter_figure(
            outcome, bundle.reference, layer, place, names, judged=bundle.judged, chosen=chosen
        )

    def grid() -> go.Figure:
        pairs = embeddings(outcome, bundle.reference, list(outcome.activations.layers), [method], progress=progress)
        found = {layer: place for (layer, _), place in pairs.items()}
        return layer_views.grid_figure(outcome, bundle.reference, found, names, judged=bundle.judged, chosen=chosen)

    makers: dict[str, Callable[[], go.Figure]] = {
        "scan": lambda: panels.scan_figure(outcome, names, affine),
        "difference": lambda: panels.difference_figure(outcome),
        "planes": planes,
        "scatter": scatter,
        "grid": grid,
        "depth": lambda: panels.depth_figure(outcome),
        "detectors": lambda: panels.detector_figure(outcome),
        "layers": lambda: panels.layer_figure(outcome),
        "confidence": lambda: panels.confidence_figure(outcome, names),
        "distance": lambda: panels.distance_figure(outcome, bundle.reference, layer),
        "film": lambda: film_figure(make_film(outcome, bundle.reference, names, layer)),
    }
    return _made(makers, name)


def _of_tour(outcome: Outcome, name: str, view: View) -> go.Figure:
    """A figure of the guided tour, "tour-3-1" for the first of its third step; only of the result that the tour is about."""
    told = BUNDLES[BUNDLE]
    assert told.first is not None
    if view:
        raise InputError(
            f"The view of a figure of the tour must be empty; got {str(dict(view))[:60]}: export it again."
        )
    if digest(outcome.recipe) != digest(told.first.recipe):
        raise InputError(
            f"The figure {name[:40]} must be of the tour's result, {told.first.recipe['scan']['name']} of {told.title}, but the recipe is "
            "of another: export it again from the Tour page."
        )
    step = re.fullmatch(r"tour-([1-9]\d?)-[1-9]", name, re.ASCII)
    number = int(step[1]) if step else 0
    drawn = pictures_of(TOUR[number - 1], gather(told, told.maps)) if 1 <= number <= len(TOUR) else {}
    if name not in drawn:
        known = f"the {number}th step has {', '.join(drawn)}" if drawn else f"there are {len(TOUR)} steps"
        raise InputError(
            f"A figure of the tour must be named as tour-3-1, by step and place; got {name[:40]!r}: {known}."
        )
    return drawn[name].figure


RUN_FIGURES = (
    "scan",
    "difference",
    "scatter",
    "grid",
    "depth",
    "detectors",
    "layers",
    "confidence",
    "distance",
    "film",
    "montage",
)
"""Those of every run; "planes" too, of a volume. Of the film, its first frame."""
COHORT_FIGURES = ("cohort", "roc", "scores", "auc-map")


def of_cohort(judged: Judged, name: str, view: View, *, progress: Progress = silent) -> go.Figure:
    """A figure of a judged cohort. InputError for a name, layer, projection or detector that is unknown."""
    labels = cohort_labels(judged)
    chosen = judged.places(frozenset(_many(view, "selected", [])))
    layer = _one(view, "layer", list(judged.layer_names), judged.layer_names[-1])
    method = _one(view, "method", list(PROJECTIONS), "PCA")
    detector = _one(view, "detector", list(judged.scores), next(iter(judged.scores)))

    def cohort() -> go.Figure:
        found: Embedding = embed_cohort(judged, layer, PROJECTIONS[method], progress=progress)
        xy, ticks = by_role(judged, found), found.exact
        return cohort_charts.cohort_scatter(
            xy, judged.ids, judged.labels, chosen.tolist(), labels, found.axes, ticks=ticks
        )

    def scores() -> go.Figure:
        title, threshold = f"score of {detector} (higher is more suspicious)", judged.thresholds[detector]
        return cohort_charts.score_strips(
            judged.scores[detector], judged.ids, chosen.tolist(), threshold, labels, title
        )

    def roc() -> go.Figure:
        curves = {one: {role: curve(judged, one, role) for role in judged.attacks} for one in judged.scores}
        return cohort_charts.roc_grid(curves, selected_marks(judged, chosen) if len(chosen) else {}, labels)

    def auc_map() -> go.Figure:
        aucs = {
            role: {row["detector"]: row["layers"] for row in judged.rows if row["role"] == role and row["layers"]}
            for role in judged.attacks
        }
        return cohort_charts.auc_map(aucs, judged.layer_names, labels)

    return _made({"cohort": cohort, "roc": roc, "scores": scores, "auc-map": auc_map}, name)


def cohort_labels(judged: Judged) -> dict[str, str]:
    """What people call each role in this cohort."""
    attack = judged.recipe["attack_name"]
    return {"clean": "clean", "noise": "noise", "attack": attack, "hidden": f"{attack}+HFC"}


def _made(makers: Mapping[str, Callable[[], go.Figure]], name: str) -> go.Figure:
    if name not in makers:
        raise InputError(f"A figure must be one of {', '.join(makers)}; got {name!r}.")
    return makers[name]()


def _one(view: View, key: str, known: list[str], default: str) -> str:
    found = view.get(key, default)
    if found not in known:
        raise InputError(f"The {key} of a figure must be one of {', '.join(known)}; got {found!r}.")
    return str(found)


def _many(view: View, key: str, default: list[str]) -> list[str]:
    found = view.get(key, default)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InputError(f"The {key} of a figure must be a list of names; got {found!r}.")
    return found
