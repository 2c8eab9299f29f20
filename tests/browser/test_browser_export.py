"""The export of a figure in a real browser: what is downloaded is opened, and compared with what is drawn."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pypdfium2

from browser.driving import WAIT, idle
from hfcviz.bundle import open_bundle
from hfcviz.film import make_film
from hfcviz.film_figures import film_figure
from hfcviz.panels import detector_figure
from hfcviz.paper import Page
from hfcviz.publish import render

POINTS = """key => document.querySelector(`.st-key-chart-${key} .js-plotly-plot`).data
    .filter(trace => trace.type === 'scatter').map(trace => [trace.name, trace.x.length])"""


def download(page, label: str) -> Path:
    with page.expect_download(timeout=WAIT) as found:
        page.get_by_role("button", name=label).click()
    return Path(found.value.path())


def test_a_figure_is_exported_as_pdf_svg_and_csv_and_shows_the_figures_data(page):
    page.locator(".st-key-export-detectors button").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("85 x ").wait_for(timeout=WAIT)
    document = pypdfium2.PdfDocument(download(page, "Figure (PDF)").read_bytes())
    assert abs(document[0].get_width() / 72 * 25.4 - 85) < 0.2
    dialog.get_by_text("SVG", exact=True).click()
    dialog.get_by_text("180 mm (two columns)").click()
    dialog.get_by_text("180 x ").wait_for(timeout=WAIT)
    idle(page)
    root = ElementTree.fromstring(download(page, "Figure (SVG)").read_bytes())
    assert root.get("width") == "180mm"
    rows = list(csv.DictReader(io.StringIO(download(page, "Data (CSV)").read_text())))
    drawn = dict(page.evaluate(POINTS, "detectors"))
    assert {name: sum(row["series"] == name for row in rows) for name in drawn} == drawn
    first = open_bundle().first
    wanted = {trace.name: np.asarray(trace.x, float) for trace in detector_figure(first).data}
    for name, x in wanted.items():
        assert [float(row["x"]) for row in rows if row["series"] == name] == x.tolist()
    recipe = json.loads(download(page, "Recipe (JSON)").read_text())
    assert recipe["figure"]["name"] == "detectors" and recipe["recipe"] == json.loads(json.dumps(first.recipe))
    dialog.get_by_label("Close").click()
    dialog.wait_for(state="detached", timeout=WAIT)
    idle(page)


def test_a_film_plays_in_the_html_that_is_taken_away(people, tmp_path):
    bundle = open_bundle()
    figure = film_figure(make_film(bundle.first, bundle.reference, bundle.about["class_names"], "layer4.1"))
    (tmp_path / "film.html").write_bytes(render(figure, Page("HTML"), "Both attacks"))
    page = people[0]
    page.goto((tmp_path / "film.html").as_uri())
    steps = page.locator(".textpoint").get_by_text("step 0")
    steps.first.wait_for(timeout=WAIT)
    page.wait_for_timeout(800)
    assert steps.count() == 2, "it stands at the first step until it is asked to play"
    page.get_by_text("▶ Play").click()
    page.locator(".textpoint").get_by_text("step 40").first.wait_for(timeout=WAIT)
    page.locator(".slider-rail-touch-rect").click(position={"x": 2, "y": 5})
    steps.first.wait_for(timeout=WAIT)
