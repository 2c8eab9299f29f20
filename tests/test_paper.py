from __future__ import annotations

import json

import numpy as np
import plotly.graph_objects as go
import pytest

from hfcviz.charts import verdict_map
from hfcviz.figures import scan_panels
from hfcviz.heatmaps import heat_maps
from hfcviz.paper import BASE, Page, for_paper, least_width, plain
from hfcviz.plane_figures import checked, plane_parts
from hfcviz.plane_rows import Axis, Row, Scale
from hfcviz.settings import InputError


def scatter(**layout: object) -> go.Figure:
    return go.Figure(
        go.Scatter(x=[1, 2], y=[3, 4], name="one"),
        layout={"height": 400, "margin": {"l": 8, "r": 8, "t": 8, "b": 8}} | layout,
    )


@pytest.mark.parametrize(
    ("page", "mm", "pixels"),
    [
        (Page(width=85, dpi=300), 85, 1004),  # 85 / 25.4 * 300 = 1003.9
        (Page(width=180, dpi=72), 180, 510),
        (Page(width=1200, unit="px", dpi=300), 101.6, 1200),
    ],
)
def test_a_width_is_so_many_mm_and_pixels(page, mm, pixels):
    assert page.mm == pytest.approx(mm) and page.pixels == pixels


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 10}, "Page.width must be between 20 and 600 mm; got 10 mm"),
        ({"width": 100, "unit": "px"}, "got 100 px at 300 dpi, 8.47 mm"),
        ({"width": 500, "dpi": 1200}, "at most 12000 pixels; got 23622"),
        ({"format": "EPS"}, "Page.format must be one of PDF, SVG, PNG, HTML"),
        ({"dpi": 5}, "Page.dpi must be between 50 and 1200"),
        ({"font": 100}, "Page.font must be between 4 and 24"),
    ],
)
def test_a_page_out_of_its_limits_is_one_sentence(change, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        Page(**change)


def test_text_has_its_size_on_paper_whatever_the_width():
    for mm in (85, 120, 180):
        for points in (6, 8, 11):
            _, sheet = for_paper(scatter(), Page(width=mm, font=points))
            assert sheet.width * sheet.scale / 96 * 25.4 == pytest.approx(mm)
            assert BASE * sheet.scale / 96 * 72 == pytest.approx(points) == sheet.font


def test_the_look_is_light_and_the_same_whatever_the_template_and_the_figure_stays_as_it_is():
    dark = scatter(template="plotly_dark", paper_bgcolor="black", font={"color": "white"})
    before = dark.to_json()
    found = [
        for_paper(one, Page())[0] for one in (dark, scatter(template="none"), scatter(), scatter(template="ggplot2"))
    ]
    assert dark.to_json() == before
    texts = {json.dumps(json.loads(one.to_json()), sort_keys=True) for one in found}
    assert len(texts) == 1
    layout = found[0].layout
    assert (layout.paper_bgcolor, layout.plot_bgcolor) == ("white", "white")
    assert _luminance(layout.font.color) < 0.05 and _luminance(layout.xaxis.tickfont.color) < 0.05


def _luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_buttons_of_the_screen_and_their_room_are_left_out():
    figure = scatter(updatemenus=[{"buttons": [{"label": "Blink"}]}], margin={"l": 8, "r": 8, "t": 8, "b": 48})
    found, _ = for_paper(figure, Page())
    assert not found.layout.updatemenus and found.layout.margin.b == 8 and len(figure.layout.updatemenus) == 1


def test_pictures_keep_their_proportions():
    images = {role: np.zeros((1, 60, 30), np.float32) for role in ("clean", "attack")}
    words = {role: role for role in images}
    figure = scan_panels(images, words, words)
    for mm in (85, 180):
        _, sheet = for_paper(figure, Page(width=mm))
        margin = figure.layout.margin
        across = (sheet.width - margin.l - margin.r) * (figure.layout.xaxis.domain[1] - figure.layout.xaxis.domain[0])
        assert (sheet.height - margin.t - margin.b) / across == pytest.approx(2, rel=0.01)


def test_a_map_with_many_words_gets_the_room_it_needs_and_its_text_is_smaller():
    flags = np.zeros((3, 20), bool)
    figure = verdict_map({"PGD": flags}, list("abc"), [f"layer{n}" for n in range(20)])
    page = Page(width=85)
    _, sheet = for_paper(figure, page)
    assert sheet.width == pytest.approx(least_width(figure)) and sheet.width >= 20 * len("passes") * 5
    assert sheet.font < page.font
    assert sheet.width * sheet.scale / 96 * 25.4 == pytest.approx(85)


@pytest.mark.parametrize("sides", [(28, 28), (14, 28)], ids=["square", "low"])
@pytest.mark.parametrize("caption", ["lesion, 100.0%", "pneumonia with an effusion, 100.0%"], ids=["short", "long"])
def test_titles_of_planes_and_names_of_rows_have_room_in_a_narrow_column(sides, caption):
    picture = np.zeros((1, *sides), np.float32)
    roles = {"clean": "scan", "attack": "PGD", "hidden": "PGD+HFC"}
    rows = [
        Row(f"{plane}, A 13.0 mm", dict.fromkeys(roles, picture), {"hidden": picture}, Axis(0, 1, "L"), Axis(0, 1, "P"))
        for plane in ("axial", "coronal", "sagittal")
    ]
    scale = Scale((0, 255), 8 / 255, 255, "grey levels")
    figure = checked(plane_parts(rows, roles, dict.fromkeys(roles, caption), scale))
    found, sheet = for_paper(figure, Page(width=85))
    margin = found.layout.margin
    across, down = (found.layout[axis].domain for axis in ("xaxis", "yaxis"))
    wide = (sheet.width - margin.l - margin.r) * (across[1] - across[0])
    high = (sheet.height - margin.t - margin.b) * (down[1] - down[0])
    assert wide > max(15 / 2 * len("PGD+HFC − scan"), 12 / 2 * len(caption))
    assert high > 12 / 2 * len("sagittal, A 13.0 mm")


def test_a_title_is_plain_without_its_tags():
    assert plain("<b style='color:red'>PGD</b><br><span>±8</span>") == "PGD"
    assert plain("no tags") == "no tags"


def test_a_table_of_many_lines_keeps_a_line_for_each_and_a_short_one_its_height():
    def height(lines: int) -> float:
        cells = {"a": {f"line {i}": {"x": 0.5, "y": 0.1} for i in range(lines)}}
        figure = heat_maps(cells, "AUC", height=180 + 19 * lines)
        found, sheet = for_paper(figure, Page(width=180))
        assert sheet.height == found.layout.height
        return sheet.height - found.layout.margin.t - found.layout.margin.b

    assert height(60) >= 60 * BASE
    assert height(4) <= 180 + 19 * 4


def test_the_colour_of_a_number_in_its_cell_takes_no_room():
    figure = heat_maps({"AUC": {"PGD": {f"column {number}": 0.5 for number in range(30)}}}, "AUC")
    before = least_width(figure)
    figure.data[0].text = [["0.50"] * 30]
    assert least_width(figure) == before


def test_rows_of_different_panels_need_what_their_fullest_row_needs_and_keep_their_height():
    figure = go.Figure()
    for number, (low, high) in enumerate([(0, 0.5), (0.5, 1), *((k / 8, (k + 1) / 8) for k in range(8))], 1):
        figure.add_scatter(x=[0, 1], y=[0, 1], xaxis=f"x{number}", yaxis=f"y{number}")
        down = [0.6, 1] if number < 3 else [0, 0.4]
        figure.layout[f"xaxis{number}"] = {"domain": [low, high], "anchor": f"y{number}"}
        figure.layout[f"yaxis{number}"] = {"domain": down, "anchor": f"x{number}"}
    figure.update_layout(height=700)
    assert least_width(figure) == 8 * 125, "not of ten panels in one row"
    long = "a title of forty letters, in half the row"
    figure.add_annotation(text=long, xref="x domain", yref="y domain", x=0.5, y=1, xanchor="center", font={"size": 13})
    assert least_width(figure) == max(8 * 125, 2 * len(long) * 7.5)
    _, sheet = for_paper(figure, Page("PNG", 180))
    assert sheet.height == 700, "words between the rows keep their room"
