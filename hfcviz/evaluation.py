"""The paper's protocol on a whole test set: every attack with and without the constraint at equal budget, every detector.

Work is done in cells (one attack, penalty and eps), each kept in the result folder as soon as it is finished, so that an
interrupted evaluation goes on where it stopped and ends with the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hfcviz import __version__
from hfcviz.activations import Activations, concatenate, extract
from hfcviz.attacks import ATTACKS, Attack, run, runner_up
from hfcviz.datasets import Dataset, Split
from hfcviz.detectors import DETECTORS, LID
from hfcviz.folders import patients_of
from hfcviz.ledger import claim, kept, read_rows, write_text
from hfcviz.metrics import bootstrap_interval
from hfcviz.models import Classifier
from hfcviz.penalties import HFC, PENALTIES, FittedHFC
from hfcviz.reference import DROPOUT_PASSES, TRAINING_SHARE, Reference, compare, noisy, scan_seeds, shares
from hfcviz.settings import InputError, Progress, silent
from hfcviz.store import digest

LEAST = 20
"""Fewest correctly classified test images on which detectors are trained and judged."""
BATCH = 32


@dataclass(frozen=True)
class Study:
    """What is evaluated: every attack with every penalty at every eps (fractions of the grey range)."""

    attacks: tuple[str, ...] = ("PGD",)
    penalties: tuple[str, ...] = ("none", "HFC")
    eps: tuple[float, ...] = (8 / 255,)
    limit: int | None = None
    """Most attacked images; None takes all that the network classifies correctly."""
    seed: int = 0
    steps: int = 40
    """Steps of every attack but FGSM, which takes one."""
    constraint: HFC = field(default_factory=HFC)

    def attack(self, name: str, eps: float) -> Attack:
        """The settings of one attack."""
        settings = ATTACKS[name]
        return settings.replace(eps=eps, steps=1 if settings.steps == 1 else self.steps)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the recipe; attacks, penalties and eps are left out, since cells do not depend on each other."""
        return {
            "limit": self.limit,
            "seed": self.seed,
            "steps": self.steps,
            "constraint": self.constraint.as_dict(),
        }


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


