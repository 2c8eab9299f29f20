"""A figure that the browser draws once, where Streamlit and plotly between them would draw it two or three times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

TICKS, BARE = 76, 44
"""Pixels left of a plot that numbers and a name need, and a name alone."""


@contextmanager
def drawn_once(figure: go.Figure, *, selects: bool = False) -> Iterator[None]:
    """Within, the figure's layout says beforehand what would be set or found later, and have every point drawn again for it:

    - that the copy of the data, which Streamlit hands over after the first drawing, is the same data (`datarevision`). This number
      need not change, as Streamlit draws a figure with other data anew;
    - selects: the modes that Streamlit sets where points can be selected, and the room for the numbers beside the plot, of which
      plotly knows once all is drawn.

    Afterwards it is as before: an export has a width of its own, and no clicks.
    """
    said: dict[str, Any] = {"datarevision": 0}
    if selects:
        said |= {"clickmode": "event+select", "hovermode": "closest"}
        if figure.layout.dragmode in ("lasso", "select"):
            bare = figure.layout.yaxis.showticklabels is False
            said |= {"clickmode": "event", "margin_l": BARE if bare else TICKS}
    before = {name: figure.layout[name] for name in said}
    figure.update_layout(**said)
    try:
        yield
    finally:
        figure.update_layout(**before)
