"""The finished run of one scan: the plan it was made by, all that was found, its report, and its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hfcviz.activations import Activations
from hfcviz.attacks import ATTACKS, Attack
from hfcviz.penalties import HFC, PENALTIES
from hfcviz.settings import InputError
from hfcviz.store import digest, load_arrays, save_arrays
from hfcviz.traces import Trace

FORMAT = 2
"""Of what is stored of an outcome: 2 has what the film shows. A part of the key in the store, so that older ones are made again."""


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
    step_scores: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    """{role: {detector: (F,)}} at the steps of which the trace keeps a picture. Empty in old files."""
    step_depths: dict[str, np.ndarray] = field(default_factory=dict)
    """{role: (L, F)} the mixture score of each layer at those steps."""

    def row(self, role: str) -> int:
        """The row of a role."""
        return self.roles.index(role)

    def caught(self, detector: str) -> np.ndarray:
        """(V,) verdicts: the score lies above the threshold."""
        return self.scores[detector] > self.thresholds[detector]

    def in_clean_units(self, depths: np.ndarray) -> np.ndarray:
        """Mixture scores (L, ...) on the scale of the strip over depth: 0 is the clean median of a layer and 1 its 95 % quantile."""
        _, median, upper = self.depth_quantiles.T.reshape(3, -1, *[1] * (depths.ndim - 1))
        return (depths - median) / np.maximum(upper - median, 1e-12)

    @property
    def linf(self) -> np.ndarray:
        """(V,) largest change of a pixel against the clean version."""
        return np.abs(self.x - self.x[:1]).reshape(len(self.x), -1).max(1)


def role_labels(outcome: Outcome) -> dict[str, str]:
    """What people call each role: the attack's own name, "scan" for the clean version."""
    plan = outcome.recipe["plan"]
    return {
        "clean": "scan",
        "noise": "noise",
        "attack": plan["attack_name"],
        "hidden": f"{plan['attack_name']}+{plan['penalty_name']}",
    }


def attacked(outcome: Outcome) -> list[str]:
    """The roles that are attacks."""
    return [role for role in outcome.roles if role in ("attack", "hidden")]


def captions(outcome: Outcome, class_names: tuple[str, ...]) -> dict[str, str]:
    """What the network says of the scan and of each attacked version."""
    found = {}
    for role in ["clean", *attacked(outcome)]:
        row = outcome.activations.probabilities[outcome.row(role)]
        found[role] = f"{class_names[int(row.argmax())]}, {row.max():.1%}"
    return found


def report(outcome: Outcome, class_names: tuple[str, ...]) -> dict[str, Any]:
    """What report.json says of a run; "adversarial" is the last version, the one with the penalty if there is one.

    "digests" are of the pixels of each version, (C, *spatial) float32, so that a repeated run can be compared bit by bit.
    """
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
        "digests": {role: digest(np.ascontiguousarray(outcome.x[row])) for row, role in enumerate(outcome.roles)},
        "recipe": outcome.recipe,
    }


def save_outcome(outcome: Outcome, path: Path) -> None:
    """Write an outcome as one .npz."""
    save_arrays(path, *to_arrays(outcome))


def load_outcome(path: Path) -> Outcome:
    """Read what save_outcome wrote; InputError when the file is missing or damaged."""
    arrays, about = load_arrays(path)
    try:
        return from_arrays(arrays, about)
    except KeyError as error:
        raise InputError(f"{Path(path).name} holds no outcome ({error} is missing); make it again.") from error


def to_arrays(outcome: Outcome) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Named arrays and plain values to store."""
    arrays = {"x": outcome.x, "depth_quantiles": outcome.depth_quantiles}
    arrays |= outcome.activations.to_arrays("activations")
    for name in outcome.scores:
        arrays |= {f"scores/{name}": outcome.scores[name], f"ranks/{name}": outcome.ranks[name]}
    for name in outcome.layer_scores:
        arrays[f"layer_scores/{name}"] = outcome.layer_scores[name]
        arrays[f"layer_thresholds/{name}"] = outcome.layer_thresholds[name]
    for role, trace in outcome.traces.items():
        arrays |= trace.to_arrays(f"trace/{role}")
    for role, by in outcome.step_scores.items():
        arrays |= {f"step_scores/{role}/{name}": values for name, values in by.items()}
    arrays |= {f"step_depths/{role}": values for role, values in outcome.step_depths.items()}
    about = {
        "roles": list(outcome.roles),
        "target": outcome.target,
        "thresholds": outcome.thresholds,
        "recipe": outcome.recipe,
    }
    return arrays, about


def from_arrays(arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Outcome:
    """What to_arrays gave."""

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
        step_scores={role: by for role in about["roles"] if (by := those(f"step_scores/{role}"))},
        step_depths=those("step_depths"),
    )
