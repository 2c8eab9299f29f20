"""Lines with their intervals over an x axis, in panels side by side. Plain numbers in, figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hfcviz.palette import COLOURS, INK, SYMBOLS, dressed

DASHES = ("solid", "dash", "dot", "dashdot")
"""For what colour does not tell apart: the first network, the second one, and so on."""
FEW = 10
"""Whole numbers up to which each has its tick."""


@dataclass(frozen=True)
class Line:
    """One curve; low and high, of the same length as y, are the edges of its band, or empty for none."""

    name: str
    """Lines of one name, in several panels, share one entry of the legend, which hides them all."""
    role: str
    """In COLOURS; other words are drawn in the neutral ink."""
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    place: int = 0
    """Which of DASHES; a line of another place than 0 has open markers too."""
    said: Sequence[str] = ()
    """What the mouse reads at each point in place of x."""


def line_of(
    rows: Sequence[Mapping[str, Any]], x: str, y: str, name: str, role: str, *, place: int = 0, said: Sequence[str] = ()
) -> Line:
    """The curve of a study's rows, from their values under x, y, and y's edges y_low and y_high."""

    def values(key: str) -> list[float]:
        return [row[key] for row in rows]

    return Line(name, role, values(x), values(y), values(f"{y}_low"), values(f"{y}_high"), place, said)


def curves(
    panels: Mapping[str, Sequence[Line]],
    x_title: str,
    y_title: str,
    *,
    y_range: tuple[float, float] | None = None,
    marks: Mapping[float, str] | None = None,
    at: float | None = None,
    y_format: str = ".4~g",
    height: int = 400,
) -> go.Figure:
    """{title of the panel: its lines}, over one y axis.

    y_range: by default what the lines need; marks: {x: word} in place of numbers on the x axis; at: where a thin level line
    stands; y_format: of numbers, in d3's notation (".0%" for shares).
    """
    figure = make_subplots(
        1,
        max(len(panels), 1),
        subplot_titles=list(panels) if len(panels) > 1 else None,
        shared_yaxes=True,
        horizontal_spacing=0.035,
    )
    named: set[str] = set()
    for place, lines in enumerate(panels.values(), 1):
        for line in lines:
            colour = COLOURS.get(line.role, INK)
            if line.low:
                figure.add_trace(_band(line, colour), row=1, col=place)
            figure.add_trace(_curve(line, colour, line.name not in named, y_format), row=1, col=place)
            named.add(line.name)
    if at is not None:
        figure.add_hline(y=at, line={"color": INK, "width": 1, "dash": "dot"})
    figure.update_xaxes(title=x_title, zeroline=False)
    places = [x for lines in panels.values() for line in lines for x in line.x]
    if marks is None and places and all(x == int(x) for x in places) and max(places) - min(places) <= FEW:
        figure.update_xaxes(dtick=1)  # there is no half a step
    if marks is not None:
        figure.update_xaxes(tickvals=list(marks), ticktext=list(marks.values()))
    figure.update_yaxes(zeroline=False, tickformat=y_format)
    figure.update_yaxes(title=y_title, row=1, col=1)
    if y_range is not None:
        figure.update_yaxes(range=list(y_range))
    return dressed(figure, height, legend={"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0})


def _curve(line: Line, colour: str, shown: bool, y_format: str) -> go.Scatter:
    symbol = SYMBOLS.get(line.role, "circle") + ("-open" if line.place else "")
    words = list(line.said) or [f"{x:g}" for x in line.x]
    edges = [*zip(line.low, line.high, strict=True)] if line.low else []
    interval = f" (95 %: %{{customdata[0]:{y_format}}} to %{{customdata[1]:{y_format}}})" if edges else ""
    return go.Scatter(
        x=list(line.x),
        y=list(line.y),
        name=line.name,
        legendgroup=line.name,
        showlegend=shown,
        mode="lines+markers",
        line={"color": colour, "dash": DASHES[line.place % len(DASHES)], "width": 2},
        marker={"symbol": symbol, "size": 7},
        text=words,
        customdata=edges or None,
        hovertemplate=f"{line.name}<br>%{{text}}<br>%{{y:{y_format}}}{interval}<extra></extra>",
    )


def _band(line: Line, colour: str) -> go.Scatter:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return go.Scatter(
        x=[*line.x, *reversed(line.x)],
        y=[*line.high, *reversed(line.low)],
        name=f"{line.name}, 95 % interval",  # the figure's table tells it from the line
        legendgroup=line.name,
        showlegend=False,
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.16)",
        hoverinfo="skip",
    )
