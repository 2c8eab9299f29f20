"""One selection of cohort scans for the whole app: chosen in any figure, table or row of thumbnails, marked in all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from hfcviz.ui import publishing, views
from hfcviz.ui.once import for_page

if TYPE_CHECKING:
    import plotly.graph_objects as go


def chosen() -> frozenset[str]:
    """Ids of the selected scans."""
    found: frozenset[str] = st.session_state.chosen
    return found


def select(ids: Iterable[str], source: str = "") -> None:
    """Select these scans and no others; source: the name of the widget in which it was done."""
    st.session_state.chosen = frozenset(ids)
    turns: dict[str, int] = st.session_state.setdefault("turns", {})
    for name in turns:
        if name != source:
            turns[name] += 1


def anew() -> bool:
    """Whether scans are selected, and others than at the last time that this was asked."""
    before = st.session_state.get("drawn_with", chosen())
    st.session_state.drawn_with = chosen()
    return bool(chosen()) and before != chosen()


def toggle(name: str) -> None:
    """Select this scan too, or let go of it."""
    select(chosen() ^ {name})


def key(name: str) -> str:
    """The key of a widget that selects. It changes when something else has selected: a browser keeps what was drawn in a
    widget of the same key, such as an old lasso, over what it is told.
    """
    turns: dict[str, int] = st.session_state.setdefault("turns", {})
    return f"{name}.{turns.setdefault(name, 0)}"


def chart(
    figure: go.Figure,
    name: str,
    alt: str,
    ids: Sequence[str] = (),
    *,
    view: Mapping[str, Any] | None = None,
    content: publishing.Content | None = None,
) -> None:
    """A figure to be selected from, whose points carry [id, ...] as customdata; where they carry [id, layer], a click opens that
    layer on its own. ids: of a histogram, whose bars carry nothing, the scan of each value; view and content: see `views.chart`.
    """
    st.plotly_chart(
        for_page(figure, name, selects=True),
        theme=None,
        key=key(name),
        on_select=partial(_picked, name, key(name), ids),
        selection_mode=("lasso", "box", "points"),
        config={"displaylogo": False, "toImageButtonOptions": {"format": "svg", "filename": f"hfcviz-{name}"}},
        alt=alt,
    )
    views.export(figure, name, alt, view, content)


def _picked(name: str, widget: str, ids: Sequence[str]) -> None:
    found = st.session_state[widget].selection
    known, layers = set(), set()
    for point in found.points:
        known |= {ids[row] for row in point.get("point_numbers", ()) if row < len(ids)}
        carried: list[Any] = point.get("customdata") or []
        known |= {one for one in carried[:1] if not str(one).startswith("training image")}
        layers |= {one for one in carried[1:] if isinstance(one, str)}
    if layers and not (found.get("lasso") or found.get("box")):
        st.session_state.layer, st.session_state.layers_shown = layers.pop(), ONE
        return
    select(known, name)


ONE, ALL = "one layer", "all layers"
"""What the Explore page shows of the features."""


def table(rows: pd.DataFrame, ids: Sequence[str], name: str, alt: str) -> None:
    """A table to be selected from, row i of it the scan ids[i]."""

    def picked(widget: str) -> None:
        select((ids[row] for row in st.session_state[widget].selection.rows), name)

    own = key(name)
    marked = [row for row, scan in enumerate(ids) if scan in chosen()]
    st.dataframe(
        rows,
        key=own,
        hide_index=True,
        height=300,
        on_select=partial(picked, own),
        selection_mode="multi-row",
        selection_default={"selection": {"rows": marked}},
        alt=alt,
    )


def tick(scan: str, place: str) -> None:
    """A box below a thumbnail."""
    name = f"tick.{place}.{scan}"
    st.checkbox(
        "mark",
        value=scan in chosen(),
        key=key(name),
        on_change=toggle,
        args=(scan,),
        help="Marked in all figures of the Explore and Cohort pages.",
    )


def let_go(place: str) -> None:
    """A button that empties the selection."""
    if chosen():
        st.button(
            "Let go",
            key=f"let_go.{place}",
            icon=":material/deselect:",
            on_click=select,
            args=((),),
            help="Select nothing.",
        )
