"""Puts model, attack, constraint and detectors together; the app, the command line and the scripts call this module."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hfcviz.activations import Activations, extract
from hfcviz.attacks import ATTACKS, Attack, run, runner_up
from hfcviz.metrics import percentile_rank
from hfcviz.models import Classifier
from hfcviz.penalties import HFC, PENALTIES, FittedHFC
from hfcviz.reference import DROPOUT_PASSES, Reference, noisy, shares
from hfcviz.settings import InputError, Progress, silent
from hfcviz.store import Store, digest, load_arrays, save_arrays
from hfcviz.traces import Recorder, Trace


@dataclass(frozen=True)
class Plan:
    """All choices of one run; with the scan and the weights it suffices to make the result again."""

    attack_name: str = "PGD"
    attack: Attack = ATTACKS["PGD"]
    penalty_name: str = "HFC"
    penalty: HFC | None = PENALTIES["HFC"]
    target: str | None = None
    """Class that the attack aims at; None takes the most likely class but the predicted one."""
    seed: int = 0

    def label(self, role: str) -> str:
        """What people call a role under this plan: "PGD", "PGD+HFC"."""
        names = {"attack": self.attack_name, "hidden": f"{self.attack_name}+{self.penalty_name}"}
        return names.get(role, role)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for recipes."""
        penalty = self.penalty.as_dict() if self.penalty else None
        return {
            "attack_name": self.attack_name,
            "attack": self.attack.as_dict() | {"step_size": self.attack.step},
            "penalty_name": self.penalty_name,
            "penalty": penalty,
            "target": self.target,
            "seed": self.seed,
        }


@dataclass(frozen=True, eq=False)
class Outcome:
    """One scan in V versions: row v of every array is the version roles[v] ("clean", "noise", "attack", "hidden")."""

    roles: tuple[str, ...]
    x: np.ndarray
    """(V, C, *spatial) in [0, 1]."""
    activations: Activations
    target: int
    traces: dict[str, Trace]
    scores: dict[str, np.ndarray]
    """{detector: (V,)}, higher is more suspicious."""
    ranks: dict[str, np.ndarray]
    """{detector: (V,)} percentile of the score among clean calibration scans."""
    thresholds: dict[str, float]
    layer_scores: dict[str, np.ndarray]
    """{detector: (L, V)}."""
    layer_thresholds: dict[str, np.ndarray]
    """{detector: (L,)}."""
    depth_quantiles: np.ndarray
    """(L, 3) the 5, 50 and 95 % quantiles of the mixture score (negative log-likelihood) of clean scans in each
    layer.
    """
    recipe: dict[str, Any]

    def row(self, role: str) -> int:
        """The row of a role."""
        return self.roles.index(role)

    def caught(self, detector: str) -> np.ndarray:
        """(V,) verdicts: the score lies above the threshold."""
        return self.scores[detector] > self.thresholds[detector]

    @property
    def linf(self) -> np.ndarray:
        """(V,) largest change of a pixel against the clean version."""
        return np.abs(self.x - self.x[:1]).reshape(len(self.x), -1).max(1)


