"""A study, run in a real browser from its form to its figure."""

from __future__ import annotations

import re

from browser.driving import WAIT, fill, idle


def test_a_study_runs_and_its_figure_appears(page):
    page.get_by_role("link", name="Studies").click(timeout=WAIT)
    page.locator("summary", has_text="Run this study").click(timeout=WAIT)
    fill(page, "Scans", "20")
    fill(page, "Steps", "2")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text(re.compile("at most 20 scans, eps 8/255, 2 steps, seed 0")).wait_for(timeout=3 * WAIT)
    figure = page.locator("[class*=st-key-chart-study-direction] .js-plotly-plot")
    figure.wait_for(timeout=WAIT)
    idle(page)
    assert figure.locator(".scatterlayer .trace").count() >= 2, "a curve for each attack"
    assert "study=direction" not in page.url, "the first study needs no word in the address"
    assert page.locator("[data-testid=stAlert]").count() == 0
    page.locator("summary", has_text="Run this study").click()
    page.get_by_role("button", name=re.compile("Back to the published run|Put this run away")).wait_for(timeout=WAIT)