def evaluate(
    classifier: Classifier, dataset: Dataset, study: Study, folder: Path, *, progress: Progress = silent
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each finished attack and eps, in order; all intermediate results stay in `folder`.

    A row is one attack x penalty x eps x detector: the columns of `reference.compare`, and success, mean_confidence and
    linf over all attacked images. Memory grows with the batch and the pooled features, not with the images of the cohort.
    Raises InputError before any work when model, data set, study and folder do not fit together.
    """
    _check(classifier, dataset, study)
    pairs = [(eps, attack) for eps in study.eps for attack in study.attacks]
    share = shares(progress, {"clean": 0.05, **{str(place): 0.95 / len(pairs) for place in range(len(pairs))}})
    clean, carried = _begin(classifier, dataset, study, folder, share("clean"))
    for place, (eps, name) in enumerate(pairs):
        finished = folder / "rows" / f"{name} {_n(eps)} {' '.join(study.penalties)}.json"
        if not finished.is_file():
            rows = _judge(classifier, dataset, study, clean, carried, folder, name, eps, share(str(place)))
            write_text(finished, json.dumps(rows, indent=1))
        share(str(place))(1, f"{name} at {eps * 255:g}/255")
        yield read_rows(finished)


def one_cohort(
    classifier: Classifier, dataset: Dataset, study: Study, folder: Path, *, progress: Progress = silent
) -> Reference:
    """The cohort of the study's first attack and eps, as the Cohort page shows it; kept in `folder` as by `evaluate`."""
    _check(classifier, dataset, study)
    share = shares(progress, {"clean": 0.2, "cells": 0.8})
    clean, carried = _begin(classifier, dataset, study, folder, share("clean"))
    cells = share("cells")
    return reference_of(classifier, dataset, study, clean, carried, folder, study.attacks[0], study.eps[0], cells)[0]


def make_recipe(classifier: Classifier, dataset: Dataset, study: Study) -> dict[str, Any]:
    """All that a cell depends on, but which attack, penalty and eps it is of."""
    packages = ("torch", "monai", "scikit-learn", "numpy")
    return {
        "dataset": {"name": dataset.name, "sha256": _digest(dataset)},
        "model": {"name": classifier.name, "sha256": classifier.digest},
        "study": study.as_dict(),
        "attacks": {name: attack.as_dict() for name, attack in ATTACKS.items()},
        "versions": {"hfcviz": __version__} | {name: version(name) for name in packages},
    }


def _begin(
    classifier: Classifier, dataset: Dataset, study: Study, folder: Path, progress: Progress
) -> tuple[Clean, FittedHFC | None]:
    """What every cell needs, from a folder that belongs to this study."""
    claim(folder, make_recipe(classifier, dataset, study))
    clean = kept(folder, "clean", lambda: _clean(classifier, dataset, study, progress), _to_arrays, _from_arrays)
    fits = "HFC" in study.penalties
    return clean, study.constraint.fit(clean.train, clean.train_labels, seed=study.seed) if fits else None


def _judge(
    classifier: Classifier,
    dataset: Dataset,
    study: Study,
    clean: Clean,
    carried: FittedHFC | None,
    folder: Path,
    name: str,
    eps: float,
    progress: Progress,
) -> list[dict[str, Any]]:
    cohort, test = reference_of(classifier, dataset, study, clean, carried, folder, name, eps, progress)
    labels = {"attack": "none", "hidden": "HFC"}
    about = {
        role: {
            **_share(cohort.cohort[role].predicted == cohort.targets),
            "mean_confidence": float(_chance(cohort.cohort[role], cohort.targets).mean()),
            "linf_255": float(test[role].max() * 255),
            "attacked": len(cohort.ids),
        }
        for role in labels
        if role in cohort.cohort
    }
    head = {"dataset": dataset.name, "model": classifier.name, "attack": name}
    return [
        head
        | {"penalty": labels[row["role"]], "eps_255": round(eps * 255, 6), "steps": study.attack(name, eps).steps}
        | {key: value for key, value in row.items() if key not in ("role", "layers")}
        | about[row["role"]]
        | {"layers": row["layers"]}
        for row in compare(cohort)
        if labels[row["role"]] in study.penalties
    ]


def reference_of(
    classifier: Classifier,
    dataset: Dataset,
    study: Study,
    clean: Clean,
    carried: FittedHFC | None,
    folder: Path,
    name: str,
    eps: float,
    progress: Progress = silent,
) -> tuple[Reference, dict[str, np.ndarray]]:
    """The cohort of one attack and eps, its detectors trained on its plain version, and {role: L-inf (N,)}."""
    test, attack = dataset.splits["test"], study.attack(name, eps)
    targets, seeds = runner_up(clean.chosen.logits), scan_seeds(study.seed, len(clean.rows))
    roles: dict[str, FittedHFC | None] = {"attack": None} | ({"hidden": carried} if carried else {})
    share = shares(progress, {"noise": 0.1, "attack": 0.3, "hidden": 0.5, "detectors": 0.1})

    def cell(what: str, role: str, penalty: FittedHFC | None) -> tuple[Activations, np.ndarray]:
        def made() -> tuple[Activations, np.ndarray]:
            parts, sizes = [], []
            for start in range(0, len(clean.rows), BATCH):
                share(role)(start / len(clean.rows), f"{what}, image {start} of {len(clean.rows)}")
                few = slice(start, start + BATCH)
                x = torch.from_numpy(test.images(clean.rows[few]))
                if role == "noise":
                    changed = noisy(x, eps, seeds[few])
                else:
                    aim = torch.from_numpy(targets[few])

                    def heard(fraction: float, step: str, start: int = start, count: int = len(x)) -> None:
                        done = (start + fraction * count) / len(clean.rows)
                        share(role)(done, f"{what}, image {start} of {len(clean.rows)}, {step}")

                    changed = run(attack, classifier, x, aim, penalty=penalty, seeds=seeds[few], progress=heard)
                passes = 0 if clean.chosen.dropout is None else DROPOUT_PASSES
                parts.append(extract(classifier, changed, dropout_passes=passes, seed=study.seed))
                sizes.append((changed - x).flatten(1).abs().amax(1).numpy())
            return concatenate(parts), np.concatenate(sizes)

        return kept(
            folder,
            what,
            made,
            lambda one: (one[0].to_arrays("activations") | {"linf": one[1]}, {}),
            lambda arrays, about: (Activations.from_arrays(arrays, "activations"), arrays["linf"]),
        )

    cells = {"noise": cell(f"noise {_n(eps)}", "noise", None)}
    for role, penalty in roles.items():
        cells[role] = cell(f"{name} {'none' if penalty is None else 'HFC'} {_n(eps)}", role, penalty)
    share("detectors")(0, f"detectors on {name}")
    trains = np.zeros(len(clean.rows), dtype=bool)
    # By patient, where names tell of them: a patient's images must not train and judge.
    patients = np.array(patients_of([test.ids[row] for row in clean.rows]))
    for who in np.random.default_rng(study.seed).permutation(np.unique(patients)):
        if trains.sum() < round(TRAINING_SHARE * len(trains)):
            trains[patients == who] = True
    cohort = {"clean": clean.chosen} | {role: activations for role, (activations, _) in cells.items()}
    recipe = {"seed": study.seed, "attack_name": name, "attack": attack.as_dict(), **clean.counts}
    ids = tuple(test.ids[row] for row in clean.rows)
    labels = test.y[clean.rows]
    reference = Reference(
        clean.train, clean.train_labels, clean.calibration, cohort, ids, labels, targets, trains, recipe
    )
    return reference, {role: linf for role, (_, linf) in cells.items()}


def _check(classifier: Classifier, dataset: Dataset, study: Study) -> None:
    for what, given, known in (("attack", study.attacks, ATTACKS), ("penalty", study.penalties, PENALTIES)):
        wrong = [name for name in given if name not in known]
        if wrong or not given:
            raise InputError(f"An {what} must be one of {', '.join(known)}; got {', '.join(wrong) or 'none'}.")
    if not study.eps or not all(0 < eps <= 1 for eps in study.eps):
        raise InputError(
            f"eps must be above 0 and at most 255/255; got {', '.join(f'{e * 255:g}' for e in study.eps)}."
        )
    if study.limit is not None and study.limit < LEAST:
        raise InputError(
            f"limit must be at least {LEAST} images, for detectors to be trained and judged; got {study.limit}."
        )
    missing = [part for part in ("train", "val", "test") if part not in dataset.splits]
    if missing:
        raise InputError(f"{dataset.name} must have the parts train, val and test; it lacks {', '.join(missing)}.")
    named = [name for name in dataset.class_names if not name.startswith("class ")]
    if len(dataset.class_names) != len(classifier.class_names) or (
        named and dataset.class_names != classifier.class_names
    ):
        raise InputError(
            f"The model {classifier.name} must know the classes of {dataset.name} ({', '.join(dataset.class_names)}), but knows "
            f"{', '.join(classifier.class_names)}: choose another model or set."
        )
    for part, split in dataset.splits.items():
        counts = np.bincount(split.y, minlength=len(dataset.class_names))
        if counts.min() < 1 and part != "test":
            name = dataset.class_names[int(counts.argmin())]
            raise InputError(
                f"The {part} part of {dataset.name} must hold images of every class; it has none of {name}."
            )
    fewest, neighbours = int(np.bincount(dataset.splits["train"].y).min()), LID().k
    if fewest < 2 or len(dataset.splits["train"]) <= neighbours:
        raise InputError(
            f"The train part of {dataset.name} must hold 2 images of each class and more than {neighbours} in all (LID's k); it "
            f"holds {len(dataset.splits['train'])}: add images."
        )
    if "HFC" in study.penalties and fewest <= study.constraint.components:
        raise InputError(
            f"K must be smaller than the training images of each class; got {study.constraint.components} for {fewest}: lower K."
        )


def _clean(classifier: Classifier, dataset: Dataset, study: Study, progress: Progress) -> Clean:
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
    thinned = any(isinstance(module, kinds) and module.p > 0 for module in classifier.net.modules())
    passes = DROPOUT_PASSES if thinned else 0
    share = shares(progress, {"train": 0.6, "val": 0.15, "test": 0.25})

    def features(part: str, passes: int) -> Activations:
        return concatenate(list(_extracted(classifier, dataset.splits[part], passes, study.seed, share(part))))

    train, calibration, test = features("train", 0), features("val", passes), features("test", passes)
    labels = dataset.splits["test"].y
    right = np.flatnonzero(test.predicted == labels)
    counts = {"test_images": len(labels), "correct": len(right)}
    if len(right) < LEAST:
        raise InputError(
            f"An evaluation needs at least {LEAST} correctly classified test images; {classifier.name} gets {len(right)} of "
            f"{len(labels)} right: check model and data set."
        )
    # By chance and not the first ones: sets are often sorted by class.
    rows = np.sort(np.random.default_rng(study.seed).permutation(right)[: study.limit])
    return Clean(train, dataset.splits["train"].y, calibration, test.take(rows), rows, counts)


def _extracted(
    classifier: Classifier, split: Split, passes: int, seed: int, progress: Progress
) -> Iterator[Activations]:
    for start in range(0, len(split), 2 * BATCH):
        progress(start / len(split), "clean features")
        x = split.images(slice(start, start + 2 * BATCH))
        yield extract(classifier, x, dropout_passes=passes, seed=seed)


def _to_arrays(clean: Clean) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays = {"train_labels": clean.train_labels, "rows": clean.rows}
    for name in ("train", "calibration", "chosen"):
        arrays |= getattr(clean, name).to_arrays(name)
    return arrays, {"counts": clean.counts}


def _from_arrays(arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Clean:
    parts = {name: Activations.from_arrays(arrays, name) for name in ("train", "calibration", "chosen")}
    return Clean(**parts, train_labels=arrays["train_labels"], rows=arrays["rows"], counts=about["counts"])


def all_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of all that is finished in a folder, whichever commands asked for it, each once."""
    found = [row for path in sorted((folder / "rows").glob("*.json")) for row in read_rows(path)]
    keys = ("eps_255", "attack", "detector", "penalty")
    once = {tuple(row[key] for key in keys): row for row in found}
    orders = [list(collection) for collection in (ATTACKS, DETECTORS, PENALTIES)]
    return [
        once[key]
        for key in sorted(
            once, key=lambda key: (key[0], *(order.index(n) for order, n in zip(orders, key[1:], strict=True)))
        )
    ]


def _n(eps: float) -> str:
    return f"{eps * 255:.10g}"


def _share(hits: np.ndarray) -> dict[str, float]:
    low, high = bootstrap_interval(lambda values: float(values.mean()), hits)
    return {"success": float(hits.mean()), "success_low": low, "success_high": high}


def _chance(a: Activations, targets: np.ndarray) -> np.ndarray:
    return a.probabilities[np.arange(len(targets)), targets]


def _digest(dataset: Dataset) -> str:
    return digest([[part, split.x, split.y, list(split.ids)] for part, split in sorted(dataset.splits.items())])
