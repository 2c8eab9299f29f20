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
from hfcviz.datasets import Dataset
from hfcviz.detection import Fitted, Training, fit_detectors
from hfcviz.detectors import DETECTORS
from hfcviz.metrics import bootstrap_interval, roc, two_sided
from hfcviz.models import Classifier
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

    def constraint(self, settings: HFC, *, progress: Progress = silent) -> FittedHFC:
        """The constraint fitted on the clean training images, once for each setting of its mixtures."""
        mixtures = settings.replace(weight=1.0)  # the weight is no part of them
        if mixtures not in self._fitted:
            seed = self.recipe["seed"]
            self._fitted[mixtures] = mixtures.fit(self.train, self.train_labels, seed=seed, progress=progress)
        return replace(self._fitted[mixtures], settings=settings)


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
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
    thinned = any(isinstance(module, kinds) and module.p > 0 for module in classifier.net.modules())
    passes = DROPOUT_PASSES if thinned else 0  # without dropout there is no BU
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
    return Reference(train, dataset.splits["train"].y, calibration, cohort, ids, test.y[right], targets, trains, recipe)


def noisy(x: torch.Tensor, eps: float, seeds: list[int]) -> torch.Tensor:
    """x with uniform noise of the attack's own L-inf size: the control that a detector must not flag."""
    return (x + uniform_noise(x.shape[1:], eps, seeds)).clamp(0, 1)


def scan_seeds(seed: int, count: int) -> list[int]:
    """One seed a scan, so that a scan's random start does not depend on which others are attacked."""
    return [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(count)]


def compare(reference: Reference, *, progress: Progress = silent) -> list[dict[str, Any]]:
    """One row for each detector and attack role, on the scans that the detectors never saw.

    Negatives are clean and noise; columns: detector, role, auc, auc_low, auc_high, two_sided, tpr90, tpr90_low,
    tpr90_high, n (adversarial), negatives, and layers {layer: auc of that layer alone}. Intervals are 95 % bootstrap
    intervals.
    """
    rows = []
    parts = {role: reference.part(role, trains=False) for role in reference.cohort}
    for name, detector in reference.detectors(progress=progress).items():
        by_layer = {role: detector.layer_scores(part) for role, part in parts.items()}
        scores = {
            role: detector.combine(by_layer[role]) if by_layer[role] else detector.score(parts[role]) for role in parts
        }
        negatives = np.concatenate([scores["clean"], scores["noise"]])
        for role in [role for role in ("attack", "hidden") if role in parts]:
            curve = roc(negatives, scores[role])
            auc = bootstrap_interval(lambda n, p: roc(n, p).auc, negatives, scores[role])
            tpr = bootstrap_interval(lambda n, p: roc(n, p).tpr_at(0.1), negatives, scores[role])
            layers = {
                layer: roc(np.concatenate([by_layer["clean"][layer], by_layer["noise"][layer]]), own).auc
                for layer, own in by_layer[role].items()
            }
            rows.append(
                {"detector": name, "role": role, "auc": curve.auc, "auc_low": auc[0], "auc_high": auc[1]}
                | {"two_sided": two_sided(curve.auc)}
                | {"tpr90": curve.tpr_at(0.1), "tpr90_low": tpr[0], "tpr90_high": tpr[1]}
                | {"n": len(scores[role]), "negatives": len(negatives), "layers": layers}
            )
    return rows


def success(reference: Reference, role: str) -> float:
    """Share of all cohort scans that the network puts into the attack's target class."""
    return float((reference.cohort[role].predicted == reference.targets).mean())


def confidence(reference: Reference, role: str) -> float:
    """Mean probability of the target class over all cohort scans."""
    chances = reference.cohort[role].probabilities
    return float(chances[np.arange(len(chances)), reference.targets].mean())


def save_reference(reference: Reference, path: Path) -> None:
    """Write a reference as one .npz: numbers only, no images."""
    save_arrays(path, *_to_arrays(reference))


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
    return arrays, {"ids": list(reference.ids), "roles": list(reference.cohort), "recipe": reference.recipe}


def load_reference(path: Path) -> Reference:
    """Read what save_reference wrote; InputError when the file is missing or damaged."""
    arrays, about = load_arrays(path)
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
        )
    except KeyError as error:
        raise InputError(f"{Path(path).name} holds no cohort ({error} is missing); make it again.") from error


def shares(progress: Progress, weights: dict[str, float]) -> Callable[..., Progress]:
    """Sub-progress: share(part, prefix) maps that part's 0..1 onto its stretch of the whole; weights add up to 1."""
    starts = dict(zip(weights, np.cumsum([0, *weights.values()]), strict=False))

    def share(part: str, prefix: str = "") -> Progress:
        return lambda fraction, what: progress(min(float(starts[part] + weights[part] * fraction), 1.0), prefix + what)

    return share
