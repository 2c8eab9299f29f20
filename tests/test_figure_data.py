from __future__ import annotations

import csv
import io

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hfcviz.figure_data import COLUMNS, as_csv
from hfcviz.figures import scan_panels
from hfcviz.plane_figures import checked, plane_parts
from hfcviz.plane_rows import Axis, Row, Scale

RNG = np.random.default_rng(0)


def rows(figure: go.Figure) -> list[dict[str, str]]:
    found = list(csv.DictReader(io.StringIO(as_csv(figure))))
    assert all(tuple(row) == COLUMNS for row in found)
    return found


def test_every_point_is_there_to_the_last_bit_with_its_id():
    x, y = RNG.normal(size=50), RNG.normal(size=50).astype(np.float32)
    ids = [f"scan, {n}" for n in range(50)]
    found = rows(go.Figure(go.Scatter(x=x, y=y, customdata=ids, name="PGD")))
    assert [float(row["x"]) for row in found] == x.tolist()
    assert [float(row["y"]) for row in found] == y.astype(float).tolist()
    assert [row["id"] for row in found] == ids and {row["series"] for row in found} == {"PGD"}


def test_what_the_mouse_tells_beside_the_id_is_a_detail():
    about = np.array([["a", 0.25], ["b", 7.5]], dtype=object)
    found = rows(go.Figure(go.Scatter(x=[1, 2], y=["clean", "clean"], customdata=about, name="clean")))
    assert [(row["id"], row["detail"], row["y"]) for row in found] == [("a", "0.25", "clean"), ("b", "7.5", "clean")]


def test_gaps_of_lines_are_no_points():
    assert [row["x"] for row in rows(go.Figure(go.Scatter(x=[0, None, 2], y=[0, None, 0])))] == ["0", "2"]


def test_a_map_gives_each_cell_its_names_and_panels_their_titles():
    figure = make_subplots(1, 2, subplot_titles=["left", "right"])
    z = np.arange(6.0).reshape(2, 3)
    for column, add in ((1, 0), (2, 10)):
        figure.add_trace(go.Heatmap(z=z + add, x=list("abc"), y=["k", "l"], text=z.astype(str)), row=1, col=column)
    found = rows(figure)
    assert len(found) == 12
    assert [(row["panel"], row["x"], row["y"], float(row["value"])) for row in found][4:8] == [
        ("left", "b", "l", 4.0),
        ("left", "c", "l", 5.0),
        ("right", "a", "k", 10.0),
        ("right", "b", "k", 11.0),
    ]


def test_pixels_of_a_scan_are_there_under_their_version():
    images = {"clean": RNG.random((1, 4, 5)).astype(np.float32), "attack": RNG.random((1, 4, 5)).astype(np.float32)}
    labels = {"clean": "scan", "attack": "PGD"}
    found = rows(scan_panels(images, labels, labels))
    for role, image in images.items():
        own = [row for row in found if row["panel"] == labels[role]]
        table = np.zeros((4, 5), np.float32)
        for row in own:
            table[int(row["y"]), int(row["x"])] = np.float32(row["value"])
        assert len(own) == 20 and np.array_equal(table, image[0])


def test_pictures_of_the_viewer_give_their_values_in_mm_or_say_that_they_do_not():
    picture = RNG.random((1, 6, 8)).astype(np.float32)
    row = Row("axial", {"clean": picture}, {}, Axis(-10, 2, "x"), Axis(5, 1, "y"), (3, 4), ("A", "L", "P", "R"))
    found = rows(checked(plane_parts([row], {"clean": "scan"}, {}, Scale((0, 1), 0.03))))
    assert len(found) == 48, "neither crosshair nor letters are data"
    assert [(float(one["x"]), float(one["y"])) for one in found[:9]][-2:] == [(4.0, 5.0), (-10.0, 6.0)]
    assert np.float32(found[8]["value"]) == picture[0, 1, 0]
    assert (found[0]["panel"], found[0]["series"]) == ("axial", "scan"), "which plane, and which version"
    large = RNG.random((1, 1001, 1000)).astype(np.float32)
    found = rows(
        checked(
            plane_parts(
                [Row("", {"clean": large}, {}, Axis(0, 1, "x"), Axis(0, 1, "y"))],
                {"clean": "scan"},
                {},
                Scale((0, 1), 0.03),
            )
        )
    )
    assert len(found) == 1 and "picture" in found[0]["detail"]


def test_a_histogram_gives_its_values():
    assert [float(row["x"]) for row in rows(go.Figure(go.Histogram(x=np.array([0.5, 0.25]))))] == [0.5, 0.25]
