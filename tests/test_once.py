"""Figures that the browser draws once: the page gets a layout of its own, and the figure that is exported stays as it is."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from hfcviz.palette import drawn
from hfcviz.ui.once import BARE, TICKS, drawn_once

POINT = {"type": "scatter", "x": [1.0], "y": [2.0]}


@pytest.mark.parametrize(
    ("mode", "ticks", "selects", "clicks", "left"),
    [
        ("lasso", True, True, "event", TICKS),
        ("lasso", False, True, "event", BARE),
        ("select", None, True, "event", TICKS),
        ("pan", False, True, "event+select", 8),
        ("zoom", True, False, None, 8),
    ],
)
def test_within_the_layout_says_what_would_be_set_later_and_afterwards_it_is_as_before(
    mode, ticks, selects, clicks, left
):
    figure = drawn([POINT], 300, dragmode=mode, yaxis={"showticklabels": ticks})
    before = figure.to_json()
    with drawn_once(figure, selects=selects):
        layout = figure.layout
        assert (layout.datarevision, layout.clickmode, layout.margin.l) == (0, clicks, left)
        assert layout.hovermode == ("closest" if selects else None) and layout.margin.t == 34
    assert figure.to_json() == before


def test_a_failure_on_the_way_to_the_page_leaves_the_figure_as_it_was():
    figure = drawn([POINT], 300, dragmode="lasso")
    before = figure.to_json()
    with pytest.raises(RuntimeError), drawn_once(figure, selects=True):
        raise RuntimeError
    assert figure.to_json() == before


def page():
    import streamlit as st

    from hfcviz.palette import drawn
    from hfcviz.ui import linked, views

    st.session_state.chosen = frozenset()
    point = {"type": "scatter", "x": [1.0], "y": [2.0], "customdata": [["scan"]]}
    linked.chart(drawn([point], 300, dragmode="lasso"), "linked", "", content=dict)
    views.chart(drawn([point], 300), "plain", "", content=dict)


def test_every_figure_of_a_page_is_sent_with_it():
    sent = [
        json.loads(one.proto.spec)["layout"]
        for one in AppTest.from_function(page, default_timeout=60).run().get("plotly_chart")
    ]
    assert [(layout["datarevision"], layout.get("clickmode")) for layout in sent] == [(0, "event"), (0, None)]
