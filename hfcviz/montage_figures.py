"""Several scatters as one figure with panel letters and one legend."""

from __future__ import annotations

import copy
import string
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hfcviz.palette import dressed

PANEL, MARKS = 270, 0.65
"""Pixels of a panel's height; how much smaller marks are than in a figure of their own."""


def lettered(panels: Sequence[Sequence[go.Figure]], rows: Sequence[str], columns: Sequence[str]) -> go.Figure:
    """Figures of one pair of axes each, panels[row][column], in a grid: letters a, b, c ... row by row, names of rows and columns at
    the edges, and one legend, in which each name stands once.

    Axes keep their titles and ticks as they have them; those without ticks lose their titles too, which say nothing there.
    """
    count = len(rows), len(columns)
    figure = make_subplots(
        *count, horizontal_spacing=0.07 / max(1, count[1] - 1), vertical_spacing=0.36 / (count[0] + 1)
    )
    known: set[str] = set()
    for number, one in enumerate(panel for line in panels for panel in line):
        row, column = divmod(number, count[1])
        at = {"row": row + 1, "col": column + 1}
        for trace in one.data:
            drawn = copy.deepcopy(trace)
            # Small panels have no room for words in them and want small marks: letters, legend and caption say what is what.
            drawn.update(mode=trace.mode.replace("+text", ""))
            if trace.marker.size is not None:  # a path is a line alone
                drawn.update(marker_size=round(trace.marker.size * MARKS, 1))
            listed = trace.showlegend is not False and bool(trace.name)
            drawn.update(legendgroup=trace.name, showlegend=listed and trace.name not in known)
            known |= {trace.name} if listed else set()
            figure.add_trace(drawn, **at)
        for letter, update in (("x", figure.update_xaxes), ("y", figure.update_yaxes)):
            axis = one.layout[f"{letter}axis"]
            ticks = axis.showticklabels is not False
            title = {"text": axis.title.text if ticks else "", "standoff": 4}
            update(showticklabels=ticks, showgrid=ticks, zeroline=False, nticks=5, title=title, **at)
        figure.add_annotation(_letter(number))
    for place, name in enumerate(columns, 1):
        figure.add_annotation(_edge(place, f"<b>{name}</b>", 0))
    for place, name in enumerate(rows):
        figure.add_annotation(_edge(place * count[1] + 1, f"<b>{name}</b>", -90))
    margin = {"l": 70, "r": 8, "t": 40, "b": 8}
    return dressed(figure, PANEL * count[0] + 90, margin=margin, dragmode="pan", hovermode="closest")


def letters(count: int) -> list[str]:
    """a, b, ... z, aa, ab ..."""
    alphabet = string.ascii_lowercase
    return [(alphabet[n // 26 - 1] if n >= 26 else "") + alphabet[n % 26] for n in range(count)]


def _letter(number: int) -> dict[str, object]:
    place = _refs(number + 1)
    at = {"x": 0, "y": 1, "xanchor": "right", "yanchor": "bottom", "xshift": -4, "yshift": 1, "showarrow": False}
    return place | at | {"text": f"<b>{letters(number + 1)[-1]}</b>", "font": {"size": 17}}


def _edge(panel: int, text: str, angle: int) -> dict[str, object]:
    """The name of a column above its first panel, or of a row beside its first."""
    above = {"x": 0.5, "y": 1, "xanchor": "center", "yanchor": "bottom", "yshift": 6}
    beside = {"x": 0, "y": 0.5, "xanchor": "right", "yanchor": "middle", "xshift": -48}
    return _refs(panel) | (beside if angle else above) | {"text": text, "textangle": angle, "showarrow": False}


def _refs(panel: int) -> dict[str, str]:
    number = panel if panel > 1 else ""
    return {"xref": f"x{number} domain", "yref": f"y{number} domain"}
