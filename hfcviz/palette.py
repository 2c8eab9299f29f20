"""The look of all figures: one colour and one marker for each role, everywhere; colours can be told apart by colour-blind
readers.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

COLOURS = {"clean": "#0072B2", "noise": "#8C8C8C", "attack": "#D55E00", "hidden": "#C24F9B"}
"""Blue, grey, vermilion and purple, after Okabe & Ito 2008 (jfly.uni-koeln.de/color), the purple darkened for white
paper.
"""
CLASS_COLOURS = ("#0072B2", "#56B4E9", "#004B76", "#7FA7C9")
"""Clean classes are shades of the clean colour; shape tells them apart as well."""
CLASS_SYMBOLS = ("circle", "square", "pentagon", "hexagon")
SYMBOLS = {"clean": "circle", "noise": "diamond", "attack": "triangle-up", "hidden": "star"}
CROSSHAIR = "#F0E442"
"""Okabe & Ito's yellow, which reads on grey pictures."""
SHADOW = "0 0 2px black, 0 0 3px black, 0 0 4px black"
"""Behind white letters, so that they read on bone and on white paper too."""
DIM = 0.12
"""Opacity of what is not selected."""
INK = "#5F6B76"
"""Grey that reads on white and on a dark page."""
TEMPLATE = "plotly_white"


def look(height: int) -> dict[str, Any]:
    """The layout that all figures have: no background, so that they read on light and dark pages."""
    return {
        "template": TEMPLATE,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 34, "b": 8},
        "font": {"family": "Source Sans Pro, Helvetica, Arial, sans-serif", "size": 13},
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.14, "x": 0, "itemsizing": "constant"},
        "hoverlabel": {"namelength": -1},
    }


def digits(value: float, count: int = 3) -> str:
    """A number as people read it: three digits, but all of a large one, where Python would write 1.8e+03."""
    return f"{value:.0f}" if abs(value) >= 10**count else f"{value:.{count}g}"


def dressed(figure: go.Figure, height: int, **layout: object) -> go.Figure:
    """The figure with that look."""
    whole = look(height) | layout
    template = whole.pop("template")
    figure.update_layout(**whole)
    return _based(figure, template)


def drawn(traces: Sequence[dict[str, Any]], height: int, **layout: object) -> go.Figure:
    """A figure of traces as plain dicts, with that look. What has to be quick is made so: plotly checks and copies every value once,
    but several times where traces are made, added and updated one by one.
    """
    whole = look(height) | layout
    template = whole.pop("template")
    return _based(go.Figure(data=traces, layout=whole), template)


def _based(figure: go.Figure, template: Any) -> go.Figure:
    """The figure on a template. Plotly's own need not be checked again, which took more than half of the time that a figure takes."""
    if template == TEMPLATE:
        figure.layout._validate, template = False, pio.templates[TEMPLATE]
    figure.layout.template = template
    figure.layout._validate = True
    return figure


@lru_cache(maxsize=1024)
def in_cell(text: str, scale: str | tuple[tuple[float, str], ...], place: float) -> str:
    """The text of a coloured cell, in black or white, whichever has more contrast with its colour: 4.5 to 1 on any (WCAG 2.2, relative
    luminance), where plotly's own dark grey has 3 on the colours between.

    scale: a name of plotly's or places with colours in hex; place: of the cell's value on it, 0 to 1.
    """
    known = scale if isinstance(scale, str) else [[at, colour] for at, colour in scale]
    colour = sample_colorscale(known, [place], colortype="tuple")[0]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in colour)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return f"<span style='color:{'black' if (light + 0.05) ** 2 > 0.05 * 1.05 else 'white'}'>{text}</span>"


def panels(rows: int, columns: int, **options: object) -> dict[str, Any]:
    """The layout of `make_subplots`, whose options these are, as a plain dict for `drawn`: axes x1, x2 ... from the upper left."""
    return copy.deepcopy(_panels(rows, columns, json.dumps(options)))


@lru_cache(maxsize=64)
def _panels(rows: int, columns: int, options: str) -> dict[str, Any]:
    found: dict[str, Any] = make_subplots(rows, columns, **json.loads(options)).layout.to_plotly_json()
    found.pop("template", None)
    return found


def set_axes(layout: dict[str, Any], letter: str, **what: object) -> None:
    """Say the same of every axis of a plain layout. letter: "x" or "y"."""
    for name, axis in layout.items():
        if name.startswith(f"{letter}axis"):
            axis |= what
