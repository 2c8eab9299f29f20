"""The pieces of an evaluation, each kept in its folder as soon as it is finished: clean features, noise, every attack.

A cell is one attack, penalty and eps: the pooled features of the attacked images, and how far their pixels moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hfcviz.activations import Activations, concatenate, extract
from hfcviz.attacks import run, runner_up
from hfcviz.classifiers import Classifier
from hfcviz.datasets import Split
from hfcviz.folders import patients_of
from hfcviz.ledger import claim, kept
from hfcviz.penalties import FittedHFC
from hfcviz.protocol import LEAST, Task
from hfcviz.reference import Reference, noisy, passes_of, scan_seeds, shares, training_part
from hfcviz.settings import InputError, Progress, silent
from hfcviz.store import Arrays

BATCH = 32


@dataclass(frozen=True, eq=False)
class Clean:
    """All that does not depend on an attack: training and calibration features, and the chosen test images."""

    train: Activations
    train_labels: np.ndarray
    calibration: Activations
    chosen: Activations
    rows: np.ndarray
    """(N,) places of the chosen images in the test part."""
    counts: dict[str, int]
    """Test images, and how many of them are classified correctly."""


def clean_of(task: Task, progress: Progress = silent) -> Clean:
    """The clean part of a task, from its folder if it is there; InputError when the folder is another task's."""
    claim(task.folder, task.recipe)
    return kept(task.folder, "clean", lambda: _clean(task, progress), _to_arrays, _from_arrays)


def constraint_of(task: Task, clean: Clean) -> FittedHFC | None:
    """The constraint fitted on the clean training images, if the protocol asks for it."""
    if "HFC" not in task.protocol.penalties:
        return None
    return task.protocol.constraint.fit(clean.train, clean.train_labels, seed=task.protocol.seed)


def cohort_of(
    task: Task, clean: Clean, carried: FittedHFC | None, name: str, eps: float, progress: Progress = silent
) -> Reference:
    """The cohort of one attack and eps; its detectors are trained on the plain version of that attack."""
    test, attack = task.dataset.splits["test"], task.protocol.attack(name, eps)
    targets, seeds = runner_up(clean.chosen.logits), scan_seeds(task.protocol.seed, len(clean.rows))
    share = shares(progress, {"noise": 0.1, "attack": 0.4, "hidden": 0.5})

    def made(role: str, change: Callable[[slice, torch.Tensor, Progress], torch.Tensor], what: str) -> Any:
        return kept(
            task.folder, what, lambda: _attacked(task, clean, change, what, share(role)), _pack_cell, _unpack_cell
        )

    def noise(few: slice, x: torch.Tensor, heard: Progress) -> torch.Tensor:
        return noisy(x, eps, seeds[few])

    def by(penalty: FittedHFC | None) -> Callable[[slice, torch.Tensor, Progress], torch.Tensor]:
        def attacked(few: slice, x: torch.Tensor, heard: Progress) -> torch.Tensor:
            aim = torch.from_numpy(targets[few])
            return run(attack, task.classifier, x, aim, penalty=penalty, seeds=seeds[few], progress=heard)

        return attacked

    cells = {"noise": made("noise", noise, f"noise {eps * 255:.10g}")}
    cells["attack"] = made("attack", by(None), f"{name} none {eps * 255:.10g}")
    if carried is not None:
        cells["hidden"] = made("hidden", by(carried), f"{name} HFC {eps * 255:.10g}")
    ids = tuple(test.ids[row] for row in clean.rows)
    counts = {"test_scans": clean.counts["test_images"], "correct": clean.counts["correct"]}
    return Reference(
        train=clean.train,
        train_labels=clean.train_labels,
        calibration=clean.calibration,
        cohort={"clean": clean.chosen} | {role: activations for role, (activations, _) in cells.items()},
        ids=ids,
        labels=test.y[clean.rows],
        targets=targets,
        trains=training_part(np.array(patients_of(test.ids))[clean.rows], task.protocol.seed),
        recipe=recipe_of(task, name, eps) | counts,
        linf={role: linf for role, (_, linf) in cells.items()},
    )


