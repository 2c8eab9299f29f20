"""Stress test: how far can an attack within eps drive the mean activation of one layer, up and down?

Yao et al., "Adversarial Medical Image with Hierarchical Feature Hiding", IEEE TMI 2024, arxiv.org/abs/2312.01679. Where we
differ: the same steps for every layer, and uniform noise of the same size beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from hfcviz.activations import Activations
from hfcviz.reference import shares
from hfcviz.settings import InputError, Progress, Settings, setting, silent
from hfcviz.studies.curves import Line, curves, line_of
from hfcviz.studies.findings import Row, mean_row
from hfcviz.studies.lab import Lab

if TYPE_CHECKING:
    import plotly.graph_objects as go

DRIVES = ("up", "down")
FLOOR = 0.1
"""A scan's change is measured against its own clean mean activation, but against no less than this share of the training images'."""


@dataclass(frozen=True)
class Stress(Settings):
    """Which layers are driven; eps and steps are those of all studies."""

    layers: tuple[str, ...] = setting(
        (), "Layers that are driven, one at a time; none chosen means all.", label="Layers"
    )


@dataclass(frozen=True)
class Drive(Settings):
    """A penalty that pulls the mean over channels of one layer's pooled feature up or down."""

    layer: str = setting("", "The layer that is driven.")
    way: str = setting("up", "Where its mean activation is driven.", choices=DRIVES)

    def fit(
        self, clean: Activations, labels: np.ndarray, *, seed: int = 0, progress: Progress = silent
    ) -> Callable[[dict[str, Tensor], Tensor, Sequence[int]], dict[str, Tensor]]:
        """The penalty as an attack calls it; it learns nothing from clean images."""
        sign = -1 if self.way == "up" else 1

        def penalty(layers: dict[str, Tensor], target: Tensor, seeds: Sequence[int]) -> dict[str, Tensor]:
            return {self.layer: sign * layers[self.layer].mean(1)}

        return penalty


def check(lab: Lab, settings: Stress, beside: Lab | None) -> None:
    """InputError for unknown layers, fewer than two of them, or the same network on the same images twice."""
    for one in (lab, beside):
        if one is None:
            continue
        known = one.classifier.layer_names
        unknown = [name for name in settings.layers if name not in known]
        if unknown:
            raise InputError(
                f"Stress.layers must be among {', '.join(known)}, the layers of {one.classifier.name}; got {', '.join(unknown)}."
            )
        chosen = set(settings.layers or known)
        if len(chosen) < 2:
            raise InputError(
                f"The study stress compares layers, so it needs two or more; of {one.classifier.name} it got {', '.join(chosen)}: "
                f"choose more layers or another network."
            )
    if beside is not None and _label(beside) == _label(lab):
        raise InputError(
            f"The second network of the study stress must have a name or images of its own; got {_label(lab)} twice: leave it out."
        )


def run(lab: Lab, settings: Stress, beside: Lab | None, progress: Progress) -> list[Row]:
    """A row for each network, layer and way (up, down, and noise of the same size): `change`, the mean over scans of
    (m' - m) / max(|m|, FLOOR * mean |m| of the training images) with its interval, m and m' being the layer's mean
    activation before and after; depth in (0, 1]. A layer that is 0 on all training images has no row.
    """
    labs = [lab] if beside is None else [lab, beside]
    share = shares(progress, {str(place): 1 / len(labs) for place in range(len(labs))})
    rows = [row for place, one in enumerate(labs) for row in _rows(one, settings, share(str(place)))]
    if not any(row["way"] != "noise" for row in rows):
        raise InputError(
            f"The study stress found no layer of {lab.classifier.name} active on its images: choose another."
        )
    return rows


