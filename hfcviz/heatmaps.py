"""Tables as colours: the number stands in every cell, so that colour only guides the eye. Plain numbers in, figure out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hfcviz.palette import dressed

SCALES = {"AUC": ("RdBu_r", [0, 0.5, 1]), "share": ("Blues", [0, 0.5, 1])}
"""What a cell says: its colours, and the ticks of their bar. AUC: white is chance, and the other colour below it is an inverted
detector; share: from none to all.
"""


def heat_maps(
    panels: Mapping[str, Mapping[str, Mapping[str, float]]],
    scale: str | Mapping[str, str],
    *,
    hover: Mapping[str, Mapping[str, Mapping[str, str]]] | None = None,
    height: int | None = None,
) -> go.Figure:
    """Panels side by side with the same lines: {panel: {line: {column: value between 0 and 1}}}.

    scale: a name in SCALES, for all panels or {panel: name}; each scale in use has one bar. A missing or NaN value is an
    empty cell. hover: what the mouse reads, in the same shape; by default line, column and value. height: by default by the
    number of lines.
    """
    lines = list(dict.fromkeys(line for panel in panels.values() for line in panel))
    columns = {
        title: list(dict.fromkeys(c for cells in panel.values() for c in cells)) for title, panel in panels.items()
    }
    scales = {title: scale if isinstance(scale, str) else scale[title] for title in panels}
    last = {name: title for title, name in scales.items()}
    bars = {name: 1.02 + 0.1 * place for place, name in enumerate(last)}
    figure = make_subplots(
        1,
        len(panels),
        subplot_titles=list(panels) if len(panels) > 1 else None,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        column_widths=[max(len(columns[title]), 1) for title in panels],
    )
    for place, (title, panel) in enumerate(panels.items(), 1):
        colours, ticks = SCALES[scales[title]]
        z = [[panel.get(line, {}).get(column, math.nan) for column in columns[title]] for line in lines]
        said = [
            [
                (hover or {}).get(title, {}).get(line, {}).get(column)
                or f"{line}, {column}: {panel.get(line, {}).get(column, math.nan):.3f}"
                for column in columns[title]
            ]
            for line in lines
        ]
        figure.add_trace(
            go.Heatmap(
                z=[[None if math.isnan(value) else value for value in row] for row in z],
                x=columns[title],
                y=lines,
                zmin=0,
                zmax=1,
                colorscale=colours,
                text=[["" if math.isnan(value) else f"{value:.2f}" for value in row] for row in z],
                texttemplate="%{text}",
                textfont={"size": 11},
                xgap=2,
                ygap=2,
                hoverongaps=False,
                hovertext=said,
                hovertemplate="%{hovertext}<extra></extra>",
                showscale=last[scales[title]] == title,
                colorbar={
                    "title": {"text": scales[title], "side": "right"},
                    "thickness": 10,
                    "tickvals": ticks,
                    "x": bars[scales[title]],
                    "xanchor": "left",
                },
            ),
            row=1,
            col=place,
        )
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    figure.update_xaxes(showgrid=False, type="category")
    return dressed(figure, height or 120 + 26 * len(lines))