def recipe_of(task: Task, name: str, eps: float) -> dict[str, Any]:
    """All that the cohort of one attack and eps depends on; when it is made, the numbers of test scans are added."""
    attack, protocol = task.protocol.attack(name, eps), task.protocol
    return {
        "dataset": task.dataset.name,
        "dataset_sha256": task.dataset.sha256,
        "model": task.classifier.name,
        "weights": task.classifier.digest,
        "attack_name": name,
        "attack": attack.as_dict() | {"step_size": attack.step},
        "penalty": protocol.constraint.as_dict() if "HFC" in protocol.penalties else None,
        "seed": protocol.seed,
        "protocol": protocol.as_dict(),
    }


def _attacked(
    task: Task,
    clean: Clean,
    change: Callable[[slice, torch.Tensor, Progress], torch.Tensor],
    what: str,
    progress: Progress,
) -> tuple[Activations, np.ndarray]:
    """Features of the changed images, (N, ...), and the largest change of a pixel, (N,), batch by batch."""
    test, count, parts, sizes = task.dataset.splits["test"], len(clean.rows), [], []
    for start in range(0, count, BATCH):
        few = slice(start, start + BATCH)
        x = torch.from_numpy(test.images(clean.rows[few]))
        place = f"{what}, image {start} of {count}"

        def heard(fraction: float, step: str, start: int = start, size: int = len(x), place: str = place) -> None:
            progress((start + fraction * size) / count, f"{place}, {step}")

        progress(start / count, place)
        changed = change(few, x, heard)
        passes = passes_of(task.classifier)
        parts.append(extract(task.classifier, changed, dropout_passes=passes, seed=task.protocol.seed))
        sizes.append((changed - x).flatten(1).abs().amax(1).numpy())
    return concatenate(parts), np.concatenate(sizes)


def _clean(task: Task, progress: Progress) -> Clean:
    share, seed = shares(progress, {"train": 0.6, "val": 0.15, "test": 0.25}), task.protocol.seed

    def features(part: str, passes: int) -> Activations:
        return features_of(task.classifier, task.dataset.splits[part], passes, seed, share(part))

    passes = passes_of(task.classifier)
    train, calibration, test = features("train", 0), features("val", passes), features("test", passes)
    labels = task.dataset.splits["test"].y
    right = np.flatnonzero(test.predicted == labels)
    counts = {"test_images": len(labels), "correct": len(right)}
    if len(right) < LEAST:
        raise InputError(
            f"An evaluation needs at least {LEAST} correctly classified test images; {task.classifier.name} gets {len(right)} of "
            f"{len(labels)} right: check model and data set."
        )
    # By chance and not the first ones: sets are often sorted by class.
    rows = np.sort(np.random.default_rng(seed).permutation(right)[: task.protocol.limit])
    return Clean(train, task.dataset.splits["train"].y, calibration, test.take(rows), rows, counts)


def features_of(
    classifier: Classifier, split: Split, passes: int, seed: int, progress: Progress = silent
) -> Activations:
    """The features of a part's images, (N, ...), unpacked batch by batch; passes: of dropout, their masks chosen by seed."""
    parts = []
    for start in range(0, len(split), 2 * BATCH):
        progress(start / len(split), "clean features")
        x = split.images(slice(start, start + 2 * BATCH))
        parts.append(extract(classifier, x, dropout_passes=passes, seed=seed))
    return concatenate(parts)


def _to_arrays(clean: Clean) -> tuple[Arrays, dict[str, Any]]:
    arrays = {"train_labels": clean.train_labels, "rows": clean.rows}
    for name in ("train", "calibration", "chosen"):
        arrays |= getattr(clean, name).to_arrays(name)
    return arrays, {"counts": clean.counts}


def _from_arrays(arrays: Arrays, about: dict[str, Any]) -> Clean:
    parts = {name: Activations.from_arrays(arrays, name) for name in ("train", "calibration", "chosen")}
    return Clean(**parts, train_labels=arrays["train_labels"], rows=arrays["rows"], counts=about["counts"])


def _pack_cell(cell: tuple[Activations, np.ndarray]) -> tuple[Arrays, dict[str, Any]]:
    return cell[0].to_arrays("activations") | {"linf": cell[1]}, {}


def _unpack_cell(arrays: Arrays, about: dict[str, Any]) -> tuple[Activations, np.ndarray]:
    return Activations.from_arrays(arrays, "activations"), arrays["linf"]
