"""The look of figures: made from plain dicts, they are what plotly makes step by step, and panels of one do not leak into another."""

from __future__ import annotations

import math

import plotly.graph_objects as go
import plotly.io as pio
import pytest
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from hfcviz.charts import VERDICTS
from hfcviz.heatmaps import SCALES
from hfcviz.palette import drawn, dressed, in_cell, panels, set_axes
from hfcviz.paper import plain


def test_a_figure_of_plain_dicts_is_the_one_that_plotly_makes_step_by_step():
    trace = {"x": [1.0, 2.0], "y": [3.0, 4.0], "mode": "markers", "marker": {"size": 7}}
    slow = dressed(go.Figure(), 300, dragmode="lasso").add_trace(go.Scatter(**trace))
    assert drawn([{"type": "scatter"} | trace], 300, dragmode="lasso").to_dict() == slow.to_dict()


@pytest.mark.parametrize("make", [lambda: drawn([], 300), lambda: dressed(go.Figure(), 300)])
def test_every_figure_has_plotlys_white_template_whatever_is_usual_and_one_of_its_own(make, monkeypatch):
    monkeypatch.setattr(pio.templates, "default", "plotly_dark")
    expected = go.Figure(layout={"template": "plotly_white"}).layout.template
    figure = make()
    assert figure.layout.template == expected
    figure.layout.template.layout.font.color = "red"
    figure.layout.template.data.scatter[0].fillpattern.solidity = 0.9
    assert make().layout.template == expected == pio.templates["plotly_white"]


@pytest.mark.parametrize(
    "make", [lambda **what: drawn([], 300, **what), lambda **what: dressed(go.Figure(), 300, **what)]
)
def test_another_template_is_taken_and_what_is_set_later_is_checked(make):
    assert make(template="plotly_dark").layout.template.layout.paper_bgcolor == "rgb(17,17,17)"
    with pytest.raises(ValueError, match="no_such"):
        make(template="no_such")
    with pytest.raises(ValueError, match="paper_bgcolor"):
        make().layout.paper_bgcolor = "no colour"


def test_what_plotly_does_not_know_is_refused_here_too():
    with pytest.raises(ValueError, match="colour"):
        drawn([{"type": "scatter", "colour": "red"}], 300)


def test_panels_lie_where_plotly_puts_them_and_are_new_each_time():
    options = {"subplot_titles": ["a", "b", "c"], "shared_yaxes": True, "horizontal_spacing": 0.1}
    expected = make_subplots(2, 2, **options).layout.to_plotly_json()
    expected.pop("template")
    first = panels(2, 2, **options)
    assert first == expected
    first["xaxis"]["domain"] = (0, 1)
    first["annotations"][0]["text"] = "changed"
    assert panels(2, 2, **options) == expected


def test_axes_of_one_letter_are_set_and_the_others_stay():
    layout, before = panels(1, 2), panels(1, 2)
    set_axes(layout, "x", zeroline=False)
    for name, axis in before.items():
        assert layout[name] == (axis | {"zeroline": False} if name.startswith("x") else axis)
    assert sum(name.startswith("x") for name in before) == 2


def brightness(colour: tuple[float, ...]) -> float:
    """Relative luminance by WCAG 2.2, from the transfer function of IEC 61966-2-1."""
    red, green, blue = (one / 12.92 if one <= 0.04045 else math.pow((one + 0.055) / 1.055, 2.4) for one in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scale", [VERDICTS, *(name for name, _ in SCALES.values())])
def test_a_number_has_contrast_enough_on_every_colour_of_its_cell(scale):
    for percent in range(101):
        known = scale if isinstance(scale, str) else [list(one) for one in scale]
        cell = brightness(sample_colorscale(known, percent / 100, colortype="tuple")[0])
        text = in_cell("0.5", scale, percent / 100)
        ink = {"black": 0.0, "white": 1.0}[text.split("color:")[1].split("'")[0]]
        low, high = sorted([cell, ink])
        assert (high + 0.05) / (low + 0.05) >= 4.5, percent
        assert plain(text) == "0.5"
