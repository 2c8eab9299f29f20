"""An attack as a film: what an outcome says of every step, and in words where the two attacks part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hfcviz.film_sheet import Film, View
from hfcviz.outcome import Outcome, attacked, role_labels
from hfcviz.projections import PROJECTIONS, project
from hfcviz.reference import Reference
from hfcviz.scans import flat

if TYPE_CHECKING:
    from collections.abc import Sequence

VIEWS = 8
"""Layers whose PCA view has room in the film."""
CLOUD = 150
"""Clean training scans of each class that a view is fitted on, the same as in the scatter of a layer; every second one is drawn."""


@dataclass(frozen=True)
class Parting:
    """Where two attacks part: the first layer, from the input, in which exactly one lies beyond the clean 95 % quantile.

    layer: its number, None where there is none; beyond: the role that lies beyond there; apart: in how many layers exactly one does.
    """

    layer: int | None
    beyond: str | None
    apart: int


def recorded(outcome: Outcome) -> bool:
    """Whether the outcome keeps what a film needs; files made by older versions do not."""
    return bool(outcome.step_scores)


def make_film(outcome: Outcome, reference: Reference, class_names: Sequence[str], chosen: str) -> Film:
    """All that the film of an outcome shows. chosen: the layer that stands out."""
    roles, eps = attacked(outcome), outcome.recipe["plan"]["attack"]["eps"]
    traces = {role: outcome.traces[role] for role in roles}
    steps = traces[roles[0]].shown
    said = {}
    for role, trace in traces.items():
        said[role] = [_said(logits, class_names) for logits in trace.logits[steps, 0]]
    layers = list(outcome.activations.layers)
    return Film(
        steps=steps,
        labels=role_labels(outcome),
        eps=eps,
        clean=flat(outcome.x[outcome.row("clean")]),
        changes={role: [trace.change(frame) for frame in range(len(steps))] for role, trace in traces.items()},
        said=said,
        target=class_names[outcome.target],
        confidence={role: trace.confidence[:, 0] for role, trace in traces.items()},
        terms={role: {name: values[:, 0] for name, values in trace.terms.items()} for role, trace in traces.items()},
        layers=layers,
        depths={role: outcome.in_clean_units(outcome.step_depths[role]) for role in roles},
        lower=outcome.in_clean_units(outcome.depth_quantiles[:, 0]),
        views={layer: _view(outcome, reference, layer) for layer in some_layers(layers, chosen)},
        chosen=chosen,
        scores=outcome.step_scores,
        thresholds=outcome.thresholds,
    )


def some_layers(layers: Sequence[str], chosen: str, most: int = VIEWS) -> list[str]:
    """At most so many layers, evenly over the depth, with the first, the last and the chosen one."""
    places = np.unique(np.rint(np.linspace(0, len(layers) - 1, min(most, len(layers)))).astype(int))
    wanted = layers.index(chosen)
    if wanted not in places:
        inner = places[1:-1] if len(places) > 2 else places
        places[np.flatnonzero(places == inner[np.abs(inner - wanted).argmin()])] = wanted
    return [layers[place] for place in np.sort(places)]


def _view(outcome: Outcome, reference: Reference, layer: str) -> View:
    labels, z = reference.train_labels, reference.train.layers[layer]
    parts = [z[np.flatnonzero(labels == index)[:CLOUD]] for index in np.unique(labels)]
    paths = {role: outcome.traces[role].features[layer][:, 0] for role in attacked(outcome)}
    clean, together = sum(map(len, parts)), np.concatenate([*parts, *paths.values()])
    xy = project(PROJECTIONS["PCA"], together, np.arange(len(together)) < clean).xy.astype(np.float32)
    pieces = np.split(xy, np.cumsum([len(part) for part in (*parts, *paths.values())])[:-1])
    return View([piece[::2] for piece in pieces[: len(parts)]], dict(zip(paths, pieces[len(parts) :], strict=True)))


def _said(logits: np.ndarray, class_names: Sequence[str]) -> str:
    chances = np.exp(logits - logits.max())
    best = int(logits.argmax())
    return f"{class_names[best]}, {chances[best] / chances.sum():.1%}"


def parting(depths: dict[str, np.ndarray]) -> Parting:
    """Where two attacks part, {role: (L,)} on the scale where 1 is the clean 95 % quantile of a layer."""
    (one, other), roles = (values > 1 for values in depths.values()), list(depths)
    apart = np.flatnonzero(one != other)
    if not len(apart):
        return Parting(None, None, 0)
    first = int(apart[0])
    return Parting(first, roles[0] if one[first] else roles[1], len(apart))


def parting_line(outcome: Outcome, frame: int | None = None) -> str:
    """Where the attacks part, in a sentence: at a kept step, or in the result."""
    scores, labels, layers = outcome.layer_scores["GMM"], role_labels(outcome), list(outcome.activations.layers)
    depths = {}
    for role in attacked(outcome):
        own = scores[:, outcome.row(role)] if frame is None else outcome.step_depths[role][:, frame]
        depths[role] = outcome.in_clean_units(own)
    if len(depths) == 1:
        ((role, values),) = depths.items()
        beyond = np.flatnonzero(values > 1)
        if not len(beyond):
            return f"{labels[role]} stays below the clean 95 % quantile in every layer."
        return (
            f"{labels[role]} leaves the clean scans at **{layers[beyond[0]]}**: it lies beyond their 95 % quantile there, and in "
            f"{len(beyond)} of {len(layers)} layers."
        )
    found, names = parting(depths), [labels[role] for role in depths]
    if found.layer is None or found.beyond is None:
        side = "beyond" if all(bool((values > 1).any()) for values in depths.values()) else "below"
        where = "in the same layers" if side == "beyond" else "in every layer"
        return f"{names[0]} and {names[1]} do not part: both lie {side} the clean 95 % quantile {where}."
    rest = next(role for role in depths if role != found.beyond)
    there, here = (depths[role][found.layer] for role in (found.beyond, rest))
    return (
        f"{names[0]} and {names[1]} part at **{layers[found.layer]}**: there {labels[found.beyond]} lies beyond the clean 95 % quantile "
        f"and {labels[rest]} does not ({_beside_1(there)} and {_beside_1(here)}, where 1 is that quantile); so it is in {found.apart} of "
        f"{len(layers)} layers."
    )


def _beside_1(value: float) -> str:
    """A distance with as few digits, three at least, as tell on which side of 1 it lies."""
    return next((text for digits in range(3, 17) if float(text := f"{value:.{digits}g}") != 1), "1")


def step_line(outcome: Outcome, film: Film, frame: int) -> str:
    """What has happened by a kept step: what the network says of each attack, and which detectors catch it."""
    parts = []
    for role, scores in film.scores.items():
        caught = [name for name, values in scores.items() if values[frame] > film.thresholds[name]]
        by = (
            f"caught by {', '.join(caught)} ({len(caught)} of {len(scores)})"
            if caught
            else f"caught by none of {len(scores)}"
        )
        parts.append(f"**{film.labels[role]}**: {film.said[role][frame]}, {by}")
    return f"Step {film.steps[frame]} of {film.steps[-1]}. {'; '.join(parts)}. {parting_line(outcome, frame)}"


def left_out(outcome: Outcome) -> list[str]:
    """Detectors without a verdict at every step, since dropout acts before the last layer of this network."""
    return [name for name in outcome.scores if any(name not in own for own in outcome.step_scores.values())]
