"""What is evaluated: model, data set, attacks, penalties and eps; whether they fit together; the recipe of all that."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hfcviz import __version__
from hfcviz.attacks import ATTACKS, Attack
from hfcviz.classifiers import Classifier
from hfcviz.datasets import Dataset
from hfcviz.detectors import LID
from hfcviz.penalties import HFC, PENALTIES
from hfcviz.settings import InputError

LEAST = 20
"""Fewest correctly classified test images on which detectors are trained and judged."""


@dataclass(frozen=True)
class Protocol:
    """Every attack with every penalty at every eps (fractions of the grey range)."""

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
class Task:
    """A protocol for one model on one data set, and the folder that keeps what is finished."""

    classifier: Classifier
    dataset: Dataset
    protocol: Protocol
    folder: Path

    @property
    def recipe(self) -> dict[str, Any]:
        """All that a cell depends on, but which attack, penalty and eps it is of."""
        packages = ("torch", "monai", "scikit-learn", "numpy")
        return {
            "dataset": {"name": self.dataset.name, "sha256": self.dataset.sha256},
            "model": {"name": self.classifier.name, "sha256": self.classifier.digest},
            "protocol": self.protocol.as_dict(),
            "attacks": {name: attack.as_dict() for name, attack in ATTACKS.items()},
            "versions": {"hfcviz": __version__} | {name: version(name) for name in packages},
        }

    def check(self) -> None:
        """InputError, before any work, when model, data set and protocol do not fit together."""
        check_protocol(self.protocol)
        check_dataset(self.dataset, self.classifier, self.protocol)


def check_protocol(protocol: Protocol) -> None:
    """InputError for what no data set and no model could make good."""
    for what, given, known in (("attack", protocol.attacks, ATTACKS), ("penalty", protocol.penalties, PENALTIES)):
        wrong = [name for name in given if name not in known]
        if wrong or not given:
            raise InputError(f"An {what} must be one of {', '.join(known)}; got {', '.join(wrong) or 'none'}.")
    if not protocol.eps or not all(0 < eps <= 1 for eps in protocol.eps):
        raise InputError(
            f"eps must be above 0 and at most 255/255; got {', '.join(f'{e * 255:g}' for e in protocol.eps)}."
        )
    if protocol.limit is not None and protocol.limit < LEAST:
        raise InputError(
            f"limit must be at least {LEAST} images, for detectors to be trained and judged; got {protocol.limit}."
        )


def check_dataset(dataset: Dataset, classifier: Classifier, protocol: Protocol) -> None:
    """InputError when a data set lacks what the protocol needs, or does not fit the network."""
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
    if "HFC" in protocol.penalties and fewest <= protocol.constraint.components:
        raise InputError(
            f"K must be smaller than the training images of each class; got {protocol.constraint.components} for {fewest}: lower K."
        )
