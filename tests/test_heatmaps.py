"""Tables as colours: what stands in the cells, what colours them, and what the mouse reads."""

import math

import pytest

from hfcviz.heatmaps import SCALES, heat_maps
from hfcviz.paper import plain

PANELS = {
    "Success": {"PGD": {"reached": 1.0}, "PGD+HFC": {"reached": 0.9}},
    "AUC": {"PGD": {"KD": 0.97, "LID": 0.8}, "PGD+HFC": {"KD": 0.3, "LID": math.nan}},
}


def test_every_cell_holds_its_value_and_says_it():
    figure = heat_maps(PANELS, "AUC")
    success, auc = figure.data
    assert list(auc.x) == ["KD", "LID"] and list(auc.y) == ["PGD", "PGD+HFC"]
    assert [list(row) for row in auc.z] == [[0.97, 0.8], [0.3, None]]
    assert [[plain(text) for text in row] for row in auc.text] == [["0.97", "0.80"], ["0.30", ""]]
    assert [list(row) for row in success.z] == [[1.0], [0.9]]
    assert auc.hovertext[0][0] == "PGD, KD: 0.970"


def test_a_missing_line_or_column_is_an_empty_cell():
    figure = heat_maps({"a": {"one": {"x": 0.5}}, "b": {"two": {"x": 0.25, "y": 1.0}}}, "share")
    assert [list(row) for row in figure.data[0].z] == [[0.5], [None]]
    assert [list(row) for row in figure.data[1].z] == [[None, None], [0.25, 1.0]]


def test_the_colours_span_all_values_so_that_figures_compare():
    for trace in heat_maps(PANELS, "share").data:
        assert (trace.zmin, trace.zmax) == (0, 1)


def test_one_scale_has_one_bar_and_two_have_two_side_by_side():
    assert [trace.showscale for trace in heat_maps(PANELS, "AUC").data] == [False, True]
    success, auc = heat_maps(PANELS, {"Success": "share", "AUC": "AUC"}).data
    assert success.showscale and auc.showscale
    assert (success.colorbar.title.text, auc.colorbar.title.text) == ("share", "AUC")
    assert auc.colorbar.x - success.colorbar.x >= 0.08
    assert success.colorscale != auc.colorscale
    assert list(auc.colorbar.tickvals) == SCALES["AUC"][1]


def test_what_the_mouse_reads_can_be_given_cell_by_cell():
    figure = heat_maps(PANELS, "AUC", hover={"AUC": {"PGD": {"KD": "97 in 100"}}})
    assert figure.data[1].hovertext[0][0] == "97 in 100"
    assert figure.data[1].hovertext[0][1] == "PGD, LID: 0.800"


def test_lines_stand_below_their_headings_which_have_no_cells():
    cells = {"KD one": {"x": 0.1}, "KD two": {"x": 0.2}, "LID": {"x": 0.3}}
    figure = heat_maps(
        {"a": cells}, "AUC", groups={"Second": ["KD two"], "First": ["LID", "KD one"]}, names={"KD two": "KD"}
    )
    (trace,) = figure.data
    assert list(trace.y) == ["Second", "KD two", "First", "LID", "KD one"]
    assert [line[0] for line in trace.z] == [None, 0.2, None, 0.3, 0.1]
    assert list(figure.layout.yaxis.ticktext) == ["", "KD", "", "LID", "KD one"]
    assert {note.y: note.text for note in figure.layout.annotations} == {
        "Second": "<b>Second</b>",
        "First": "<b>First</b>",
    }


def test_long_heads_of_columns_stand_above_them_in_lines_and_below_the_title():
    names = ("HFC weight 10", "C&W+HFC", "KD")
    figure = heat_maps({"a": {"line": dict.fromkeys(names, 0.5)}, "b": {"line": {"KD": 0.1}}}, "AUC")
    axis = figure.layout.xaxis
    assert axis.side == "top" and list(figure.data[0].x) == list(axis.tickvals) == list(names)
    assert list(axis.ticktext) == ["HFC weight<br>10", "C&W+HFC", "KD"]
    titles = [note for note in figure.layout.annotations if note.text in "ab"]
    assert all(note.yshift >= 2 * axis.tickfont.size for note in titles) and len(titles) == 2
    assert figure.layout.margin.t >= titles[0].yshift + 20


@pytest.mark.parametrize("lines", [1, 40])
def test_the_height_grows_with_the_lines(lines):
    figure = heat_maps({"a": {f"line {i}": {"x": 0.1} for i in range(lines)}}, "share")
    assert figure.layout.height == 120 + 26 * lines
    assert heat_maps({"a": {"one": {"x": 0.1}}}, "share", height=300).layout.height == 300
