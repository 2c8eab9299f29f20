"""The paper's protocol on a whole test set: every attack with and without the constraint at equal budget, every detector.

Work is done in cells (one attack, penalty and eps), each kept in the result folder as soon as it is finished, so that an
interrupted evaluation goes on where it stopped and ends with the same numbers.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hfcviz.cells import clean_of, cohort_of, constraint_of
from hfcviz.classifiers import Classifier
from hfcviz.cohort import Judged, judge
from hfcviz.datasets import Dataset
from hfcviz.protocol import Protocol, Task
from hfcviz.reference import Reference, shares
from hfcviz.runs import Runs, in_order, load_judged, rows_of, run_path, save_judged, without_features
from hfcviz.settings import Progress, silent
from hfcviz.store import digest
from hfcviz.tables import Row

KEPT = 8
"""Evaluations that `judged_cohort` leaves on disk, the newest ones."""


def evaluate(task: Task, *, progress: Progress = silent) -> Iterator[list[Row]]:
    """Yield the rows of each finished attack and eps, in order; all intermediate results stay in the task's folder.

    A row is one attack x penalty x eps x detector: see `runs.rows_of`. Memory grows with the batch and the pooled
    features, not with the images of the cohort. Raises InputError before any work when model, data set, protocol and folder
    do not fit together.
    """
    task.check()
    pairs = [(eps, attack) for eps in task.protocol.eps for attack in task.protocol.attacks]
    share = shares(progress, {"clean": 0.05, **{str(place): 0.95 / len(pairs) for place in range(len(pairs))}})
    clean = clean_of(task, share("clean"))
    carried = constraint_of(task, clean)
    for place, (eps, name) in enumerate(pairs):
        path, part = run_path(judged_folder(task), name, eps * 255), share(str(place))
        if not path.is_file():
            cells = shares(part, {"cells": 0.9, "detectors": 0.1})
            cohort = cohort_of(task, clean, carried, name, eps, cells("cells"))
            save_judged(path, without_features(judge(cohort, progress=cells("detectors", f"{name}: "))))
        judged = load_judged(path)
        part(1, f"{name} at {eps * 255:.10g}/255")
        yield [row for row in rows_of(judged) if row["penalty"] in task.protocol.penalties]


def one_cohort(task: Task, *, progress: Progress = silent) -> Reference:
    """The cohort of the protocol's first attack and eps, kept in the task's folder as by `evaluate`."""
    task.check()
    share = shares(progress, {"clean": 0.2, "cells": 0.8})
    clean = clean_of(task, share("clean"))
    name, eps = task.protocol.attacks[0], task.protocol.eps[0]
    return cohort_of(task, clean, constraint_of(task, clean), name, eps, share("cells"))


def judged_cohort(
    classifier: Classifier, dataset: Dataset, protocol: Protocol, base: Path, *, progress: Progress = silent
) -> Judged:
    """The judged cohort of the protocol's first attack and eps, with features for all projections.

    What is finished is kept in a folder of its own below `base`, where the next call with the same protocol goes on; where none can be
    written, nothing is kept. InputError as in `evaluate`.
    """
    task = Task(classifier, dataset, protocol, base)
    task.check()
    folder = base / digest(task.recipe)[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        for old in sorted(base.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:
        with tempfile.TemporaryDirectory() as once:
            return _judged(replace(task, folder=Path(once)), progress)
    return _judged(replace(task, folder=folder), progress)


def _judged(task: Task, progress: Progress) -> Judged:
    """By way of the file, so that one that is read from it later is the same to the last bit."""
    share = shares(progress, {"cells": 0.85, "judge": 0.15})
    kept = judged_folder(replace(task, folder=task.folder / "with features"))
    path = run_path(kept, task.protocol.attacks[0], task.protocol.eps[0] * 255)
    if not path.is_file():
        cohort = one_cohort(task, progress=share("cells"))
        save_judged(path, judge(cohort, progress=share("judge")))
    return load_judged(path)


def judged_folder(task: Task) -> Path:
    """Where the judged cohorts of a task lie; those without a constrained version are kept apart."""
    return task.folder / ("judged" if "HFC" in task.protocol.penalties else "judged-plain")


def all_rows(folder: Path) -> list[Row]:
    """The rows of all that is finished in an evaluation's folder, whichever commands asked for it, each once."""
    found = {}
    for part in ("judged-plain", "judged"):
        for row in Runs(folder / part).rows:
            found[row["eps_255"], row["attack"], row["detector"], row["penalty"]] = row
    return in_order(found.values())
