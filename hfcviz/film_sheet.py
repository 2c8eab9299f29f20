"""What a film shows, and the sheet that it is drawn on: what stands still in it, and what moves with the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class View:
    """The PCA view of a layer: clean points of each class, [(P, 2)], and the way of each attack, {role: (S, 2)}."""

    clouds: Sequence[np.ndarray]
    paths: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Film:
    """What is shown at the F kept steps of S, of each attack {role: ...}; all in step.

    steps: (F,), the kept ones; eps: a fraction; clean: (C, rows, columns) in [0, 1]; changes: {role: F pictures like it}; said: {role: F
    words in the picture}; confidence: {role: (S,)} of `target`; terms: {role: {name: (S,)}}, the loss first; depths: {role: (L, F)} where
    0 is the clean median and 1 the clean 95 % quantile, lower: (L,) the 5 % quantile; views: {layer: View}, `chosen` stands out; scores:
    {role: {detector: (F,)}}, caught above thresholds.
    """

    steps: np.ndarray
    labels: Mapping[str, str]
    eps: float
    clean: np.ndarray
    changes: Mapping[str, Sequence[np.ndarray]]
    said: Mapping[str, Sequence[str]]
    target: str
    confidence: Mapping[str, np.ndarray]
    terms: Mapping[str, Mapping[str, np.ndarray]]
    layers: Sequence[str]
    depths: Mapping[str, np.ndarray]
    lower: np.ndarray
    views: Mapping[str, View]
    chosen: str
    scores: Mapping[str, Mapping[str, np.ndarray]]
    thresholds: Mapping[str, float]


class Sheet:
    """A film in the making: what stands still, and what moves with the named steps."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.data: list[dict[str, Any]] = []
        self.layout: dict[str, Any] = {"annotations": []}
        self.moving: list[int] = []
        self.states: list[list[dict[str, Any]]] = [[] for _ in names]
        self.images: list[list[dict[str, Any]]] = [[] for _ in names]
        self.places = 0

    def axes(self, across: tuple[float, float], up: tuple[float, float], x: dict, y: dict) -> dict[str, str]:
        """A new pair of axes in a part of the sheet; what a trace needs to lie on them."""
        self.places += 1
        tail = "" if self.places == 1 else str(self.places)
        self.layout[f"xaxis{tail}"] = {"domain": across, "anchor": f"y{tail}", "zeroline": False} | x
        self.layout[f"yaxis{tail}"] = {"domain": up, "anchor": f"x{tail}", "zeroline": False} | y
        return {"xaxis": f"x{tail}", "yaxis": f"y{tail}"}

    def still(self, place: dict[str, str], **trace: Any) -> None:
        """A trace that does not move."""
        self.data.append({"type": "scatter", "hoverinfo": "skip"} | place | trace)

    def moves(self, place: dict[str, str], states: Sequence[dict[str, Any]], **trace: Any) -> None:
        """A trace of which these parts differ from step to step."""
        self.moving.append(len(self.data))
        self.still(place, **trace)
        for step, state in zip(self.states, states, strict=True):
            step.append({"type": "scatter"} | state)

    def pictures(self, place: dict[str, str], sides: tuple[int, int], name: str, sources: Sequence[str]) -> None:
        """An encoded picture for each step, (rows, columns), that fills its axes.

        An image of the layout, since one among the traces is loaded anew with each step and would flicker.
        """
        at = {
            "xref": place["xaxis"],
            "yref": place["yaxis"],
            "x": -0.5,
            "y": -0.5,
            "sizex": sides[1],
            "sizey": sides[0],
        }
        at |= {"sizing": "stretch", "layer": "below", "name": name}
        for step, source in zip(self.images, sources, strict=True):
            step.append(at | {"source": source})

    def title(self, place: dict[str, str], text: str) -> None:
        """A heading above a pair of axes."""
        at = {"xref": f"{place['xaxis']} domain", "yref": f"{place['yaxis']} domain", "x": 0.5, "y": 1}
        at |= {"xanchor": "center", "yanchor": "bottom", "yshift": 2, "showarrow": False, "font": {"size": 13}}
        self.layout["annotations"].append(at | {"text": text})


def roomy(values: np.ndarray | Sequence[float]) -> tuple[float, float]:
    """From the least to the largest, and room for a mark beyond: the axes stand still while the film plays."""
    least, most = float(np.min(values)), float(np.max(values))
    room = 0.08 * (most - least) or 1.0
    return least - room, most + room


def stretches(count: int, gap: float) -> list[tuple[float, float]]:
    """So many equal stretches of the width, with gaps."""
    width = (1 - gap * (count - 1)) / count
    return [(place * (width + gap), place * (width + gap) + width) for place in range(count)]
