"""Time from a key press on a slice slider to the new picture, in a real browser: `python -m benchmarks.scrolling`.

The viewer of the Explore page shows a synthetic CT of 256 x 256 x 180 voxels on its own grid with two attacks made up of noise on a
network's 64 x 64 x 64. Chromium is driven by Playwright; the clock is the browser's own: from the key press to the frame in
which other pictures stand on the page. Another page's work beside it is not counted: the page holds the viewer alone. Exit code 1
means that a median is above the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from hfcviz.grids import Shown
from hfcviz.resampling import place
from hfcviz.scans import Scan

ROOT = Path(__file__).resolve().parent.parent
SIDES, INPUT = (256, 256, 180), (1, 64, 64, 64)
VIEWS = ("three planes", "axial")
LIMIT = 300
"""Milliseconds that an answer may take: the median of all presses in a view, on an idle machine."""
FLAGS = ("--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run")
CLOCK = """() => {
  const pictures = () => [...document.querySelectorAll('.js-plotly-plot image')].map(one => one.getAttribute('href')
    || one.getAttribute('xlink:href')).join();
  const before = pictures();
  window.elapsed = 0;
  window.addEventListener('keydown', () => {
    const start = performance.now();
    const look = () => {
      const now = pictures();
      if (now && now !== before) requestAnimationFrame(() => { window.elapsed = performance.now() - start; });
      else setTimeout(look, 2);
    };
    look();
  }, {once: true, capture: true});
}"""
"""Pictures are compared by their content; the time ends with the frame after the one that brought them."""


@cache
def example() -> tuple[Any, Shown]:
    """An outcome, as far as a viewer looks at it, on the grid of a large scan."""
    random = np.random.default_rng(0)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, side, dtype=np.float32) for side in SIDES], indexing="ij", sparse=True)
    head = x**2 / 0.6 + y**2 / 0.8 + z**2 / 0.9
    lesion = (x - 0.3) ** 2 + (y - 0.4) ** 2 + (z - 0.1) ** 2 < 0.02  # at the patient's right, in front
    values = np.select([lesion, head < 0.85, head < 1], [75, 40, 900], -1000) + random.normal(0, 15, SIDES)
    affine = np.diag([0.9, 0.9, 1.2, 1.0])
    affine[:3, 3] = -115, -110, -100
    scan = Scan(
        values.astype(np.float32)[None], affine, (0.9, 0.9, 1.2), "head", (), (-160.0, 240.0), "NIfTI", "CT", "HU"
    )
    eps, roles = 8 / 255, ("clean", "attack", "hidden")
    changes = {role: random.uniform(-eps, eps, INPUT).astype(np.float32) for role in roles[1:]}
    outcome = SimpleNamespace(
        roles=roles,
        row=roles.index,
        activations=SimpleNamespace(probabilities=np.full((3, 2), 0.5)),
        recipe={
            "scan": {"name": "head", "sha256": "benchmark"},
            "plan": {"attack": {"eps": eps}, "attack_name": "PGD", "penalty_name": "HFC"},
        },
    )
    return outcome, Shown(scan, changes, place(scan, INPUT), True)


def page() -> None:
    """What the server draws."""
    from hfcviz.ui.viewer import viewer

    outcome, seen = example()
    viewer(outcome, seen, ("healthy", "lesion"), "benchmark")


PAGE = """import streamlit as st
from benchmarks.scrolling import page

st.set_page_config(layout="wide")
page()
"""
"""As wide as in the app."""


@contextmanager
def served(app: str | None = None) -> Iterator[str]:
    """The address of a server that draws `app`, a file of the project, by default `page`; it ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "page.py"
        script.write_text(PAGE)
        command = [sys.executable, "-m", "streamlit", "run", app or str(script), "--server.headless=true"]
        server = subprocess.Popen(
            [*command, f"--server.port={port}"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "HFCVIZ_STORE": str(Path(folder) / "store")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            address, end = f"http://127.0.0.1:{port}", time.monotonic() + 90
            while time.monotonic() < end and server.poll() is None:
                with suppress(urllib.error.URLError, OSError):
                    urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).read()
                    break
                time.sleep(0.2)
            yield address
        finally:
            server.terminate()
            server.wait(20)


def measure(address: str, chromium: str, presses: int) -> list[dict[str, Any]]:
    """One row a view: milliseconds of each press but the first three, which warm up."""
    from playwright.sync_api import sync_playwright

    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        tab = browser.new_page(viewport={"width": 1440, "height": 1200})
        tab.goto(address)
        tab.wait_for_selector(".js-plotly-plot image", timeout=90_000)
        for view in VIEWS:
            tab.get_by_text(view, exact=True).first.click()
            tab.wait_for_timeout(2500)
            slider, times = tab.get_by_role("slider", name="Axial slice").first, []
            slider.focus()
            for _ in range(presses + 3):
                tab.evaluate(CLOCK)
                slider.press("ArrowRight")
                tab.wait_for_function("window.elapsed > 0", timeout=30_000)
                times.append(tab.evaluate("window.elapsed"))
                tab.wait_for_timeout(300)
            rows.append({"view": view, "ms": times[3:]})
        browser.close()
    return rows


def main() -> int:
    """Measure, print a table, write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--presses", type=int, default=20, help="key presses of each view (default 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args()
    chromium = subprocess.run(
        [str(ROOT / "scripts" / "find_chromium.sh")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHON": sys.executable},
    ).stdout.strip()
    with served() as address:
        rows = measure(address, chromium, options.presses)
    print(f"volume of {' x '.join(map(str, SIDES))} voxels; from key press to new picture")
    print(
        f"{'view':<14} {'median ms':>9} {'90 % ms':>8} {'most ms':>8} {'within 300 ms':>14}  median at most {LIMIT} ms"
    )
    for row in rows:
        ms = sorted(row["ms"])
        within = sum(one <= LIMIT for one in ms) / len(ms)
        row["met"] = statistics.median(ms) <= LIMIT
        ninety = ms[min(len(ms) - 1, int(0.9 * len(ms)))]
        said = "met" if row["met"] else "MISSED"
        numbers = f"{statistics.median(ms):9.0f} {ninety:8.0f} {ms[-1]:8.0f} {within:>14.0%}"
        print(f"{row['view']:<14} {numbers}  {said}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