def run_experiment(
    classifier: Classifier,
    reference: Reference,
    x: np.ndarray,
    plan: Plan,
    *,
    scan_name: str = "scan",
    store: Store | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Attack one scan, x (C, *spatial) in [0, 1], with and without the penalty of the plan, and judge all versions.

    Both attacks share eps, step size, steps and seed. A result that the store holds already is read from it. Raises
    InputError when the scan or the cohort does not fit the network, or the target is what the network predicts already.
    """
    if reference.recipe.get("weights") != classifier.digest:  # else every verdict would be wrong
        raise InputError(
            f"The cohort must come from the weights of {classifier.name}, but does not: make reference.npz again."
        )
    recipe = make_recipe(classifier, reference, x, plan, scan_name)
    key = digest(recipe)
    if store is not None and (found := store.get(key)) is not None:
        return _from_arrays(*found)
    clean = torch.from_numpy(np.asarray(x, dtype=np.float32))[None]
    target = choose_target(extract(classifier, clean).logits[0], classifier.class_names, plan.target)
    share = shares(progress, {"constraint": 0.1, "detectors": 0.25, "attack": 0.25, "hidden": 0.3, "judge": 0.1})
    penalties: dict[str, FittedHFC | None] = {"attack": None}
    if plan.penalty is not None:
        # Before the slower detectors, since it is here that unknown layers and too many components are refused.
        penalties["hidden"] = reference.constraint(plan.penalty, progress=share("constraint"))
    detectors = reference.detectors(progress=share("detectors"))
    versions, traces = [clean, noisy(clean, plan.attack.eps, [plan.seed])], {}
    for role, penalty in penalties.items():
        aim = torch.tensor([target])
        recorder = Recorder(aim)
        step = share(role, f"{plan.label(role)}: ")
        versions.append(
            run(plan.attack, classifier, clean, aim, penalty=penalty, seeds=plan.seed, observe=recorder, progress=step)
        )
        traces[role] = recorder.trace()
    stacked = torch.cat(versions)
    judge = share("judge")
    judge(0, "detectors judge")
    passes = DROPOUT_PASSES if any("BU" in name for name in detectors) else 0
    # The masks of the calibration scans, not the attack's seed: else BU would compare different thinned networks.
    activations = extract(classifier, stacked, dropout_passes=passes, seed=reference.recipe["seed"])
    layer_scores = {name: one.layer_scores(activations) for name, one in detectors.items()}
    layers = list(activations.layers)
    calibration = detectors["GMM"].layer_scores(reference.calibration)
    scores = {
        name: one.combine(by) if (by := layer_scores[name]) else one.score(activations)
        for name, one in detectors.items()
    }
    outcome = Outcome(
        roles=("clean", "noise", *penalties),
        x=stacked.numpy(),
        activations=activations,
        target=target,
        traces=traces,
        scores=scores,
        ranks={name: percentile_rank(scores[name], one.calibration_scores) for name, one in detectors.items()},
        thresholds={name: float(one.threshold) for name, one in detectors.items()},
        layer_scores={name: np.stack([by[layer] for layer in layers]) for name, by in layer_scores.items() if by},
        layer_thresholds={
            name: np.array([one.layer_thresholds[layer] for layer in layers])
            for name, one in detectors.items()
            if one.layer_thresholds
        },
        depth_quantiles=np.stack([np.quantile(calibration[layer], (0.05, 0.5, 0.95)) for layer in layers]),
        recipe=recipe,
    )
    if store is not None:
        store.put(key, *_to_arrays(outcome))
    judge(1, "done")
    return outcome


def choose_target(logits: np.ndarray, class_names: tuple[str, ...], wanted: str | None) -> int:
    """The class to aim at, from logits (K,); InputError when it is unknown or predicted already."""
    predicted = int(logits.argmax())
    if wanted is None:
        return int(runner_up(logits[None])[0])
    others = ", ".join(name for index, name in enumerate(class_names) if index != predicted)
    if wanted not in class_names:
        raise InputError(f"target must be one of {', '.join(class_names)}; got {wanted!r}.")
    if class_names.index(wanted) == predicted:
        raise InputError(f"target must differ from what the network predicts already ({wanted}); choose {others}.")
    return class_names.index(wanted)


def make_recipe(
    classifier: Classifier, reference: Reference, x: np.ndarray, plan: Plan, scan_name: str
) -> dict[str, Any]:
    """All that a result depends on, as plain values."""
    packages = ("hfcviz", "torch", "monai", "scikit-learn", "numpy")
    return {
        "scan": {"name": scan_name, "sha256": digest(np.ascontiguousarray(x, dtype=np.float32))},
        "model": {"name": classifier.name, "sha256": classifier.digest},
        "detectors": {"sha256": reference.digest, "trained_on": reference.recipe},
        "plan": plan.as_dict(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in packages},
    }


def report(outcome: Outcome, class_names: tuple[str, ...]) -> dict[str, Any]:
    """What report.json says of a run; "adversarial" is the last version, the one with the penalty if there is one."""
    probabilities, last = outcome.activations.probabilities, len(outcome.roles) - 1

    def verdict(row: int) -> dict[str, Any]:
        best = int(probabilities[row].argmax())
        chances = {name: float(probabilities[row, index]) for index, name in enumerate(class_names)}
        return {"predicted": class_names[best], "confidence": float(probabilities[row, best]), "probabilities": chances}

    return {
        "purpose": "research and teaching; not for clinical use",
        "clean": verdict(0),
        "adversarial": verdict(last),
        "target": class_names[outcome.target],
        "success": bool(probabilities[last].argmax() == outcome.target),
        "linf": float(outcome.linf[last]),
        "linf_255": float(outcome.linf[last] * 255),
        "detectors": {
            name: {
                "clean": float(values[0]),
                "adversarial": float(values[last]),
                "threshold": outcome.thresholds[name],
                "caught": bool(outcome.caught(name)[last]),
            }
            for name, values in outcome.scores.items()
        },
        "recipe": outcome.recipe,
    }


def save_outcome(outcome: Outcome, path: Path) -> None:
    """Write an outcome as one .npz."""
    save_arrays(path, *_to_arrays(outcome))


def load_outcome(path: Path) -> Outcome:
    """Read what save_outcome wrote; InputError when the file is missing or damaged."""
    arrays, about = load_arrays(path)
    try:
        return _from_arrays(arrays, about)
    except KeyError as error:
        raise InputError(f"{Path(path).name} holds no outcome ({error} is missing); make it again.") from error


def _to_arrays(outcome: Outcome) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays = {"x": outcome.x, "depth_quantiles": outcome.depth_quantiles}
    arrays |= outcome.activations.to_arrays("activations")
    for name in outcome.scores:
        arrays |= {f"scores/{name}": outcome.scores[name], f"ranks/{name}": outcome.ranks[name]}
    for name in outcome.layer_scores:
        arrays[f"layer_scores/{name}"] = outcome.layer_scores[name]
        arrays[f"layer_thresholds/{name}"] = outcome.layer_thresholds[name]
    for role, trace in outcome.traces.items():
        arrays |= trace.to_arrays(f"trace/{role}")
    about = {
        "roles": list(outcome.roles),
        "target": outcome.target,
        "thresholds": outcome.thresholds,
        "recipe": outcome.recipe,
    }
    return arrays, about


def _from_arrays(arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Outcome:
    def those(kind: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(f"{kind}/"): value for name, value in arrays.items() if name.startswith(f"{kind}/")}

    return Outcome(
        roles=tuple(about["roles"]),
        x=arrays["x"],
        activations=Activations.from_arrays(arrays, "activations"),
        target=about["target"],
        traces={
            role: Trace.from_arrays(arrays, f"trace/{role}")
            for role in about["roles"]
            if f"trace/{role}/linf" in arrays
        },
        scores=those("scores"),
        ranks=those("ranks"),
        thresholds=about["thresholds"],
        layer_scores=those("layer_scores"),
        layer_thresholds=those("layer_thresholds"),
        depth_quantiles=arrays["depth_quantiles"],
        recipe=about["recipe"],
    )


def _version(package: str) -> str:
    from hfcviz import __version__

    return __version__ if package == "hfcviz" else version(package)
