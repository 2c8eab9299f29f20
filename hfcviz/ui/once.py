"""A figure that the browser draws once, where Streamlit and plotly between them would draw it two or three times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from hfcviz.palette import INK

if TYPE_CHECKING:
    import plotly.graph_objects as go

TICKS, BARE = 76, 44
"""Pixels left of a plot that numbers and a name need, and a name alone."""
ROOM: dict[str, dict[str, int]] = {
    "scatter": {"b": 126},
    "cohort": {"b": 86},
    "scores": {"t": 44, "b": 64},
    "roc": {"l": 88, "r": 26, "b": 98},
    "auc-map": {"l": 58, "r": 106, "b": 38},
}
"""The figures that have to be quick, by name, with the pixels that numbers, names, legend and colours take beside their plots. Where plotly
finds more, as on a narrow page, it takes more, and draws once more.
"""
GRID, ZERO = "rgba(128, 132, 149, 0.22)", "rgba(128, 132, 149, 0.35)"
"""Lines that read on white and on a dark page."""
COMMON = {"automargin": True, "ticks": "", "gridcolor": GRID, "zerolinecolor": ZERO, "tickfont": {"size": 12}}
AXES = {"x": COMMON | {"showgrid": False, "zeroline": False}, "y": COMMON}
TITLES = {"x": {"standoff": 20, "font": {"size": 14}}, "y": {"standoff": 24, "font": {"size": 14}}}
LOOK: dict[str, Any] = {"autotypenumbers": "strict", "hovermode": "closest", "hoverlabel": {"align": "left"}}
"""What plotly's template and Streamlit's theme say between them, but colours, which look.css has for both pages."""


@contextmanager
def drawn_once(figure: go.Figure, name: str = "", *, selects: bool = False) -> Iterator[tuple[go.Figure, str | None]]:
    """Within, the figure for the page and Streamlit's theme for it; `figure` itself, which is exported, is afterwards as before: an export
    has a width of its own, and no clicks. What would be set or found after the first drawing is said beforehand:

    - that the copy of the data, which Streamlit hands over then, is the same data (`datarevision`). This number need not change, as
      Streamlit draws a figure with other data anew;
    - selects: the modes that Streamlit sets where points can be selected, and the room left of a scatter, of which plotly knows
      once all is drawn;
    - of the figures in ROOM, all the room beside their plots. Plotly takes neither a copy of a template nor one of packed numbers for the
      same, so these figures have lists for the page, no template, and no theme, which would bring one.
    """
    said: dict[str, Any] = {"datarevision": 0}
    said |= {f"margin_{side}": pixels for side, pixels in ROOM.get(name, {}).items()}
    if selects:
        said |= {"clickmode": "event+select", "hovermode": "closest"}
        if figure.layout.dragmode in ("lasso", "select"):
            bare = figure.layout.yaxis.showticklabels is False
            said |= {"clickmode": "event", "margin_l": BARE if bare else TICKS}
    before = {name: figure.layout[name] for name in said}
    figure.update_layout(**said)
    try:
        yield (_plain(figure), None) if name in ROOM else (figure, "streamlit")
    finally:
        figure.update_layout(**before)


def _plain(figure: go.Figure) -> go.Figure:
    """A copy with its look in every axis in place of a template. Its values are known to be right, and not checked again."""
    layout = figure.layout.to_plotly_json()
    layout.pop("template", None)
    found = LOOK | layout
    found["margin"] = {"pad": 8} | layout["margin"]
    found["font"] = {"color": INK} | layout["font"]
    found["legend"] = {"font": {"size": 12}} | layout["legend"]
    for axis in {"xaxis", "yaxis", *(key for key in layout if key[1:].startswith("axis"))}:
        said = layout.get(axis, {})
        found[axis] = AXES[axis[0]] | said | {"title": TITLES[axis[0]] | said.get("title", {})}
    copy = type(figure)([_listed(trace.to_plotly_json()) for trace in figure.data], found, _validate=False)
    copy.layout.template = None
    return copy


def _listed(values: dict[str, Any]) -> dict[str, Any]:
    """The same with lists in place of arrays."""
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else _listed(value) if isinstance(value, dict) else value
        for name, value in values.items()
    }
