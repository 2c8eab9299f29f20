"""Tables as colours: the number stands in every cell, so that colour only guides the eye. Plain numbers in, figure out."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hfcviz.palette import dressed, in_cell

SCALES = {"AUC": ("RdBu_r", [0, 0.5, 1]), "share": ("Blues", [0, 0.5, 1])}
"""What a cell says: its colours, and the ticks of their bar. AUC: white is chance, and the other colour below it is an inverted
detector; share: from none to all.
"""
HEAD = 10
"""Letters of a column's head that stand on one line."""
MANY = 11
"""Columns above which their heads stand upright on a narrow page."""
TALL = 14
"""Lines above which the bars of colours end before the table does."""


def heat_maps(
    panels: Mapping[str, Mapping[str, Mapping[str, float]]],
    scale: str | Mapping[str, str],
    *,
    hover: Mapping[str, Mapping[str, Mapping[str, str]]] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    names: Mapping[str, str] | None = None,
    height: int | None = None,
) -> go.Figure:
    """Panels side by side with the same lines: {panel: {line: {column: value between 0 and 1}}}.

    scale: a name in SCALES, for all panels or {panel: name}; each scale in use has one bar. A missing or NaN value is an
    empty cell. hover: what the mouse reads, in the same shape; by default line, column and value. groups: {heading: its
    lines}, in order, each below its heading; names: what stands beside a line in place of its own name. height: by default by
    the number of lines.
    """
    lines = list(dict.fromkeys(line for panel in panels.values() for line in panel))
    if groups is not None:
        lines = [line for heading, own in groups.items() for line in (heading, *own)]
    columns = {
        title: list(dict.fromkeys(c for cells in panel.values() for c in cells)) for title, panel in panels.items()
    }
    scales = {title: scale if isinstance(scale, str) else scale[title] for title in panels}
    last = {name: title for title, name in scales.items()}
    bars = {name: 1.02 + 0.12 * place for place, name in enumerate(last)}
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
                text=[
                    ["" if math.isnan(value) else in_cell(f"{value:.2f}", colours, round(value, 2)) for value in row]
                    for row in z
                ],
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
                }
                | ({"lenmode": "pixels", "len": 220, "y": 1, "yanchor": "top"} if len(lines) > TALL else {}),
            ),
            row=1,
            col=place,
        )
    figure.update_yaxes(autorange="reversed", showgrid=False, showline=False, type="category")
    if groups is not None or names is not None:
        shown = ["" if line in (groups or {}) else (names or {}).get(line, line) for line in lines]
        figure.update_yaxes(tickvals=lines, ticktext=shown, zeroline=False)
    high = _heads(figure, list(columns.values()))
    figure.update_annotations(yshift=high)  # the panels' titles
    for heading in groups or {}:
        figure.add_annotation(
            text=f"<b>{heading}</b>", x=0, xref="paper", y=heading, yref="y", xanchor="left", showarrow=False
        )
    dressed(figure, height or 120 + 26 * len(lines))
    return figure.update_layout(margin_t=34 + high)


def _heads(figure: go.Figure, columns: Sequence[Sequence[str]]) -> int:
    """The names of the columns above them, as in any table, broken into lines; upright where the page is narrow. The pixels
    that they need at most.
    """
    broken = [["<br>".join(textwrap.wrap(name, HEAD, break_long_words=False)) for name in some] for some in columns]
    for place, (some, heads) in enumerate(zip(columns, broken, strict=True), 1):
        figure.update_xaxes(tickvals=list(some), ticktext=heads, row=1, col=place)
    figure.update_xaxes(
        showgrid=False, showline=False, type="category", side="top", autotickangles=[0, -90], tickfont_size=11
    )
    lines = [head.split("<br>") for heads in broken for head in heads]
    upright = 7 if len(lines) > MANY else 0
    return 10 + max((max(15 * len(one), max(upright * len(word) for word in one)) for one in lines), default=0)
