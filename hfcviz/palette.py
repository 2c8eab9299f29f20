"""The look of all figures: one colour and one marker for each role, everywhere; colours can be told apart by colour-blind
readers.
"""

from __future__ import annotations

import plotly.graph_objects as go

COLOURS = {"clean": "#0072B2", "noise": "#8C8C8C", "attack": "#D55E00", "hidden": "#C24F9B"}
"""Blue, grey, vermilion and purple, after Okabe & Ito 2008 (jfly.uni-koeln.de/color), the purple darkened for white
paper.
"""
CLASS_COLOURS = ("#0072B2", "#56B4E9", "#004B76", "#7FA7C9")
"""Clean classes are shades of the clean colour; shape tells them apart as well."""
CLASS_SYMBOLS = ("circle", "square", "pentagon", "hexagon")
SYMBOLS = {"clean": "circle", "noise": "diamond", "attack": "triangle-up", "hidden": "star"}
INK = "#5F6B76"
"""Grey that reads on white and on a dark page."""


def dressed(figure: go.Figure, height: int, **layout: object) -> go.Figure:
    """The figure with the look that all have: no background, so that it reads on light and dark pages."""
    figure.update_layout(
        template="plotly_white",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        height=height,
        margin={"l": 8, "r": 8, "t": 34, "b": 8},
        font={"family": "Source Sans Pro, Helvetica, Arial, sans-serif", "size": 13},
        legend={"orientation": "h", "yanchor": "top", "y": -0.14, "x": 0, "itemsizing": "constant"},
        hoverlabel={"namelength": -1},
    )
    figure.update_layout(**layout)
    return figure
