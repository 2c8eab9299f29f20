"""Pictures of a scan and what was added to it, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hfcviz.palette import COLOURS, SHADOW, drawn, panels, set_axes

EDGES = (
    (0.5, 1, "center", "top"),
    (1, 0.5, "right", "middle"),
    (0.5, 0, "center", "bottom"),
    (0, 0.5, "left", "middle"),
)
"""Where a letter stands in its picture: x, y and what of the letter lies there; top, right, bottom and left."""


def _image(image: np.ndarray, hover: str) -> dict[str, Any]:
    """image: (C, H, W) in [0, 1]."""
    if len(image) == 3:
        pixels = np.moveaxis(np.round(image * 255).astype(np.uint8), 0, -1)
        return {"type": "image", "z": pixels, "hoverinfo": "skip"}
    grey = {"zmin": 0, "zmax": 1, "colorscale": "gray", "showscale": False}
    return {"type": "heatmap", "z": image[0], "hovertemplate": hover} | grey


def _side_by_side(pictures: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> go.Figure:
    """Traces in a row, in their own proportions."""
    layout = panels(1, len(pictures), horizontal_spacing=0.015)
    set_axes(layout, "x", visible=False, constrain="domain")
    # Whatever the width, titles of neighbouring figures align.
    set_axes(layout, "y", visible=False, autorange="reversed", constrain="domain", constraintoward="top")
    for place, picture in enumerate(pictures):
        number = place + 1 if place else ""
        picture |= {"xaxis": f"x{number}", "yaxis": f"y{number}"}
        layout[f"yaxis{number}"] |= {"scaleanchor": f"x{number}"}
    layout |= {"annotations": annotations, "margin": {"l": 4, "r": 4, "t": 30, "b": 30}, "showlegend": False}
    return drawn(pictures, 250, **layout)


def scan_panels(
    images: Mapping[str, np.ndarray],
    labels: Mapping[str, str],
    captions: Mapping[str, str],
    letters: Sequence[str] | None = None,
) -> go.Figure:
    """Versions of a scan side by side in one window: {role: (C, H, W) in [0, 1]}, what each is called, and a line
    under each. letters: what lies at the top, right, bottom and left edge, where that is known.
    """
    pictures, annotations = [], []
    for place, (role, image) in enumerate(images.items()):
        pictures.append(_image(image, "row %{y}, column %{x}<br>grey level %{z:.3f}<extra></extra>"))
        annotations += [*_titles(place, labels[role], COLOURS[role], captions[role]), *_letters(place, letters or ())]
    return _side_by_side(pictures, annotations)


def difference_panels(differences: Mapping[str, np.ndarray], labels: Mapping[str, str], eps: float) -> go.Figure:
    """What each attack added, {role: (C, H, W)}, on one zero-centred scale of +-eps (a fraction; shown in 1/255)."""
    bound = (eps or 1 / 255) * 255
    scale = {"zmin": -bound, "zmax": bound, "colorscale": "RdBu_r"}
    title = {"text": "change, n/255", "side": "right"}
    bar = {"title": title, "thickness": 10, "len": 0.9, "nticks": 5}
    hover = "row %{y}, column %{x}<br>change %{z:+.2f}/255<extra></extra>"
    pictures: list[dict[str, Any]] = []
    annotations = []
    for place, (role, difference) in enumerate(differences.items()):
        shown = difference[np.abs(difference).reshape(len(difference), -1).max(1).argmax()] * 255
        last = {"showscale": place + 1 == len(differences), "colorbar": bar}
        pictures.append({"type": "heatmap", "z": shown, "hovertemplate": hover} | scale | last)
        annotations += _titles(place, f"{labels[role]} − scan", COLOURS[role], f"shown × {127.5 / bound:.3g}")
    return _side_by_side(pictures, annotations)


def _titles(place: int, text: str, colour: str, caption: str) -> list[dict[str, Any]]:
    """Above and below a picture."""
    common = _within(place) | {"x": 0.5, "xanchor": "center"}
    return [
        common | {"text": f"<b>{text}</b>", "y": 1.0, "yanchor": "bottom", "font": {"color": colour, "size": 15}},
        common | {"text": caption, "y": 0.0, "yanchor": "top", "font": {"size": 13}},
    ]


def _letters(place: int, letters: Sequence[str]) -> list[dict[str, Any]]:
    common = _within(place) | {"font": {"color": "white", "size": 12, "shadow": SHADOW}}
    return [
        common | {"text": letter, "x": x, "y": y, "xanchor": xanchor, "yanchor": yanchor}
        for letter, (x, y, xanchor, yanchor) in zip(letters, EDGES, strict=False)  # none, or all four
    ]


def _within(place: int) -> dict[str, Any]:
    """For words that keep their place in a picture."""
    number = place + 1 if place else ""
    return {"xref": f"x{number} domain", "yref": f"y{number} domain", "showarrow": False}
