"""Figures that the browser draws once: the page gets a layout of its own, and the figure that is exported stays as it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from hfcviz.palette import drawn, panels
from hfcviz.ui.once import BARE, ROOM, TICKS, drawn_once

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


def two_panels():
    traces = [
        {
            "type": "scatter",
            "x": np.array([1.0, np.nan]),
            "y": np.array([2.0, 4.0]),
            "marker": {"opacity": np.array([1, 0.5])},
        },
        {"type": "heatmap", "z": np.array([[0.5, 1.0]]), "xaxis": "x2", "yaxis": "y2"},
    ]
    layout = panels(1, 2, subplot_titles=["a", "b"])
    layout["xaxis2"] |= {"title": {"text": "score"}, "gridcolor": "red"}
    return drawn(traces, 300, **layout)


def spec(figure):
    return json.loads(figure.to_json())


@pytest.mark.parametrize("name", ROOM)
def test_plotly_finds_nothing_new_in_the_copy_of_a_quick_figure(name):
    """It takes no template and no packed numbers for those of before."""
    figure = two_panels()
    before = figure.to_json()
    with drawn_once(figure, name) as (shown, theme):
        sent = spec(shown)
    assert theme is None and sent["layout"]["template"] is None and "bdata" not in json.dumps(sent)
    assert {side: sent["layout"]["margin"][side] for side in ROOM[name]} == ROOM[name]
    assert figure.to_json() == before and "bdata" in before and "template" in before


def test_a_quick_figure_has_the_same_points_and_words_and_its_look_in_every_axis():
    figure = two_panels()
    with drawn_once(figure, "roc") as (shown, _):
        sent = spec(shown)
    points, cells = sent["data"]
    assert (points["x"], points["y"], points["marker"]["opacity"]) == ([1.0, None], [2.0, 4.0], [1, 0.5])
    assert cells["z"] == [[0.5, 1.0]] and (cells["xaxis"], cells["yaxis"]) == ("x2", "y2")
    layout = sent["layout"]
    assert [note["text"] for note in layout["annotations"]] == ["a", "b"]
    axes = {name: axis for name, axis in layout.items() if name[1:].startswith("axis")}
    assert set(axes) == {"xaxis", "xaxis2", "yaxis", "yaxis2"}
    for name, axis in axes.items():
        assert axis["automargin"] and axis["tickfont"]["size"] == 12 and axis["title"]["font"]["size"] == 14
        assert axis["domain"] == list(figure.layout[name].domain)
        assert axis.get("showgrid", True) is (name[0] == "y")
    assert axes["xaxis2"]["title"]["text"] == "score" and axes["xaxis2"]["gridcolor"] == "red", "what is said stays"
    assert layout["font"]["color"] == "#5F6B76", "the hue that look.css gives each of the two pages"


def test_axes_that_a_figure_does_not_name_have_the_look_too():
    with drawn_once(drawn([POINT], 300), "scatter") as (shown, _):
        layout = spec(shown)["layout"]
    assert layout["xaxis"]["automargin"] and layout["yaxis"]["automargin"]


def test_another_figure_is_shown_itself_with_the_theme():
    figure = two_panels()
    with drawn_once(figure, "another") as (shown, theme):
        assert shown is figure and theme == "streamlit"


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
