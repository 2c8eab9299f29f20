"""Time from a person's action in the app to its answer, in a real browser: `python -m benchmarks.answering`.

The app is served on its bundled default and driven by Playwright; the clock is the browser's own, from the key, the click or the end of a
lasso to the frame after the one in which what was asked for stands on the page. Of a page that is opened that is its first picture or,
without one, its first words; of a lasso, which dims the other points while it is drawn, the list of what is selected; of a section, its
controls; of another study, its question, which comes with its findings in words. "Settled" is when nothing on the page is drawn any
more, linked figures included. Exit code 1: a median is above the limit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.scrolling import FLAGS, LIMIT, ROOT, served

CLOCK = """([what, since]) => {
  // Of a few elements: to read all would take the time that is measured.
  const state = () => [...document.querySelectorAll(what)].slice(0, 40).map(one => one.outerHTML).join();
  const before = state();
  window.elapsed = 0;
  window.settled = 0;
  const watch = new MutationObserver(() => { window.settled = performance.now(); });
  const drawn = ['d', 'href', 'transform', 'width', 'height', 'data-stale'];
  watch.observe(document.querySelector('[data-testid=stMain]'),
    {subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: drawn});
  window.rest = () => { watch.disconnect(); return window.settled - window.start; };
  const begin = () => {
    const start = window.start = performance.now();
    const look = () => {
      if (state() && state() !== before) requestAnimationFrame(() => { window.elapsed = performance.now() - start; });
      else setTimeout(look, 2);
    };
    look();
  };
  for (const kind of since) window.addEventListener(kind, begin, {once: true, capture: true});
}"""
SCATTER = "[class*=st-key-scatter] .scatterlayer path.point"
COHORT = "[class*=st-key-cohort-] .scatterlayer .trace:last-child path.point"
"""Points of the constrained attack: clean ones may lie alike in two runs."""
STRIPS = "[class*=st-key-scores-] .scatterlayer path.point"
MAIN = "[data-testid=stMain]"
OPENED = {
    "Explore": "[class*=st-key-chart-scan] .heatmaplayer image",
    "Tour": "[class*=wide_tour] .main-svg path, [class*=wide_tour] .main-svg image",
    "Cohort": COHORT,
    "Studies": "[class*=st-key-chart-study] .main-svg path",
    "Data & model": f"{MAIN} [data-testid=stImage] img",
    "Glossary": f"{MAIN} h3",
}
"""What is looked at first on each page."""
PRESS, RELEASE = ("keydown", "pointerdown"), ("pointerup", "mouseup")
Times = tuple[float, float]


def timed(
    page: Any,
    what: str,
    act: Callable[[], Any],
    times: int,
    *,
    before: Callable[[], Any] = lambda: None,
    since: tuple[str, ...] = PRESS,
    warm: bool = True,
) -> list[Times]:
    """Milliseconds from each `act()`, whose events `since` start the clock, to the change of what the selector names, and until the page
    has settled; before: what is done first, off the clock; warm: one more comes first, and is left out.
    """
    found = []
    for _ in range(times + warm):
        before()
        page.evaluate(CLOCK, [what, since])
        act()
        page.wait_for_function("window.elapsed > 0", timeout=60_000)
        page.wait_for_timeout(1800)
        found.append((page.evaluate("window.elapsed"), page.evaluate("window.rest()")))
    return found[warm:]


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
    pictures = "[class*=st-key-chart-scan] .heatmaplayer image, [class*=st-key-chart-planes] image"
    rows["blink, on and off"] = timed(page, pictures, blink.click, times + times % 2, warm=False)
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
    rows["another study"] = timed(page, f"{MAIN} h3", study, times)
    opened(page, "Data & model")
    kinds = chooser(page, "[class*=st-key-gallery_class]", ["healthy", "lesion"])
    rows["thumbnails of a class"] = timed(page, OPENED["Data & model"], kinds, times)
    opened(page, "Glossary")
    words, search = iter(["auc", "pgd", "umap", "lid", "eps"] * 10), page.get_by_role("textbox")
    rows["Glossary: search"] = timed(
        page, f"{MAIN} h3", lambda: search.press("Enter"), times, before=lambda: search.fill(next(words))
    )
    return rows


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--times", type=int, default=7, help="each action (default 7)")
    options = parser.parse_args()
    search = subprocess.run(
        [str(ROOT / "scripts" / "find_chromium.sh")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHON": sys.executable},
    )
    from playwright.sync_api import sync_playwright

    print(f"{'action':<22} {'median ms':>9} {'most ms':>8} {'settled':>8}  median at most {LIMIT} ms")
    met = True
    with served("app.py") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=search.stdout.strip(), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1440, "height": 1200})
        page.goto(address)
        page.locator(SCATTER).nth(100).wait_for(timeout=90_000)
        page.wait_for_timeout(15_000)  # what warms up in the background is done
        for part in (of_explore, of_cohort, of_others, of_pages):
            opened(page, "Explore")
            for name, found in part(page, options.times).items():
                answers, settled = zip(*found, strict=True)
                middle = statistics.median(answers)
                met &= middle <= LIMIT
                said = "met" if middle <= LIMIT else "MISSED"
                numbers = f"{middle:9.0f} {max(answers):8.0f} {statistics.median(settled):8.0f}"
                print(f"{name:<22} {numbers}  {said}", flush=True)
        browser.close()
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
