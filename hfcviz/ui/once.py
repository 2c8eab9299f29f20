"""A figure that the browser draws once, where Streamlit and plotly between them would draw it two or three times."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hfcviz.palette import INK
from hfcviz.plane_figures import BUTTONS, MARGIN

TICKS, BARE = 76, 44
"""Pixels left of a plot that numbers and a name need, and a name alone."""
ROOM: dict[str, dict[str, int]] = {
    "scatter": {"b": 126},
    "planes": {"b": MARGIN["b"] + BUTTONS},
    "grid": {"l": 12, "r": 12, "b": 80},
    "difference": {"r": 82},
    "depth": {"l": 86, "r": 30, "t": 84, "b": 88},
    "detectors": {"l": 62, "r": 18, "b": 100},
    "layers": {"l": 54, "b": 34},
    "film": {"t": 70},
    "distance": {"l": 72, "r": 16, "b": 66},
    "montage": {"b": 106},
    "cohort": {"b": 86},
    "scores": {"t": 44, "b": 64},
    "roc": {"l": 88, "r": 26, "b": 98},
    "auc-map": {"l": 58, "r": 106, "b": 38},
    "study-direction": {"l": 70, "b": 94},
    "study-stress": {"l": 114, "b": 94},
    "study-components": {"l": 136, "r": 104},
    "study-adaptive": {"l": 140, "r": 226},
    "study-transfer": {"l": 206, "r": 104},
    "study-ood": {"l": 70, "b": 94},
    "study-defender": {"l": 100, "r": 104},
    "tour-1-2": {"l": 70, "r": 10, "t": 48, "b": 68},
    "tour-2-2": {"r": 92},
    "tour-3-1": {"l": 98, "b": 68},
    "tour-3-2": {"l": 70, "r": 10, "t": 48, "b": 68},
    "tour-4-1": {"l": 86, "t": 46, "b": 68},
    "tour-4-2": {"l": 70, "r": 10, "t": 68, "b": 68},
    "tour-5-1": {"l": 72, "r": 16, "b": 122},
    "tour-6-1": {"l": 86, "t": 46, "b": 68},
    "tour-6-2": {"l": 70, "r": 10, "t": 68, "b": 68},
    "tour-7-1": {"l": 44, "t": 68, "b": 40},
    "tour-7-2": {"l": 70, "r": 10, "t": 68, "b": 68},
    "tour-8-1": {"l": 70, "b": 120},
    "tour-9-1": {"l": 90, "t": 46, "b": 68},
    "tour-9-2": {"l": 70, "b": 84},
    "tour-10-1": {"l": 72, "r": 104, "b": 40},
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


Parts = dict[str, Any]
"""Data, layout and frames of a figure, as `plane_figures.plane_parts` has them."""


class Plain(go.Figure):
    """A figure as it is sent: Streamlit asks for its dict, and gets what was said, where plotly would copy all of it twice."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__()
        self._said = said

    def to_dict(self) -> dict[str, Any]:
        """Not packed either: its numbers become lists on the way."""
        return self._said


def for_page(figure: go.Figure | Parts, name: str = "", *, selects: bool = False) -> Plain:
    """The figure, or what makes it, as the page shows it, without Streamlit's theme; `figure` itself, which is exported, stays as it is:
    an export has a width of its own, and no clicks. What would be set or found after the first drawing is said beforehand:

    - that the copy of the data, which Streamlit hands over then, is the same data (`datarevision`). This number need not change, as
      Streamlit draws a figure with other data anew;
    - no template, and lists: plotly takes neither a copy of a template nor one of packed numbers for the same. The look stands in every
      axis instead;
    - selects: the modes that Streamlit sets where points can be selected, and the room left of a scatter, of which plotly knows
      once all is drawn;
    - of the figures in ROOM, all the room beside their plots.
    """
    parts = _parts(figure)
    layout = parts["layout"]
    found = LOOK | layout | {"template": None, "datarevision": 0}
    found["margin"] = {"pad": 8} | layout["margin"] | ROOM.get(name, {})
    found["font"] = {"color": INK} | layout["font"]
    found["legend"] = {"font": {"size": 12}} | layout["legend"]
    for axis in {"xaxis", "yaxis", *(key for key in layout if key[1:].startswith("axis"))}:
        said = layout.get(axis, {})
        found[axis] = AXES[axis[0]] | said | {"title": TITLES[axis[0]] | said.get("title", {})}
    if selects:
        found |= {"clickmode": "event+select", "hovermode": "closest"}
        if layout.get("dragmode") in ("lasso", "select"):
            bare = found["yaxis"].get("showticklabels") is False
            found |= {"clickmode": "event", "margin": found["margin"] | {"l": BARE if bare else TICKS}}
    whole: dict[str, Any] = {"data": [_sent(trace) for trace in parts["data"]], "layout": found}
    if parts["frames"]:
        whole["frames"] = parts["frames"]
    return Plain(whole)


def _parts(figure: go.Figure | Parts) -> Parts:
    if not isinstance(figure, go.Figure):
        return figure
    data, frames = ([one.to_plotly_json() for one in some] for some in (figure.data, figure.frames))
    return {"data": data, "layout": figure.layout.to_plotly_json(), "frames": frames}


def _sent(trace: dict[str, Any]) -> dict[str, Any]:
    """A picture's values are for the mouse alone: those that it tells travel, with their digits. Any other trace as it is."""
    if trace["type"] != "image" or trace.get("customdata") is None:
        return trace
    told = re.search(r"{customdata:[+]?[.](\d)f}", trace["hovertemplate"])
    values = np.round(np.asarray(trace["customdata"], dtype=float), int(told[1])).tolist() if told else None
    return trace | {"customdata": values}
