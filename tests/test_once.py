"""Figures that the browser draws once: the page gets a layout of its own, and the figure that is exported stays as it is."""

from __future__ import annotations

import json

import numpy as np
import plotly.io as pio
import pytest
from plotly import tools
from streamlit.testing.v1 import AppTest

from hfcviz.palette import drawn, panels
from hfcviz.plane_figures import checked, plane_parts
from hfcviz.plane_rows import Axis, Row, Scale
from hfcviz.ui.once import BARE, ROOM, TICKS, for_page

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
def test_the_page_says_what_would_be_set_later_and_the_figure_stays_as_it_was(mode, ticks, selects, clicks, left):
    figure = drawn([POINT], 300, dragmode=mode, yaxis={"showticklabels": ticks})
    before = figure.to_json()
    layout = spec(for_page(figure, selects=selects))["layout"]
    assert (layout["datarevision"], layout.get("clickmode"), layout["margin"]["l"]) == (0, clicks, left)
    assert layout["hovermode"] == "closest" and layout["margin"]["t"] == 34
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
    """As Streamlit sends it."""
    return json.loads(
        pio.to_json(tools.return_figure_from_figure_or_data(figure, validate_figure=True), validate=False)
    )


@pytest.mark.parametrize("name", [*ROOM, "another"])
def test_plotly_finds_nothing_new_in_the_copy_of_a_figure(name):
    """It takes no template and no packed numbers for those of before."""
    figure = two_panels()
    before = figure.to_json()
    sent = spec(for_page(figure, name))
    assert sent["layout"]["template"] is None and "bdata" not in json.dumps(sent)
    room = ROOM.get(name, {})
    assert {side: sent["layout"]["margin"][side] for side in room} == room
    assert figure.to_json() == before and "bdata" in before and "template" in before


def test_a_quick_figure_has_the_same_points_and_words_and_its_look_in_every_axis():
    figure = two_panels()
    sent = spec(for_page(figure, "roc"))
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
    layout = spec(for_page(drawn([POINT], 300), "scatter"))["layout"]
    assert layout["xaxis"]["automargin"] and layout["yaxis"]["automargin"]


def test_the_frames_of_a_film_are_sent_too():
    figure = drawn([POINT], 300)
    figure.frames = [{"name": "3", "data": [{"type": "scatter", "y": np.array([4.0])}]}]
    (frame,) = spec(for_page(figure, "film"))["frames"]
    assert frame["name"] == "3" and frame["data"][0]["y"] == [4.0]
    assert "frames" not in spec(for_page(drawn([POINT], 300)))


def picture(digits: int):
    values = np.array([[[0.12345, -0.98765]]])
    versions = {"clean": values, "hidden": values}
    row = Row("axial", versions, {"hidden": values}, Axis(0, 1, "x"), Axis(0, 1, "y"), (0, 1), tuple("ALPR"))
    scale = Scale((0.0, 1.0), 8 / 255, *((1.0, "") if digits == 3 else (400.0, "HU")))
    return plane_parts([row, row], {"clean": "scan", "hidden": "PGD+HFC"}, {}, scale, blink="hidden")


@pytest.mark.parametrize(
    ("digits", "told", "change"),
    [(3, [[0.123, -0.988]], [[31.48, -251.85]]), (1, [[0.1, -1.0]], [[0.1, -1.0]])],
)
def test_a_pictures_values_travel_with_the_digits_that_the_mouse_tells(digits, told, change):
    parts = picture(digits)
    pictures = [trace for trace in spec(for_page(parts, "planes"))["data"] if trace["type"] == "image"]
    assert [one.get("customdata") for one in pictures] == [told, told, None, change] * 2, (
        "none in what lies over another"
    )
    assert np.allclose(parts["data"][0]["customdata"], [[0.12345, -0.98765]]), "the export has all digits"
    for trace in parts["data"]:
        trace["hovertemplate"] = "scan"
    assert not any(trace.get("customdata") for trace in spec(for_page(parts, "planes"))["data"]), (
        "what is not told stays"
    )


def test_parts_that_plotly_has_not_checked_are_what_it_would_make_of_them():
    """Names and values that plotly only knows in Python would be lost on the way to a page."""
    parts = picture(1)
    assert spec(for_page(parts, "planes")) == spec(for_page(checked(parts), "planes"))


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
