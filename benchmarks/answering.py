"""Time from a person's action on the Explore or Cohort page to its answer, in a real browser: `python -m benchmarks.answering`.

The app is served on its bundled default and driven by Playwright; the clock is the browser's own, from the key or click to the
frame after the one in which what was asked for stands on the page. "Settled" is when nothing on the page is drawn any more. Exit code 1
means that a median is above the limit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.scrolling import FLAGS, LIMIT, ROOT, served

CLOCK = """what => {
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
  for (const kind of ['keydown', 'pointerdown']) window.addEventListener(kind, begin, {once: true, capture: true});
}"""
SCATTER = "[class*=st-key-scatter] .scatterlayer path.point"
COHORT = "[class*=st-key-cohort-] .scatterlayer .trace:last-child path.point"
"""Points of the constrained attack: clean ones may lie alike in two runs."""
STRIPS = "[class*=st-key-scores-] .scatterlayer path.point"
Times = tuple[float, float]


def timed(page: Any, what: str, act: Any, times: int, pause: int = 1500, *, warm: bool = True) -> list[Times]:
    """Milliseconds from each `act()` to the change of what the selector names, and until the page has settled; warm: one more comes first,
    and is left out.
    """
    found = []
    for _ in range(times + warm):
        page.evaluate(CLOCK, what)
        act()
        page.wait_for_function("window.elapsed > 0", timeout=60_000)
        page.wait_for_timeout(pause)
        found.append((page.evaluate("window.elapsed"), page.evaluate("window.rest()")))
    return found[warm:]


def of_cohort(page: Any, times: int) -> dict[str, list[Times]]:
    """The actions of the Cohort page: layer, detector and another published run. It is opened from the Explore page and left again."""
    rows: dict[str, list[Times]] = {"opening Cohort": []}
    for _ in range(times + 1):
        page.get_by_role("link", name="Explore").click()
        page.locator(SCATTER).nth(100).wait_for(timeout=90_000)
        page.wait_for_timeout(1500)
        rows["opening Cohort"] += timed(page, COHORT, page.get_by_role("link", name="Cohort").click, 1, warm=False)
    rows["opening Cohort"].pop(0)
    page.wait_for_timeout(2000)
    layer = page.get_by_role("slider", name="Layer, from input to output")
    layer.focus()
    rows["Cohort: layer"] = timed(page, COHORT, lambda: layer.press("ArrowLeft"), min(times, 6))
    detectors = ["LID", "SVM", "KD", "MAHA", "DNN"] * times
    choice = page.locator("[class*=st-key-cohort-detector]")
    rows["Cohort: detector"] = timed(
        page, STRIPS, lambda: choice.get_by_text(detectors.pop(0), exact=True).click(), times
    )
    runs = ["BIM", "FGSM", "MIM", "PGD"] * times
    closer = page.locator("[class*=st-key-cohort-run]")
    rows["Cohort: run"] = timed(page, COHORT, lambda: closer.get_by_text(runs.pop(0), exact=True).click(), times)
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

    rows = {}
    with served("app.py") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=search.stdout.strip(), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1440, "height": 1200})
        page.goto(address)
        page.locator(SCATTER).nth(100).wait_for(timeout=90_000)
        page.wait_for_timeout(15_000)  # what warms up in the background is done
        layer = page.get_by_role("slider", name="Layer, from input to output")
        layer.focus()
        rows["another layer"] = timed(page, SCATTER, lambda: layer.press("ArrowLeft"), min(options.times, 6))
        kinds = ["t-SNE", "UMAP", "PCA"] * options.times
        rows["another projection"] = timed(
            page, SCATTER, lambda: page.get_by_text(kinds.pop(0), exact=True).first.click(), options.times
        )
        page.get_by_text("The attack as a film").click()
        page.locator(".st-key-chart-film image").nth(3).wait_for(timeout=90_000)
        page.wait_for_timeout(3000)
        step = page.get_by_role("slider", name="Step of the attack")
        step.focus()
        words = ".st-key-chart-film .textpoint text"
        rows["a step of the film"] = timed(page, words, lambda: step.press("ArrowRight"), options.times)
        rows |= of_cohort(page, options.times)
        browser.close()
    print(f"{'action':<20} {'median ms':>9} {'most ms':>8} {'settled':>8}  median at most {LIMIT} ms")
    met = True
    for name, found in rows.items():
        answers, settled = zip(*found, strict=True)
        middle = statistics.median(answers)
        met &= middle <= LIMIT
        said = "met" if middle <= LIMIT else "MISSED"
        print(f"{name:<20} {middle:9.0f} {max(answers):8.0f} {statistics.median(settled):8.0f}  {said}")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
