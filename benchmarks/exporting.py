"""Seconds for a figure as PDF, SVG and PNG once Chromium is open: `python -m benchmarks.exporting`.

Figures of the bundled results; the first image, which starts Chromium, is told apart. Exit code 1 means that a median is above the limit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from hfcviz import chromium
from hfcviz.bundle import open_bundle
from hfcviz.figure_sets import of_cohort, of_outcome
from hfcviz.paper import Page
from hfcviz.publish import render

LIMIT = 1.0
"""Seconds an image, after the first, on an idle machine."""
RUN, COHORT = ("scan", "scatter", "depth", "montage"), ("roc", "auc-map")
LAYERS = {"layers": ["layer1.0", "layer3.0", "layer4.1"], "methods": ["PCA"]}


def main() -> int:
    """Measure, print a table, write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=5, help="images of each figure and format (default 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args()
    bundle, volume = open_bundle("brain2d"), open_bundle("brain3d")
    judged = bundle.runs.load("PGD", 8)
    figures = {name: of_outcome(bundle.first, bundle, name, LAYERS) for name in RUN}
    figures |= {"planes": of_outcome(volume.first, volume, "planes", {})}
    figures |= {name: of_cohort(judged, name, {}) for name in COHORT}
    start = time.perf_counter()
    render(figures["depth"], Page("PDF"))
    first = time.perf_counter() - start
    print(f"the first image, with the start of Chromium: {first:.2f} s")
    print(f"{'figure':<10} {'format':<6} {'median s':>8} {'most s':>7}  median at most {LIMIT:g} s")
    rows = []
    for name, figure in figures.items():
        for kind in ("PDF", "SVG", "PNG"):
            times = []
            for _ in range(options.repeats):
                start = time.perf_counter()
                render(figure, Page(kind, 180.0))
                times.append(time.perf_counter() - start)
            met = statistics.median(times) <= LIMIT
            rows.append({"figure": name, "format": kind, "seconds": times, "met": met})
            print(
                f"{name:<10} {kind:<6} {statistics.median(times):8.2f} {max(times):7.2f}  {'met' if met else 'MISSED'}"
            )
    chromium.close()
    if options.json:
        options.json.write_text(json.dumps({"first": first, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
