"""Is a detector weak because the test part of a data set is unlike its training part?

    python -m scripts.explain_shift DATA --model MODEL --eps 4 --steps 20 --limit 200 --out FOLDER

Evaluates PGD, with and without the constraint, on images of the training part's own kind: the validation part is halved by
patient, one half calibrates the detectors, the other takes the place of the test part. Compare with `evaluate` on the
data set itself.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from hfcviz.datasets import Dataset, Split, load_dataset
from hfcviz.evaluation import evaluate
from hfcviz.folders import patients_of
from hfcviz.models import load_model
from hfcviz.protocol import Protocol, Task
from hfcviz.tables import as_markdown
from hfcviz.terminal import shown_progress


def within(dataset: Dataset) -> Dataset:
    """The data set with half of its validation part, by patient, as its test part."""
    val = dataset.splits["val"]
    halves = [int(hashlib.sha256(who.encode()).hexdigest(), 16) % 2 for who in patients_of(val.ids)]

    def half(which: int) -> Split:
        rows = np.flatnonzero(np.array(halves) == which)
        return Split(val.x[rows], val.y[rows], tuple(val.ids[row] for row in rows))

    splits = {"train": dataset.splits["train"], "val": half(0), "test": half(1)}
    return replace(dataset, name=f"{dataset.name}, validation part", splits=splits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", required=True)
    parser.add_argument("--eps", type=float, required=True, help="in 1/255")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    classifier = load_model(args.model)
    dataset = within(load_dataset(args.data, fit=classifier.input_shape))
    protocol = Protocol(eps=(args.eps / 255,), steps=args.steps, limit=args.limit)
    with shown_progress(sys.stderr, lines=20) as progress:
        rows = [
            row for found in evaluate(Task(classifier, dataset, protocol, args.out), progress=progress) for row in found
        ]
    print(as_markdown(rows))


if __name__ == "__main__":
    main()
