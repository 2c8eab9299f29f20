"""Time from a person's action in the app to its answer, in a real browser: `python -m benchmarks.answering`.

The app is served on its bundled tasks and driven by Playwright; the clock is the browser's own, from the key, the click or the end of a
lasso to the frame after the one in which what was asked for stands on the page. Of a page that is opened that is its first picture or,
without one, its first words; of a lasso, which dims the other points while it is drawn, the list of what is selected; of a section, its
controls; of another study, its findings in words. "Settled" is when nothing on the page is drawn any more, linked figures included.
Exit code 1: a median is above the limit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.actions import SCATTER, of_cohort, of_explore, of_others, of_pages, of_runs, of_volume, opened
from benchmarks.clock import Times
from benchmarks.scrolling import FLAGS, LIMIT, ROOT, served

PARTS: dict[str, tuple[Callable[[Any, int], dict[str, list[Times]]], ...]] = {
    "brain2d": (of_explore, of_cohort, of_others, of_pages, of_runs),
    "brain3d": (of_volume,),
}
"""What is measured on each task."""


def said(name: str, found: list[Times]) -> bool:
    """One row of the table; whether its median is within the limit."""
    answers, settled = zip(*found, strict=True)
    middle = statistics.median(answers)
    numbers = f"{middle:9.0f} {max(answers):8.0f} {statistics.median(settled):8.0f}"
    print(f"{name:<22} {numbers}  {'met' if middle <= LIMIT else 'MISSED'}", flush=True)
    return middle <= LIMIT


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
        for task, parts in PARTS.items():
            page.goto(f"{address}/?task={task}")
            page.locator(SCATTER).nth(100).wait_for(timeout=90_000)
            page.wait_for_timeout(15_000)  # what warms up in the background is done
            for part in parts:
                opened(page, "Explore")
                for name, found in part(page, options.times).items():
                    met &= said(name, found)
        browser.close()
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
