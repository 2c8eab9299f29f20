"""The cohort that a single scan is compared with: clean training features, and many test scans in every version.

It is what detectors are trained on and what the scatter shows. Detectors know the plain attack and noise; the
constrained attack is unseen by them, as it would be in use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hfcviz.activations import Activations, concatenate, extract
from hfcviz.attacks import Attack, run, runner_up, uniform_noise
from hfcviz.classifiers import Classifier
from hfcviz.datasets import Dataset
from hfcviz.detection import Fitted, Training, fit_detectors
from hfcviz.detectors import DETECTORS
from hfcviz.penalties import HFC, FittedHFC
from hfcviz.settings import InputError, Progress, silent
from hfcviz.store import digest, load_arrays, save_arrays

DROPOUT_PASSES = 50
"""Forward passes for the BU detector, as in Feinman et al. 2017."""
TRAINING_SHARE = 0.7
"""Share of the cohort that trains the detectors; the rest judges them."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Features of the classifier's clean training and validation images, and of N test scans in every version.

    train: (M, ...) with train_labels (M,); calibration: clean validation images; cohort: {role: N rows}, row i the
    same scan in every role; ids, labels, targets: (N,); trains: (N,) bool, the scans whose versions the detectors are
    trained on.
    """

    train: Activations
    train_labels: np.ndarray
    calibration: Activations
    cohort: dict[str, Activations]
    ids: tuple[str, ...]
    labels: np.ndarray
    targets: np.ndarray
    trains: np.ndarray
    recipe: dict[str, Any]
    linf: dict[str, np.ndarray] = field(default_factory=dict)
    """{role: (N,)} largest change of a pixel, where it was kept."""
    _fitted: dict[Any, Any] = field(default_factory=dict, repr=False, init=False)

    @property
    def digest(self) -> str:
        """Names everything that a verdict depends on: all that is saved."""
        if "digest" not in self._fitted:
            self._fitted["digest"] = digest(*_to_arrays(self))
        return self._fitted["digest"]

    def part(self, role: str, *, trains: bool) -> Activations:
        """The detectors' training part of a role, or the part that judges them."""
        return self.cohort[role].take(np.flatnonzero(self.trains == trains))

    def detectors(self, names: tuple[str, ...] = tuple(DETECTORS), *, progress: Progress = silent) -> dict[str, Fitted]:
        """The detectors, fitted once."""
        if names not in self._fitted:
            negatives = concatenate([self.part(role, trains=True) for role in ("clean", "noise")])
            training = Training(
                self.train, self.train_labels, negatives, self.part("attack", trains=True), self.calibration
            )
            self._fitted[names] = fit_detectors(training, names, seed=self.recipe["seed"], progress=progress)
        return self._fitted[names]

    @property
    def knows_detectors(self) -> bool:
        """Whether `detectors` has nothing left to fit."""
        return tuple(DETECTORS) in self._fitted

    def knowing(self, fitted: FittedHFC) -> Reference:
        """The same cohort, which need not fit this constraint any more."""
        self._fitted[fitted.settings.replace(weight=1.0)] = fitted
        return self

    def constraint(self, settings: HFC, *, progress: Progress = silent) -> FittedHFC:
        """The constraint fitted on the clean training images, once for each setting of its mixtures."""
        mixtures = settings.replace(weight=1.0)  # the weight is no part of them
        if mixtures not in self._fitted:
            seed = self.recipe["seed"]
            self._fitted[mixtures] = mixtures.fit(self.train, self.train_labels, seed=seed, progress=progress)
        return replace(self._fitted[mixtures], settings=settings)


def like_cohort(attack: Attack, reference: Reference) -> Attack:
    """The attack at the eps and number of steps at which the cohort was attacked and its detectors trained."""
    known = reference.recipe["attack"]
    return attack.replace(eps=known["eps"], steps=1 if attack.steps == 1 else known["steps"])


