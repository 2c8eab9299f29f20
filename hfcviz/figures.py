"""Pictures of a scan and what was added to it, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hfcviz.palette import COLOURS, SHADOW, dressed


def _image(image: np.ndarray, hover: str) -> go.Heatmap | go.Image:
    """image: (C, H, W) in [0, 1]."""
    if len(image) == 3:
        return go.Image(z=np.moveaxis(np.round(image * 255).astype(np.uint8), 0, -1), hoverinfo="skip")
    return go.Heatmap(z=image[0], zmin=0, zmax=1, colorscale="gray", showscale=False, hovertemplate=hover)


def _tidy_image_axes(figure: go.Figure, count: int) -> None:
    top = {"constrain": "domain", "constraintoward": "top"}  # whatever the width, titles of neighbouring figures align
    for place in range(1, count + 1):
        anchor = f"x{place}" if place > 1 else "x"
        figure.update_xaxes(visible=False, constrain="domain", row=1, col=place)
        figure.update_yaxes(visible=False, autorange="reversed", scaleanchor=anchor, row=1, col=place, **top)


def scan_panels(
    images: Mapping[str, np.ndarray],
    labels: Mapping[str, str],
    captions: Mapping[str, str],
    letters: Sequence[str] | None = None,
) -> go.Figure:
    """Versions of a scan side by side in one window: {role: (C, H, W) in [0, 1]}, what each is called, and a line
    under each. letters: what lies at the top, right, bottom and left edge, where that is known.
    """
    figure = make_subplots(rows=1, cols=len(images), horizontal_spacing=0.015)
    for place, (role, image) in enumerate(images.items(), 1):
        figure.add_trace(_image(image, "row %{y}, column %{x}<br>grey level %{z:.3f}<extra></extra>"), row=1, col=place)
        _title(figure, place, len(images), labels[role], COLOURS[role], captions[role])
        _letters(figure, place, letters or ())
    _tidy_image_axes(figure, len(images))
    return dressed(figure, 250, margin={"l": 4, "r": 4, "t": 30, "b": 30}, showlegend=False)


def difference_panels(differences: Mapping[str, np.ndarray], labels: Mapping[str, str], eps: float) -> go.Figure:
    """What each attack added, {role: (C, H, W)}, on one zero-centred scale of +-eps (a fraction; shown in 1/255)."""
    figure = make_subplots(rows=1, cols=len(differences), horizontal_spacing=0.015)
    bound = (eps or 1 / 255) * 255
    gain = 127.5 / bound
    for place, (role, difference) in enumerate(differences.items(), 1):
        shown = difference[np.abs(difference).reshape(len(difference), -1).max(1).argmax()] * 255
        last = place == len(differences)
        figure.add_trace(
            go.Heatmap(
                z=shown,
                zmin=-bound,
                zmax=bound,
                colorscale="RdBu_r",
                showscale=last,
                colorbar={
                    "title": {"text": "change, n/255", "side": "right"},
                    "thickness": 10,
                    "len": 0.9,
                    "nticks": 5,
                },
                hovertemplate="row %{y}, column %{x}<br>change %{z:+.2f}/255<extra></extra>",
            ),
            row=1,
            col=place,
        )
        _title(figure, place, len(differences), f"{labels[role]} − scan", COLOURS[role], f"shown × {gain:.3g}")
    _tidy_image_axes(figure, len(differences))
    return dressed(figure, 250, margin={"l": 4, "r": 4, "t": 30, "b": 30}, showlegend=False)


def _title(figure: go.Figure, place: int, count: int, text: str, colour: str, caption: str) -> None:
    number = place if place > 1 else ""
    common = {
        "xref": f"x{number} domain",
        "yref": f"y{number} domain",
        "x": 0.5,
        "showarrow": False,
        "xanchor": "center",
    }
    figure.add_annotation(text=f"<b>{text}</b>", y=1.0, yanchor="bottom", font={"color": colour, "size": 15}, **common)
    figure.add_annotation(text=caption, y=0.0, yanchor="top", font={"size": 13}, **common)


def _letters(figure: go.Figure, place: int, letters: Sequence[str]) -> None:
    number = place if place > 1 else ""
    edges = (
        (0.5, 1, "center", "top"),
        (1, 0.5, "right", "middle"),
        (0.5, 0, "center", "bottom"),
        (0, 0.5, "left", "middle"),
    )
    for letter, (x, y, xanchor, yanchor) in zip(letters, edges, strict=False):  # none, or all four
        figure.add_annotation(
            text=letter,
            x=x,
            y=y,
            xref=f"x{number} domain",
            yref=f"y{number} domain",
            xanchor=xanchor,
            yanchor=yanchor,
            showarrow=False,
            font={"color": "white", "size": 12, "shadow": SHADOW},
        )
