"""The data of a figure as a table: every point, cell and value that it draws."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hfcviz.paper import plain

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLUMNS = ("panel", "series", "x", "y", "value", "id", "detail")
"""panel: its plane, its title, or its number; series: what the legend or the mouse calls it; value: of a cell or a pixel, three of a
coloured one; id: of the scan; detail: what else the mouse tells.
"""
Line = dict[str, Any]


def as_csv(figure: go.Figure) -> str:
    """One line a point of a curve or scatter, a value of a histogram, a cell of a map, a pixel of a picture.

    Of a picture that is drawn as an encoded one without its values, a line says so.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    panels = _panels(figure)
    for number, trace in enumerate(figure.data):
        place = trace.xaxis or "x", trace.yaxis or "y"
        head = {"panel": panels[place], "series": trace.name or f"{trace.type} {number + 1}"}
        if trace.name != "marks":  # crosshair and letters
            table.writerows(head | line for line in _lines(trace))
    return text.getvalue()


def _panels(figure: go.Figure) -> dict[tuple[str, str], str]:
    """What each pair of axes is called: what its trace says (a plane), else the title above it, else its number."""
    found: dict[tuple[str, str], str] = {}
    for trace in figure.data:
        x, y = place = trace.xaxis or "x", trace.yaxis or "y"
        if place in found:
            continue
        left, right = figure.layout[f"xaxis{x[1:]}"].domain or (0, 1)
        top = (figure.layout[f"yaxis{y[1:]}"].domain or (0, 1))[1]
        at = {("paper", "paper"): ((left + right) / 2, top), (f"{x} domain", f"{y} domain"): (0.5, 1.0)}
        titles = [
            note.text
            for note in figure.layout.annotations
            if (wanted := at.get((note.xref, note.yref))) and np.allclose((note.x, note.y), wanted, atol=2e-3)
        ]
        found[place] = str(trace.meta or "") or (plain(titles[0]) if titles else str(len(found) + 1))
    return found


def _lines(trace: Any) -> Iterator[Line]:
    if trace.type == "heatmap":
        z, notes = np.asarray(trace.z), trace.text
        across = range(z.shape[1]) if trace.x is None else trace.x
        down = range(z.shape[0]) if trace.y is None else trace.y
        for row, y in enumerate(down):
            for column, x in enumerate(across):
                if z[row][column] is None:  # an empty cell, or the heading of a group
                    continue
                detail = {} if notes is None else {"detail": plain(str(notes[row][column]))}
                yield {"x": _value(x), "y": _value(y), "value": _value(z[row][column])} | detail
    elif trace.type == "image":
        yield from _pixels(trace)
    elif trace.type == "histogram":
        yield from ({"x": _value(x)} for x in trace.x)
    else:
        ids = trace.customdata if trace.customdata is not None else [None] * len(trace.x)
        for x, y, about in zip(trace.x, trace.y, ids, strict=True):
            if x is not None and y is not None:  # a gap in a line
                yield {"x": _value(x), "y": _value(y)} | _told(about)


def _told(about: Any) -> Line:
    """What a point carries for the mouse: its scan's id is a text, all else are details."""
    values = (
        []
        if about is None
        else [_value(one) for one in (about if isinstance(about, list | tuple | np.ndarray) else [about])]
    )
    ids, details = [one for one in values if isinstance(one, str)], [one for one in values if not isinstance(one, str)]
    return ({"id": ids[0]} if ids else {}) | (
        {"detail": " ".join(map(str, [*details, *ids[1:]]))} if values[len(ids[:1]) :] else {}
    )


def _pixels(trace: Any) -> Iterator[Line]:
    values = trace.z if trace.z is not None else trace.customdata
    if values is None:
        yield {
            "detail": f"a picture of {len(trace.source or '')} characters; its values are in the files of the attacked scan"
        }
        return
    first, step = (trace.x0 or 0, trace.y0 or 0), (trace.dx or 1, trace.dy or 1)
    for row, line in enumerate(np.asarray(values)):
        for column, value in enumerate(line):
            shown = " ".join(str(one) for one in value) if np.ndim(value) else _value(value)
            yield {"x": first[0] + step[0] * column, "y": first[1] + step[1] * row, "value": shown}


def _value(one: Any) -> Any:
    return one.item() if isinstance(one, np.generic) else one
