"""Lines with bands: what is drawn is what was given."""

from __future__ import annotations

import csv
import io

import pytest

from hfcviz.figure_data import as_csv
from hfcviz.palette import COLOURS, INK
from hfcviz.studies.curves import Line, curves, line_of

ROWS = [{"size": size, "auc": 0.5 + size / 10, "auc_low": size / 10, "auc_high": 0.9} for size in (1, 2, 4)]


def drawn():
    hidden = line_of(ROWS, "size", "auc", "PGD+HFC", "hidden", said=["one", "two", "four"])
    plain = Line("PGD", "attack", [1, 2], [0.2, 0.3], place=1)
    return curves(
        {"left": [hidden, plain], "right": [plain, Line("other", "?", [1], [0.1])]}, "size", "AUC",
        y_range=(0, 1), marks={1: "one", 2: "two"}, at=0.5, y_format=".1f",
    )  # fmt: skip


def test_a_line_shows_the_values_of_its_rows_in_the_colour_of_its_role():
    figure = drawn()
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [(line.name, line.xaxis, tuple(line.x), tuple(line.y), line.line.color, line.line.dash) for line in lines] == [
        ("PGD+HFC", "x", (1, 2, 4), (0.6, 0.7, 0.9), COLOURS["hidden"], "solid"),
        ("PGD", "x", (1, 2), (0.2, 0.3), COLOURS["attack"], "dash"),
        ("PGD", "x2", (1, 2), (0.2, 0.3), COLOURS["attack"], "dash"),
        ("other", "x2", (1,), (0.1,), INK, "solid"),
    ]  # fmt: skip
    assert [line.showlegend for line in lines] == [True, True, False, True], "one entry of the legend a name"
    assert lines[0].text == ("one", "two", "four") and lines[1].text == ("1", "2")
    assert [list(told) for told in lines[0].customdata] == [[0.1, 0.9], [0.2, 0.9], [0.4, 0.9]]
    assert "%{y:.1f} (95 %: %{customdata[0]:.1f} to %{customdata[1]:.1f})" in lines[0].hovertemplate
    assert "95 %" not in lines[1].hovertemplate, "no interval is told that is not given"


def test_the_band_goes_along_the_upper_edge_and_back_along_the_lower_one():
    bands = [trace for trace in drawn().data if trace.fill == "toself"]
    assert len(bands) == 1, "no band where no interval is given"
    assert list(bands[0].x) == [1, 2, 4, 4, 2, 1]
    assert list(bands[0].y) == pytest.approx([0.9, 0.9, 0.9, 0.4, 0.2, 0.1])
    assert bands[0].legendgroup == "PGD+HFC" and not bands[0].showlegend
    assert bands[0].fillcolor == "rgba(194,79,155,0.16)", "the line's own colour"


def test_panels_share_their_y_axis_and_have_titles_and_marks():
    figure = drawn()
    assert [note.text for note in figure.layout.annotations] == ["left", "right"]
    assert figure.layout.yaxis2.matches == "y" and figure.layout.yaxis.range == (0, 1)
    assert figure.layout.yaxis.title.text == "AUC" and figure.layout.xaxis2.title.text == "size"
    assert figure.layout.xaxis.ticktext == ("one", "two")
    assert {shape.y0 for shape in figure.layout.shapes} == {0.5}


def test_the_table_of_the_figure_tells_lines_from_their_bands():
    rows = list(csv.DictReader(io.StringIO(as_csv(drawn()))))
    assert [(row["x"], row["y"], row["detail"]) for row in rows if row["series"] == "PGD" and row["panel"] == "right"] == [
        ("1", "0.2", ""), ("2", "0.3", "")
    ]  # fmt: skip
    hidden = [row for row in rows if row["series"] == "PGD+HFC"]
    assert [row["detail"] for row in hidden] == ["0.1 0.9", "0.2 0.9", "0.4 0.9"] and not hidden[0]["id"]
    assert sum(row["series"] == "PGD+HFC, 95 % interval" for row in rows) == 6


@pytest.mark.parametrize(("x", "tick"), [((0, 1, 2), 1), ((0, 20, 40), None), ((0.25, 0.5, 1), None)])
def test_few_whole_numbers_have_a_tick_each_and_none_between(x, tick):
    figure = curves({"one": [Line("a", "attack", x, (0.1, 0.2, 0.3))]}, "step", "y")
    assert figure.layout.xaxis.dtick == tick
