"""What only a real browser shows: the app opens, runs, stops, and complains about nothing."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from browser.driving import WAIT, drawn_by, drawn_once, fill, idle, shown
from hfcviz.bundle import open_bundle


def scatter_points(page) -> int:
    """Points drawn in the scatter of a layer."""
    return page.locator("[class*=st-key-scatter] .scatterlayer path.point").count()


def test_opens_with_pictures_and_no_error(page):
    assert "PGD+HFC" in shown(page)
    assert page.locator(".js-plotly-plot").count() >= 4
    assert page.locator("[data-testid=stAlert]").count() == 0
    assert scatter_points(page) > 300


def test_an_attack_runs_and_its_result_replaces_the_first(page):
    before = shown(page)
    fill(page, "eps (n/255)", "2")
    fill(page, "Steps", "5")
    page.get_by_role("button", name="Run").click()
    page.get_by_text(re.compile(r"^Shown: .* eps 2/255, 5 steps")).wait_for(timeout=WAIT)
    assert shown(page) != before
    assert page.locator("[data-testid=stAlert]").count() == 0


def test_the_layer_slider_moves_the_scatter(page):
    titles = page.locator("[class*=st-key-scatter] .xtitle")
    before = titles.first.text_content()
    slider = page.get_by_role("slider").first
    slider.focus()
    for _ in range(4):
        slider.press("ArrowLeft")
    idle(page)
    assert titles.first.text_content() != before
    assert np.isclose(scatter_points(page), 800, atol=500)


def test_a_run_can_be_stopped_and_the_page_still_answers(page):
    before = shown(page)
    fill(page, "Steps", "1000")
    page.get_by_role("button", name="Run").click()
    stop = page.get_by_role("button", name="Stop")
    stop.wait_for(timeout=WAIT)
    page.get_by_text("What am I looking at?").click()  # the page is alive while the job runs
    page.get_by_text("follows the gradient of the cross-entropy").wait_for(timeout=WAIT)
    stop.click(timeout=WAIT)  # once: a click is heard also while the page is being drawn
    page.get_by_text("Stopped:").wait_for(timeout=WAIT)
    assert shown(page) == before


def film_step(page) -> int:
    """The step that the pictures of the film are at."""
    words = page.locator(".st-key-chart-film .textpoint text").all_text_contents()
    return int(next(word for word in words if word.startswith("step ")).removeprefix("step "))


def film_reaches(page, step: int) -> None:
    page.wait_for_function(
        "step => [...document.querySelectorAll('.st-key-chart-film .textpoint text')].some(t => t.textContent === `step ${step}`)",
        arg=step,
        timeout=WAIT,
    )


def film_pictures(page) -> list[str]:
    return page.locator(".st-key-chart-film image").evaluate_all("all => all.map(one => one.href.baseVal)")


def test_the_film_plays_pauses_and_answers_keys(page):
    kept = open_bundle().first.traces["attack"].shown.tolist()
    page.get_by_text("The attack as a film").click()
    page.locator(".st-key-chart-film image").nth(3).wait_for(timeout=WAIT)
    idle(page)
    controls = page.get_by_role("group", name="Film of the attack")
    slider, line = controls.get_by_role("slider", name="Step of the attack"), controls.get_by_role("paragraph")
    assert film_step(page) == 0 and line.inner_text().startswith("Step 0 of 40. PGD: ")
    first = film_pictures(page)

    slider.focus()
    page.keyboard.press("ArrowRight")
    film_reaches(page, kept[1])
    assert len(set(first) & set(film_pictures(page))) == 0, "every picture is another"
    assert line.inner_text().startswith(f"Step {kept[1]} of 40. ")
    assert slider.get_attribute("aria-valuetext") == f"step {kept[1]} of 40"
    page.keyboard.press("End")
    film_reaches(page, 40)
    assert "part at layer2.0" in line.inner_text()
    lamps = page.locator(".st-key-chart-film .textpoint text", has_text="caught").count()
    first_result = open_bundle().first
    assert lamps == sum(bool(first_result.caught(name)[row]) for name in first_result.scores for row in (2, 3))
    controls.get_by_role("button", name="Step back").click()
    film_reaches(page, kept[-2])

    page.keyboard.press("Home")  # a button has the focus: nothing happens
    slider.focus()
    page.keyboard.press("Home")
    film_reaches(page, 0)
    page.keyboard.press(" ")
    film_reaches(page, kept[3])
    page.keyboard.press(" ")
    page.wait_for_timeout(500)
    stopped = film_step(page)
    assert kept[3] <= stopped < 40
    page.wait_for_timeout(800)
    assert film_step(page) == stopped, "it stands still"
    controls.get_by_role("button", name="Play").click()
    film_reaches(page, 40)
    controls.get_by_role("button", name="Play").wait_for(timeout=WAIT)  # it ends by itself


def test_a_file_that_is_no_scan_is_one_sentence(page):
    page.get_by_role("link", name="Data & model").click()
    page.get_by_role("tab", name="A scan of your own").click()
    page.locator("input[type=file]").set_input_files(
        {"name": "notes.png", "mimeType": "image/png", "buffer": b"not a picture at all"}
    )
    alert = page.locator("[data-testid=stAlert]").first
    alert.wait_for(timeout=WAIT)
    assert "notes.png" in alert.inner_text()


FIRST_SEEN = """() => {
  // In which order they come; both at once would count as curves first.
  const things = {curves: ".st-key-chart-roc path.point", list: "[class*=side_selection] [class*='st-key-open-']"};
  window.seen = [];
  new MutationObserver(() => {
    for (const [name, what] of Object.entries(things))
      if (!window.seen.includes(name) && document.querySelector(what)) window.seen.push(name);
  }).observe(document.body, {subtree: true, childList: true});
}"""


def test_a_lasso_on_the_cohort_marks_the_same_scans_in_every_figure(page):
    page.get_by_role("link", name="Cohort").click()
    scatter = page.locator("[class*=st-key-cohort-0], [class*=st-key-cohort-1]")
    scatter.locator(".main-svg").first.wait_for(timeout=WAIT)
    idle(page)
    assert page.get_by_text("Nothing is selected").count() == 1
    assert page.locator(".st-key-chart-roc path.point").count() == 0
    scatter.scroll_into_view_if_needed()
    area = scatter.locator(".nsewdrag").first.bounding_box()
    corners = [(0.02, 0.02), (0.25, 0.02), (0.25, 0.4), (0.02, 0.4), (0.02, 0.04)]  # some of the PGD points
    places = [(area["x"] + across * area["width"], area["y"] + down * area["height"]) for across, down in corners]
    page.evaluate(FIRST_SEEN)
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=10)
    page.mouse.up()
    export = page.get_by_role("button", name=re.compile(r"CSV of \d+ selected scans"))
    export.wait_for(timeout=WAIT)
    idle(page)
    assert page.evaluate("window.seen") == ["list", "curves"], "the list does not wait for the page"
    count = int(re.search(r"\d+", export.inner_text())[0])
    judged = open_bundle().runs.load("PGD", 8)
    everyone = len(judged.ids)
    assert 0 < count < everyone
    assert page.locator(".st-key-chart-roc path.point").count() == 2 * 8 * count, "two attacks, eight detectors"
    strips = page.locator("[class*=st-key-scores-] path.point")
    opacities = strips.evaluate_all("points => points.map(point => Number(point.style.opacity))")
    assert len(opacities) == 4 * everyone and sum(value == 1 for value in opacities) == 4 * count
    assert min(opacities) > 0, "the rest dims, it does not disappear"
    last = page.locator("[class*='st-key-open-']").last.get_by_role("button")
    name = last.inner_text()
    last.click()
    page.locator("[data-testid=stSidebar]").get_by_text(name).wait_for(timeout=WAIT)


def test_the_browser_draws_each_figure_that_has_to_be_quick_once(page):
    def once(figures: dict[str, int], act, back) -> None:
        drawn_once(page, figures, act, back)

    def opens(name: str):
        return page.get_by_role("link", name=name).click

    layer = page.get_by_role("slider", name="Layer, from input to output")
    left, right = (lambda: layer.press("ArrowLeft")), (lambda: layer.press("ArrowRight"))
    once({"scatter": 1}, left, right)
    every, one = (page.get_by_text(name, exact=True) for name in ("all layers", "one layer"))
    once({"grid": 1}, every.click, one.click)
    drawn_by(page, one.click)
    whole = dict.fromkeys(("cohort", "roc", "scores", "auc-map"), 1)
    once(whole, opens("Cohort"), opens("Glossary"))  # the side bar takes no room either
    run = page.locator("[class*=st-key-cohort-run]")
    once(whole, *(run.get_by_text(name, exact=True).click for name in ("BIM", "PGD")))
    once({"cohort": 1}, left, right)
    whole = dict.fromkeys(("scan", "difference", "scatter", "depth", "detectors"), 1)
    once(whole, opens("Explore"), opens("Glossary"))
    section = page.get_by_text("Scores and verdicts layer by layer")
    once({"layers": 1}, section.click, section.click)
    once({"study-direction": 1}, opens("Studies"), opens("Glossary"))
    once({"tour": 2}, opens("Tour"), opens("Glossary"))
    onward, back = (page.get_by_role("button", name=name).click for name in ("Next", "Back"))
    for figures in (2, 2, 2, 1, 2, 2, 1, 2, 1):
        once({"tour": figures}, onward, back)


def test_an_x_ray_of_ones_own_gets_the_whole_explore_page_on_the_chest_task(page, tmp_path):
    page.get_by_role("link", name="Data & model").click()
    page.get_by_text("Chest X-ray (pneumonia)", exact=True).click()
    page.get_by_text("There are no test scans of").wait_for(timeout=WAIT)
    rows, columns = np.mgrid[-1:1:240j, -1:1:300j]
    lungs = 60 + 120 * np.exp(-((np.abs(columns) - 0.45) ** 2 / 0.06 + rows**2 / 0.4))
    Image.fromarray(lungs.astype(np.uint8)).save(tmp_path / "mine.png")
    page.get_by_role("tab", name="A scan of your own").click()
    page.locator("input[type=file]").set_input_files(tmp_path / "mine.png")
    page.get_by_role("button", name="Use this scan").click(timeout=WAIT)
    page.get_by_text("is chosen: press Run").wait_for(timeout=WAIT)
    fill(page, "Steps", "2")
    page.get_by_role("button", name="Run").click()
    page.get_by_text(re.compile(r"^Shown: mine.png, eps 4/255, 2 steps")).wait_for(timeout=2 * WAIT)
    idle(page)
    assert page.locator(".js-plotly-plot").count() >= 4 and scatter_points(page) > 300
    assert page.locator("[class*=st-key-scatter]").get_by_text("NORMAL, training").count() == 1


def test_a_click_in_the_small_pictures_opens_its_layer_and_their_lasso_marks_every_layer(page):
    page.get_by_text("all layers", exact=True).click()
    grid = page.locator("[class*=st-key-grid]")
    grid.locator(".subplot").nth(7).wait_for(timeout=WAIT)
    idle(page)
    grid.scroll_into_view_if_needed()
    grid.locator(".js-plotly-plot").hover()
    grid.locator("[data-title='Box Select']").click()
    area = grid.locator(".nsewdrag").nth(7).bounding_box()
    page.mouse.move(area["x"] + area["width"] * 0.5, area["y"] + area["height"] * 0.6)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.98, area["y"] + area["height"] * 0.98, steps=6)
    page.mouse.up()
    page.get_by_text(re.compile(r"^\d+ selected: how many")).wait_for(timeout=WAIT)
    idle(page)
    marked = grid.locator(".js-plotly-plot").evaluate(
        "one => one.data.filter(t => t.selectedpoints).map(t => t.selectedpoints.map(i => t.customdata[i][0]).sort().join())"
    )
    by_role = len(marked) // 8
    assert any(marked) and all(marked[:by_role] == marked[k * by_role : (k + 1) * by_role] for k in range(8))
    page.get_by_role("button", name="Let go").click()
    page.get_by_text("Nothing is selected").wait_for(timeout=WAIT)
    idle(page)
    point = grid.locator(".subplot.x3y3 path.point").last.bounding_box()
    page.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.get_by_text("dimensions of layer2.0").wait_for(timeout=WAIT)
    idle(page)
    assert grid.count() == 0 and scatter_points(page) > 300
