"""What a person does on each page of the app, and what answers it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.clock import RELEASE, Times, timed

SCATTER = "[class*=st-key-scatter] .scatterlayer path.point"
COHORT = "[class*=st-key-cohort-] .scatterlayer .trace:last-child path.point"
"""Points of the constrained attack: clean ones may lie alike in two runs."""
STRIPS = "[class*=st-key-scores-] .scatterlayer path.point"
PLANES = "[class*=st-key-chart-planes] image"
PICTURES = f"[class*=st-key-chart-scan] .heatmaplayer image, {PLANES}"
MAIN = "[data-testid=stMain]"
OPENED = {
    "Explore": PICTURES,
    "Tour": "[class*=wide_tour] .main-svg path, [class*=wide_tour] .main-svg image",
    "Cohort": COHORT,
    "Studies": "[class*=st-key-chart-study] .main-svg path",
    "Data & model": f"{MAIN} [data-testid=stImage] img",
    "Glossary": f"{MAIN} h3",
}
"""What is looked at first on each page."""


def opened(page: Any, name: str) -> None:
    """Go to a page and wait until it rests."""
    page.get_by_role("link", name=name).first.click()
    page.locator(OPENED[name]).first.wait_for(state="attached", timeout=90_000)
    page.wait_for_timeout(2000)


def of_pages(page: Any, times: int) -> dict[str, list[Times]]:
    """Opening each page: Explore from the glossary, the others from Explore."""
    return {
        f"opening {name}": timed(
            page,
            what,
            page.get_by_role("link", name=name).first.click,
            times,
            before=lambda name=name: opened(page, "Glossary" if name == "Explore" else "Explore"),
        )
        for name, what in OPENED.items()
    }


def lasso(page: Any, figure: str) -> Callable[[], None]:
    """Lets go of what is selected, and draws around points up to the last corner."""

    def draw() -> None:
        let_go(page)
        surface = page.locator(f"{figure} .nsewdrag").first
        surface.scroll_into_view_if_needed()
        box = surface.bounding_box()
        x, y = box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.15
        wide, high = box["width"] * 0.45, box["height"] * 0.7
        page.mouse.move(x, y)
        page.mouse.down()
        for across, down in ((0, high), (wide, high), (wide, 0), (0, 0)):
            page.mouse.move(x + across, y + down, steps=4)

    return draw


def let_go(page: Any) -> None:
    """Select nothing."""
    button = page.get_by_role("button", name="Let go")
    if button.count():
        button.click()
        page.wait_for_timeout(1500)


def chooser(page: Any, where: str, names: list[str]) -> Callable[[], None]:
    """Clicks one name after the other, round and round."""
    turns = iter(names * 100)
    return lambda: page.locator(where).get_by_text(next(turns), exact=True).first.click()


def of_explore(page: Any, times: int) -> dict[str, list[Times]]:
    """The actions of the Explore page."""
    rows = {}
    layer = page.get_by_role("slider", name="Layer, from input to output")
    layer.focus()
    rows["another layer"] = timed(page, SCATTER, lambda: layer.press("ArrowLeft"), min(times, 6))
    rows["another projection"] = timed(page, SCATTER, chooser(page, MAIN, ["t-SNE", "UMAP", "PCA"]), times)
    listed = "[class*=wide_features] [data-testid=stDataFrame], [class*=wide_features] [data-testid=stCaptionContainer]"
    rows["Explore: lasso"] = timed(
        page, listed, page.mouse.up, times, before=lasso(page, "[class*=st-key-scatter]"), since=RELEASE
    )
    let_go(page)
    one, note = page.get_by_text("one layer", exact=True).first, "[class*=wide_features] p:has(> [role=img])"
    every, back = page.get_by_text("all layers", exact=True).first, lambda: (one.click(), page.wait_for_timeout(1500))
    rows["all layers: says so"] = timed(page, note, every.click, times, before=back)
    back()
    blink = page.locator("[class*=st-key-blink] label").first
    rows["blink, on and off"] = timed(page, PICTURES, blink.click, times + times % 2, warm=False)
    export = page.locator("[class*=st-key-export-scatter] button").first
    dialog = "[role=dialog] [data-testid=stDownloadButton]"
    closed = lambda: (page.keyboard.press("Escape"), page.wait_for_timeout(800))  # noqa: E731
    rows["export dialog"] = timed(page, dialog, export.click, times, before=closed)
    closed()
    rows["verdicts by layer"] = sections(
        page, "Scores and verdicts layer by layer", "[class*=chart-layers] text", times
    )
    rows["figure for a paper"] = sections(page, "Figure for a paper", "[class*=st-key-paper-layers]", times)
    rows["the film"] = sections(page, "The attack as a film", "[class*=st-key-film-controls]", times)
    page.get_by_text("The attack as a film").click()
    page.locator(".st-key-chart-film image").nth(3).wait_for(timeout=90_000)
    page.wait_for_timeout(3000)
    step = page.get_by_role("slider", name="Step of the attack")
    step.focus()
    words = ".st-key-chart-film .textpoint text"
    rows["a step of the film"] = timed(page, words, lambda: step.press("ArrowRight"), times)
    page.get_by_text("The attack as a film").click()
    return rows


def sections(page: Any, title: str, what: str, times: int) -> list[Times]:
    """Opening a section, which is closed again before."""
    head, found = page.get_by_text(title).first, []
    for _ in range(times + 1):
        found += timed(page, what, head.click, 1, warm=False)
        head.click()
        page.wait_for_timeout(1000)
    return found[1:]


def of_volume(page: Any, times: int) -> dict[str, list[Times]]:
    """The actions of the Explore page on a volume, where they are others than on an image or take longer."""
    rows = {}
    slider = page.get_by_role("slider", name="Axial slice, mm")
    slider.focus()
    rows["3-D: another slice"] = timed(page, PLANES, lambda: slider.press("ArrowRight"), times)
    blink = page.locator("[class*=st-key-blink] label").first
    rows["3-D: blink, on and off"] = timed(page, PLANES, blink.click, times + times % 2)
    difference = chooser(page, "[class*=st-key-changes]", ["both", "PGD"])
    rows["3-D: difference"] = timed(page, PLANES, difference, times)
    view = chooser(page, "[class*=st-key-view]", ["axial", "three planes"])
    rows["3-D: planes"] = timed(page, PLANES, view, times)
    layer = page.get_by_role("slider", name="Layer, from input to output")
    layer.focus()
    rows["3-D: another layer"] = timed(page, SCATTER, lambda: layer.press("ArrowLeft"), min(times, 6))
    return rows


def of_cohort(page: Any, times: int) -> dict[str, list[Times]]:
    """The actions of the Cohort page."""
    rows = {}
    opened(page, "Cohort")
    layer = page.get_by_role("slider", name="Layer, from input to output")
    layer.focus()
    rows["Cohort: layer"] = timed(page, COHORT, lambda: layer.press("ArrowLeft"), min(times, 6))
    detector = chooser(page, "[class*=st-key-cohort-detector]", ["LID", "SVM", "KD", "MAHA", "DNN"])
    rows["Cohort: detector"] = timed(page, STRIPS, detector, times)
    run = chooser(page, "[class*=st-key-cohort-run]", ["BIM", "FGSM", "MIM", "PGD"])
    rows["Cohort: run"] = timed(page, COHORT, run, times)
    eps = chooser(page, "[class*=st-key-cohort-eps-]", ["4/255", "8/255"])
    rows["Cohort: eps"] = timed(page, COHORT, eps, times)
    listed = "[class*=side_selection] [data-testid=stDownloadButton], [class*=side_selection] [data-testid=stImage]"
    around = lasso(page, "[class*=st-key-cohort-]")
    rows["Cohort: lasso"] = timed(page, listed, page.mouse.up, times, before=around, since=RELEASE)
    let_go(page)
    return rows


def of_others(page: Any, times: int) -> dict[str, list[Times]]:
    """Tour, Studies, Data & model and Glossary."""
    rows = {}
    opened(page, "Tour")
    title = "[class*=st-key-tour_title] h1"
    rows["Tour: next step"] = timed(page, title, lambda: page.keyboard.press("ArrowRight"), min(times, 7))
    opened(page, "Studies")
    names = ["Stress test of the layers", "Out of distribution", "Direction of the attack"]
    study = chooser(page, "[class*=st-key-study-name]", names)
    rows["another study"] = timed(page, "[class*=st-key-study_Does] p", study, times)
    opened(page, "Data & model")
    kinds = chooser(page, "[class*=st-key-gallery_class]", ["healthy", "lesion"])
    rows["thumbnails of a class"] = timed(page, OPENED["Data & model"], kinds, times)
    opened(page, "Glossary")
    words, search = iter(["auc", "pgd", "umap", "lid", "eps"] * 10), page.get_by_role("textbox")
    rows["Glossary: search"] = timed(
        page, f"{MAIN} h3", lambda: search.press("Enter"), times, before=lambda: search.fill(next(words))
    )
    return rows


def of_runs(page: Any, times: int) -> dict[str, list[Times]]:
    """What takes long: from Run to its bar, which has the time left and Stop, and from Stop to the words that say so."""
    rows, bar, stop = {}, "[data-testid=stProgress]", page.get_by_role("button", name="Stop")
    seed, seeds = page.get_by_label("Seed", exact=True), iter(range(int(time.time()), 2**31))

    def still() -> None:
        if stop.count():
            stop.first.click()
        page.locator(bar).wait_for(state="detached", timeout=60_000)
        page.wait_for_timeout(1500)

    def another() -> None:
        still()
        seed.fill(str(next(seeds)))  # no run of before, which would lie ready
        seed.press("Enter")
        page.wait_for_timeout(1500)

    def running() -> None:
        another()
        run.click()
        page.locator(bar).wait_for(timeout=60_000)

    run = page.get_by_role("button", name="Run").first
    rows["Run: bar with Stop"] = timed(page, bar, run.click, times, before=another)
    strip = "[class*=st-key-strip] p"
    rows["Stop: says so"] = timed(page, strip, lambda: stop.first.click(), times, before=running, word="opp")
    still()
    opened(page, "Cohort")
    page.get_by_text("Evaluate another attack live").click()
    page.wait_for_timeout(1000)
    evaluate = page.get_by_role("button", name="Evaluate")
    rows["Evaluate: bar with Stop"] = timed(page, bar, evaluate.click, times, before=still)
    still()
    opened(page, "Studies")
    page.get_by_text("Run this study").click()
    page.wait_for_timeout(1000)
    study = page.locator("[class*=st-key-study-run] button").first
    rows["study: bar with Stop"] = timed(page, bar, study.click, times, before=still)
    still()
    return rows
