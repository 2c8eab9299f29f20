"""Time of a study of 100 bundled scans in ten settings, in a fresh store, and of the same once more: `python -m benchmarks.studies`.

The settings are those of `components`: the usual one, and nine that differ from it in K, weight, layers, steps or eps. Exit code 1
means that the first took more than 15 minutes, or that the second computed an attack again.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import torch

from hfcviz.store import Store
from hfcviz.studies.catalogue import perform
from hfcviz.studies.components import Components
from hfcviz.studies.opening import DEFAULT, open_lab
from hfcviz.studies.pieces import Budget

LIMIT = 15 * 60
"""Seconds on two cores."""
SETTINGS = Components(
    components=("1", "2", "8"),
    weights=("0.3", "1", "3", "10"),
    layers=("all", "shallow half", "deep half"),
    steps=("10", "20"),
    eps=("4", "8"),
)
"""1 usual setting + 2 of K + 3 weights + 2 subsets of layers + 1 of steps + 1 of eps."""


def main() -> int:
    """Measure, print two lines, write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scans", type=int, default=100, help="attacked scans (default 100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args()
    found: dict[str, object] = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    with tempfile.TemporaryDirectory() as folder:
        for turn in ("fresh", "again"):
            store = Store(folder)
            lab = open_lab(DEFAULT, "brain2d", Budget(scans=options.scans), store)
            start = time.perf_counter()
            perform("components", lab, SETTINGS)
            seconds, asked = time.perf_counter() - start, store.hits + store.misses
            attacks = sum(name.startswith("attack ") for name in lab.made)
            twice = sum(count > 1 for count in lab.made.values())
            found[turn] = {
                "seconds": seconds,
                "hits": store.hits / asked,
                "attacks": attacks,
                "made twice": twice,
            }
            print(
                f"{turn}: {seconds:.0f} s for {options.scans} scans; {store.hits} of {asked} pieces were in the store "
                f"({store.hits / asked:.0%}), {attacks} attacks made, {twice} pieces made twice",
                flush=True,
            )
            if (turn == "fresh" and seconds > LIMIT) or (turn == "again" and attacks) or twice:
                found["missed"] = True
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int("missed" in found)


if __name__ == "__main__":
    raise SystemExit(main())
