"""A figure that the browser draws once, where Streamlit and plotly between them would draw it two or three times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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
"""Pixels that numbers, names, legend and colours take beside the plot of a figure, by its name, as plotly finds them on a wide page. Where
it finds more, as on a narrow one, it takes more, and draws once more.
"""


@contextmanager
def drawn_once(figure: go.Figure, name: str = "", *, selects: bool = False) -> Iterator[None]:
    """Within, the figure's layout says beforehand what would be set or found later, and have every point drawn again for it:

    - that the copy of the data, which Streamlit hands over after the first drawing, is the same data (`datarevision`). This number
      need not change, as Streamlit draws a figure with other data anew;
    - the room for what stands beside the plot, of which plotly knows once all is drawn: ROOM;
    - selects: the modes that Streamlit sets where points can be selected, and the room left of a scatter.

    Afterwards it is as before: an export has a width of its own, and no clicks.
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
        yield
    finally:
        figure.update_layout(**before)
