"""Files that other programs open: what a browser's XML, a PDF reader and PIL find in them."""

from __future__ import annotations

import io
import json
import re
from xml.etree import ElementTree

import numpy as np
import plotly.graph_objects as go
import pypdfium2
import pytest
from PIL import Image
from test_chromium import browser  # noqa: F401

from hfcviz import chromium
from hfcviz.charts import trace_lines
from hfcviz.palette import COLOURS
from hfcviz.paper import Page, for_paper
from hfcviz.publish import read_recipe, recipe_json, render
from hfcviz.settings import InputError

SVG = "{http://www.w3.org/2000/svg}"
ALT = 'Confidence of "PGD" & PGD+HFC'


def figure() -> go.Figure:
    series = {"attack": np.linspace(0, 1, 20), "hidden": np.linspace(0, 0.8, 20)}
    return trace_lines(series, {"attack": "PGD", "hidden": "PGD+HFC"}, "confidence", (0, 1))


@pytest.mark.usefixtures("browser")
def test_an_svg_has_the_colours_of_its_roles_its_words_and_its_width_in_mm():
    root = ElementTree.fromstring(render(figure(), Page("SVG", 85), ALT))
    assert root.get("width") == "85mm" and root.find(f"{SVG}title").text == ALT
    _, _, across, down = map(float, root.get("viewBox").split())
    assert float(root.get("height").removesuffix("mm")) == pytest.approx(85 * down / across, abs=0.01)
    styles = " ".join(one.get("style") or "" for one in root.iter(f"{SVG}path"))
    drawn = {tuple(map(int, found)) for found in re.findall(r"stroke: rgb\((\d+), (\d+), (\d+)\)", styles)}
    assert drawn >= {tuple(bytes.fromhex(COLOURS[role][1:])) for role in ("attack", "hidden")}
    words = {one.text for one in root.iter(f"{SVG}text")} | {one.text for one in root.iter(f"{SVG}tspan")}
    assert words >= {"PGD", "PGD+HFC", "step", "confidence"}


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("mm", [85, 180])
def test_a_pdf_is_one_page_as_wide_as_asked_for_with_text_and_colours(mm):
    document = pypdfium2.PdfDocument(render(figure(), Page("PDF", mm), ALT))
    assert len(document) == 1
    page = document[0]
    assert page.get_width() / 72 * 25.4 == pytest.approx(mm, abs=0.2)
    words = "".join(page.get_textpage().get_text_range().split())  # Chromium places each letter by itself
    assert "PGD+HFC" in words and "confidence" in words, "text, not outlines"
    pixels = np.asarray(page.render(scale=2).to_pil().convert("RGB")).reshape(-1, 3).astype(int)
    for role in ("attack", "hidden"):
        colour = np.array(list(bytes.fromhex(COLOURS[role][1:])))
        assert (np.abs(pixels - colour).max(1) <= 12).sum() > 50, role
    assert (pixels > 250).all(1).mean() > 0.6, "on white"


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize(
    "page",
    [
        Page("PNG", 85, dpi=300),
        Page("PNG", 1201, "px", 150),
        Page("PNG", 180, dpi=96),
        Page("PNG", 85, dpi=600),
        Page("PNG", 997, "px", 72),
    ],
)
def test_a_png_has_exactly_its_pixels_and_the_dpi_that_make_its_width(page):
    picture = Image.open(io.BytesIO(render(figure(), page)))
    assert picture.width == page.pixels and picture.convert("RGBA").getextrema()[3] == (255, 255)
    assert picture.info["dpi"][0] == pytest.approx(page.dpi, abs=0.02)
    assert picture.width / picture.info["dpi"][0] * 25.4 == pytest.approx(page.mm, rel=0.01)
    picture = picture.convert("RGB")
    assert picture.getpixel((0, 0)) == picture.getpixel((picture.width - 1, picture.height - 1)) == (255, 255, 255)
    assert len(picture.getcolors(1 << 24)) > 20


@pytest.mark.usefixtures("browser")
def test_pixels_do_not_depend_on_the_look_of_the_screen():
    dark = figure().update_layout(template="plotly_dark", paper_bgcolor="#0E1117", font={"color": "white"})
    assert render(dark, Page("PNG", 85, dpi=72)) == render(figure(), Page("PNG", 85, dpi=72))


def test_html_needs_no_browser_here_and_no_network_there(monkeypatch, tmp_path):
    chromium.close()  # one that another test has left warm would serve
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "none"))
    text = render(figure(), Page("HTML"), ALT).decode()
    outside = re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL)
    assert "http" not in outside and len(text) > 1_000_000, "plotly.js is within"
    assert "Confidence of &quot;PGD&quot; &amp; PGD+HFC" in outside
    assert not re.search(r"<script[^>]*\ssrc=", text)
    with pytest.raises(InputError, match="there is none here"):
        render(figure(), Page("PDF"))


def test_paper_gets_no_frames_and_html_gets_all_with_a_slider_where_they_are_many():
    moving = figure()
    x = list(moving.data[0].x)
    moving.frames = [{"name": str(step), "data": [{"type": "scatter", "x": x}], "traces": [0]} for step in range(3)]
    moving.update_layout(updatemenus=[{"type": "buttons", "y": 1, "yanchor": "bottom", "buttons": []}], margin_b=50)
    paper, _ = for_paper(moving, Page("PDF"))
    assert not paper.frames and not paper.layout.updatemenus and not paper.layout.sliders
    drawn = render(moving, Page("HTML")).decode().split("Plotly.newPlot(")[-1]
    assert '"sliders":[' in drawn and "Plotly.addFrames" in drawn
    assert "Plotly.animate(" not in drawn, "nothing moves by itself"
    moving.frames = moving.frames[:2]
    assert '"sliders":[' not in render(moving, Page("HTML")).decode().split("Plotly.newPlot(")[-1], "buttons are enough"


def test_a_recipe_comes_back_as_it_was():
    content = {"recipe": {"plan": {"seed": 3}, "scan": {"name": "a"}}, "linf": 0.25}
    found = read_recipe(recipe_json("scatter", {"layer": "layer1", "selected": ["a"]}, content), "x")
    assert found == content | {"figure": {"name": "scatter", "view": {"layer": "layer1", "selected": ["a"]}}}
    alone = content["recipe"]
    assert read_recipe(json.dumps(alone), "x") == {"recipe": alone}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "{}", '{"recipe": 3}', '{"recipe": {"plan": {}}}', '{"recipe": {"attack_name": "PGD"}}'],
)
def test_what_is_no_recipe_is_one_sentence(text):
    with pytest.raises(InputError, match=r"^mine\.json must .*report\.json or a figure's recipe\.$"):
        read_recipe(text, "mine.json")


def test_the_recipe_of_a_study_s_figure_names_the_command_that_makes_it_again():
    text = recipe_json("study-direction", {}, {"command": "python -m hfcviz study direction", "recipe": {"lab": {}}})
    with pytest.raises(InputError, match=r"is of a study, .*: python -m hfcviz study direction\."):
        read_recipe(text, "it")