def build_reference(
    classifier: Classifier,
    dataset: Dataset,
    attack_name: str,
    attack: Attack,
    penalty: HFC,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Reference:
    """Attack every correctly classified test scan with and without the penalty, at equal eps, step size and steps."""
    share = shares(progress, {"features": 0.1, "constraint": 0.05, "attack": 0.35, "hidden": 0.5})
    passes = passes_of(classifier)
    train = extract(classifier, dataset.splits["train"].images(slice(None)), progress=share("features"))
    calibration = extract(classifier, dataset.splits["val"].images(slice(None)), dropout_passes=passes, seed=seed)
    test = dataset.splits["test"]
    clean = extract(classifier, test.images(slice(None)), dropout_passes=passes, seed=seed)
    right = np.flatnonzero(clean.predicted == test.y)
    if len(right) < 20:
        raise InputError(
            f"A cohort needs at least 20 correctly classified test scans; got {len(right)}. Check model and data set."
        )
    x = torch.from_numpy(test.images(right))
    targets = runner_up(clean.logits[right])
    seeds = scan_seeds(seed, len(right))
    constraint = penalty.fit(train, dataset.splits["train"].y, seed=seed, progress=share("constraint"))
    versions = {"noise": noisy(x, attack.eps, seeds)}
    for role, carried in {"attack": None, "hidden": constraint}.items():
        aim = torch.from_numpy(targets)
        versions[role] = run(attack, classifier, x, aim, penalty=carried, seeds=seeds, progress=share(role))
    cohort = {"clean": clean.take(right)} | {
        role: extract(classifier, images, dropout_passes=passes, seed=seed) for role, images in versions.items()
    }
    trains = np.zeros(len(right), dtype=bool)
    order = np.random.default_rng(seed).permutation(len(right))
    trains[order[: round(TRAINING_SHARE * len(right))]] = True
    recipe = {
        "dataset": dataset.name,
        "model": classifier.name,
        "weights": classifier.digest,
        "attack_name": attack_name,
        "attack": attack.as_dict() | {"step_size": attack.step},
        "penalty": penalty.as_dict(),
        "seed": seed,
        "test_scans": len(test.y),
        "correct": len(right),
    }
    ids = tuple(test.ids[index] for index in right)
    linf = {role: (images - x).flatten(1).abs().amax(1).numpy() for role, images in versions.items()}
    return Reference(
        train, dataset.splits["train"].y, calibration, cohort, ids, test.y[right], targets, trains, recipe, linf
    )


def passes_of(classifier: Classifier) -> int:
    """Dropout passes that a network is worth: without dropout there is no BU."""
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
    thinned = any(isinstance(module, kinds) and module.p > 0 for module in classifier.net.modules())
    return DROPOUT_PASSES if thinned else 0


def noisy(x: torch.Tensor, eps: float, seeds: list[int]) -> torch.Tensor:
    """x with uniform noise of the attack's own L-inf size: the control that a detector must not flag."""
    return (x + uniform_noise(x.shape[1:], eps, seeds)).clamp(0, 1)


def scan_seeds(seed: int, count: int) -> list[int]:
    """One seed a scan, so that a scan's random start does not depend on which others are attacked."""
    return [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(count)]


def training_part(patients: np.ndarray, seed: int) -> np.ndarray:
    """(N,) bool: the scans that train the detectors, whole patients (N,) at a time: else one would train and judge."""
    trains = np.zeros(len(patients), dtype=bool)
    for who in np.random.default_rng(seed).permutation(np.unique(patients)):
        if trains.sum() < round(TRAINING_SHARE * len(trains)):
            trains[patients == who] = True
    return trains


def save_reference(reference: Reference, path: Path, *, half: bool = False) -> None:
    """Write a reference as one .npz: numbers only, no images. half: features and logits with the values that half precision can hold."""
    arrays, about = _to_arrays(reference)
    if half:
        features = {name for name, a in arrays.items() if a.dtype == np.float32 and not name.startswith("linf-")}
        arrays = {name: a.astype(np.float16) if name in features else a for name, a in arrays.items()}
    save_arrays(path, arrays, about)


def _to_arrays(reference: Reference) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays = {
        "train_labels": reference.train_labels,
        "labels": reference.labels,
        "targets": reference.targets,
        "trains": reference.trains,
    }
    arrays |= reference.train.to_arrays("train") | reference.calibration.to_arrays("calibration")
    for role, activations in reference.cohort.items():
        arrays |= activations.to_arrays(f"cohort-{role}")
    arrays |= {f"linf-{role}": values for role, values in reference.linf.items()}
    return arrays, {"ids": list(reference.ids), "roles": list(reference.cohort), "recipe": reference.recipe}


def load_reference(path: Path) -> Reference:
    """Read what save_reference wrote; InputError when the file is missing or damaged."""
    arrays, about = load_arrays(path)
    arrays = {name: a.astype(np.float32) if a.dtype == np.float16 else a for name, a in arrays.items()}
    try:
        return Reference(
            train=Activations.from_arrays(arrays, "train"),
            train_labels=arrays["train_labels"],
            calibration=Activations.from_arrays(arrays, "calibration"),
            cohort={role: Activations.from_arrays(arrays, f"cohort-{role}") for role in about["roles"]},
            ids=tuple(about["ids"]),
            labels=arrays["labels"],
            targets=arrays["targets"],
            trains=arrays["trains"],
            recipe=about["recipe"],
            linf={role: arrays[f"linf-{role}"] for role in about["roles"] if f"linf-{role}" in arrays},
        )
    except KeyError as error:
        raise InputError(f"{Path(path).name} holds no cohort ({error} is missing); make it again.") from error


def shares(progress: Progress, weights: dict[str, float]) -> Callable[..., Progress]:
    """Sub-progress: share(part, prefix) maps that part's 0..1 onto its stretch of the whole; weights add up to 1."""
    starts = dict(zip(weights, np.cumsum([0, *weights.values()]), strict=False))

    def share(part: str, prefix: str = "") -> Progress:
        return lambda fraction, what: progress(min(float(starts[part] + weights[part] * fraction), 1.0), prefix + what)

    return share