def _rows(lab: Lab, settings: Stress, progress: Progress) -> list[Row]:
    names = lab.classifier.layer_names
    driven = [name for name in names if not settings.layers or name in settings.layers]
    runs = {f"{name} {way}": 0.9 / len(driven) / len(DRIVES) for name in driven for way in DRIVES}
    share = shares(progress, {"scans": 0.1} | runs)
    chosen, train = lab.chosen(share("scans")), lab.features("train")
    noise = lab.noise(lab.budget.eps).seen
    rows = []
    for name in driven:
        before = chosen.clean.layers[name].mean(1, dtype=np.float64)
        usual = float(np.abs(train.layers[name].mean(1, dtype=np.float64)).mean())
        scale = np.maximum(np.abs(before), FLOOR * usual)
        if not usual:
            continue
        for way in (*DRIVES, "noise"):
            if way == "noise":
                seen = noise
            else:
                part = share(f"{name} {way}", f"{_label(lab)}, {name} {way}: ")
                seen = lab.version(lab.budget.attack, Drive(name, way), "penalty", part).seen
            change = (seen.layers[name].mean(1, dtype=np.float64) - before) / scale
            rows.append(
                {
                    "network": lab.classifier.name,
                    "data": lab.dataset.name,
                    "layer": name,
                    "depth": (names.index(name) + 1) / len(names),
                    "way": way,
                    "clean": float(before.mean()),
                }
                | mean_row("change", change)
                | {"n": len(change)}
            )
    return rows


def _label(lab: Lab) -> str:
    return f"{lab.classifier.name} on {lab.dataset.name}"


def _labels(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(f"{row['network']} on {row['data']}" for row in rows))


def _of(rows: list[Row], label: str, way: str) -> list[Row]:
    return [row for row in rows if f"{row['network']} on {row['data']}" == label and row["way"] == way]


def draw(rows: list[Row]) -> go.Figure:
    """Relative change over relative depth, up and down in panels of their own; dashes tell the networks."""
    panels: dict[str, list[Line]] = {}
    for way in DRIVES:
        lines = []
        for place, label in enumerate(_labels(rows)):
            for kind, role, words in ((way, "attack", "driven"), ("noise", "noise", "uniform noise")):
                own = _of(rows, label, kind)
                if own:
                    said = [row["layer"] for row in own]
                    lines.append(line_of(own, "depth", "change", f"{words}, {label}", role, place=place, said=said))
        panels[f"Driven {way}"] = lines
    return curves(
        panels,
        "depth of the layer (1 = last)",
        "relative change of the<br>layer's mean activation",
        at=0,
        y_format="+.0%",
    )


def shows(rows: list[Row]) -> str:
    """One sentence: how far the first and the last layer are driven, and which of two networks gives way more."""
    labels, said = _labels(rows), []
    for label in labels:
        up, down = (_of(rows, label, way) for way in DRIVES)
        first, last = (f"{up[at]['change']:+.0%} or {down[at]['change']:+.0%}" for at in (0, -1))
        said.append(
            f"of {label} by {first} in its first layer, {up[0]['layer']}, and {last} in its last, {up[-1]['layer']}"
        )
    text = f"Within eps, an attack can change the mean activation {'; '.join(said)}"
    if len(labels) > 1:
        more = " and ".join(_more(rows, labels[0], labels[1], way) for way in DRIVES)
        text += f"; the first network changes more in {more}"
    return text + "."


def _more(rows: list[Row], one: str, other: str, way: str) -> str:
    """In how many of the layers that both have the first changes more."""
    changes = [{row["layer"]: abs(row["change"]) for row in _of(rows, label, way)} for label in (one, other)]
    both = [name for name in changes[0] if name in changes[1]]
    return f"{sum(changes[0][name] > changes[1][name] for name in both)} of {len(both)} layers when driven {way}"


def shows_not(rows: list[Row]) -> str:
    """One sentence: what a reader must not conclude."""
    return (
        "This is how far each layer can be driven by an attack that wants nothing else, not what an attack on the prediction does"
        + (
            "; one pair of networks does not tell whether images, classes or training make the difference."
            if len(_labels(rows)) > 1
            else ", and without a network of natural images beside it nothing is said of what is special to medical ones."
        )
    )
