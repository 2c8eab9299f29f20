"""Theorem 1: which way the loss pulls the penultimate feature at each step of an attack, and which way the feature goes.

Yao et al., "Adversarial Medical Image with Hierarchical Feature Hiding", IEEE TMI 2024, arxiv.org/abs/2312.01679. Where we
differ: the paper proves it for the gradient with regard to the feature; we measure also where the feature goes, which pixels
and eps decide, and what HFC's own term adds to the gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hfcviz.attacks import Attack
from hfcviz.attacks import run as attacked
from hfcviz.penalties import HFC, FittedHFC
from hfcviz.protocol import Protocol, check_dataset
from hfcviz.reference import shares
from hfcviz.settings import InputError, Progress, Settings, setting
from hfcviz.store import Arrays
from hfcviz.studies.curves import Line, curves, line_of
from hfcviz.studies.findings import Row, mean_row
from hfcviz.studies.lab import Lab
from hfcviz.studies.pulls import cosines

if TYPE_CHECKING:
    import plotly.graph_objects as go

MEASURED = {
    "gradient": "gradient of the attack's loss",
    "with_term": "the same with HFC's term",
    "displacement": "displacement of the feature",
}
"""Cosines of the rows, in words: of a step's gradient with the first step's, the loss alone and with HFC's term on the
penultimate feature; of the way the feature has gone with steepest descent at the first step.
"""
ROLES = {"PGD": "attack", "PGD+HFC": "hidden"}
STRAIGHT = 0.995
"""Mean cosine from which a direction is said to be kept: what rounds to 1.00."""


@dataclass(frozen=True)
class Direction(Settings):
    """Which attack is followed; eps and steps are those of all studies."""

    loss: str = setting(
        "cross-entropy",
        "What the attack minimises: cross-entropy toward the target, or the margin of the best other class.",
        label="Loss",
        choices=("cross-entropy", "margin"),
    )
    weight: float = setting(
        1.0, "Weight of the constraint against the attack's own loss.", label="HFC weight", least=0, most=1000
    )
    components: int = setting(1, "Gaussians in each class's mixture (K).", label="HFC components K", least=1, most=256)

    @property
    def constraint(self) -> HFC:
        return HFC(weight=self.weight, components=self.components)


def check(lab: Lab, settings: Direction, beside: Lab | None) -> None:
    """InputError where K is too large, or the second network is none of three classes or more."""
    protocol = Protocol(penalties=("none", "HFC"), constraint=settings.constraint)
    for one in (lab, beside):
        if one is not None:
            check_dataset(one.dataset, one.classifier, protocol)
    if beside is None:
        return
    if len(beside.classifier.class_names) < 3:
        raise InputError(
            f"The second network of the study direction must know three classes or more, where the gradient can turn; "
            f"{beside.classifier.name} knows {len(beside.classifier.class_names)}: choose another or leave it out."
        )
    if beside.classifier.name == lab.classifier.name:
        raise InputError(
            f"The second network of the study direction must be another one; got {lab.classifier.name} twice: leave it out."
        )


def run(lab: Lab, settings: Direction, beside: Lab | None, progress: Progress) -> list[Row]:
    """A row for each network, attack and step: means over scans of the cosines in MEASURED, which lie between -1 and 1, with
    intervals. What is not defined is left out: a displacement before the first step, HFC's term where there is none. `moved` is the mean
    length of the displacement as a share of the feature's own; `at_target` the share of scans whose target is reached.
    """
    labs = [lab] if beside is None else [lab, beside]
    parts = {f"{place} {name}": 1 / len(labs) / len(ROLES) for place in range(len(labs)) for name in ROLES}
    share, rows = shares(progress, parts), []
    for place, one in enumerate(labs):
        for name in ROLES:
            part = share(f"{place} {name}", f"{one.classifier.name}, {name}: ")
            rows += _rows(one, settings, name, part)
    return rows


def _rows(lab: Lab, settings: Direction, name: str, progress: Progress) -> list[Row]:
    attack = lab.budget.attack.replace(loss=settings.loss)
    constraint = settings.constraint if name == "PGD+HFC" else None
    share = shares(progress, {"scans": 0.1, "attack": 0.9})
    lab.chosen(share("scans"))
    features = path(lab, attack, constraint, share("attack"))
    target = torch.from_numpy(lab.chosen().targets)
    term = None if constraint is None else _last_alone(lab, constraint)
    found, reached = cosines(head_of(lab), settings.loss, features, target, term)
    rows = []
    for step in range(len(features)):
        row: Row = {
            "network": lab.classifier.name,
            "classes": len(lab.classifier.class_names),
            "attack": name,
            "loss": settings.loss,
            "step": step,
        }
        for what, values in found.items():
            known = values[step][~np.isnan(values[step])]
            if len(known):
                row |= mean_row(what, known)
                row[f"{what}_least"] = float(known.min())
        gone = np.linalg.norm(features[step] - features[0], axis=1) / np.linalg.norm(features[0], axis=1).clip(1e-12)
        row["moved"] = float(gone.mean())
        rows.append(row | {"at_target": float(reached[step].mean()), "n": features.shape[1]})
    return rows


def path(lab: Lab, attack: Attack, constraint: HFC | None, progress: Progress) -> np.ndarray:
    """The penultimate features of the chosen scans before each step and after the last, (steps + 1, N, C)."""

    def make() -> Arrays:
        chosen, last = lab.chosen(), lab.classifier.layer_names[-1]
        states: dict[int, list[np.ndarray]] = {}

        def observe(
            rows: slice, step: int, delta: Tensor, logits: Tensor, layers: dict[str, Tensor], terms: dict[str, Tensor]
        ) -> None:
            states.setdefault(step, []).append(layers[last].detach().float().numpy())

        attacked(
            attack,
            lab.classifier,
            chosen.x,
            torch.from_numpy(chosen.targets),
            penalty=None if constraint is None else lab.fitted(constraint),
            seeds=chosen.seeds,
            observe=observe,
            progress=progress,
        )
        return {"features": np.stack([np.concatenate(states[step]) for step in sorted(states)])}

    carried = None if constraint is None else constraint.as_dict()
    return lab.kept("path", [lab.budget.scans, lab.budget.seed, attack.as_dict(), carried], make)["features"]


def head_of(lab: Lab) -> torch.nn.Module:
    """The module behind the penultimate feature, in evaluation mode and double precision."""
    return copy.deepcopy(lab.classifier.net.get_submodule(lab.classifier.head)).double().eval()


def _last_alone(lab: Lab, constraint: HFC) -> Callable[[Tensor, Tensor], Tensor]:
    """The gradient of HFC's term on the penultimate feature. Its terms on other layers have none with regard to it."""
    last = lab.classifier.layer_names[-1]
    fitted = lab.fitted(constraint)
    assert isinstance(fitted, FittedHFC)
    alone = FittedHFC(constraint, {last: fitted.mixtures[last]})

    def gradient(feature: Tensor, target: Tensor) -> Tensor:
        feature = feature.detach().clone().requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(alone({last: feature}, target)[last].sum(), feature)
        return found.double()

    return gradient


def draw(rows: list[Row]) -> go.Figure:
    """The three cosines over the steps: colour tells the attack, dashes the network."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    panels: dict[str, list[Line]] = {}
    for what, title in MEASURED.items():
        lines = []
        for place, network in enumerate(networks):
            for name, role in ROLES.items():
                own = [r for r in rows if r["network"] == network and r["attack"] == name and what in r]
                if own:
                    label = f"{name}, {network} ({own[0]['classes']} classes)"
                    said = [f"step {row['step']}" for row in own]
                    lines.append(line_of(own, "step", what, label, role, place=place, said=said))
        panels[title[0].upper() + title[1:]] = lines
    lowest = min(low for lines in panels.values() for line in lines for low in line.low)
    return curves(panels, "step", "cosine with the first step", y_range=(min(lowest, 0) - 0.05, 1.05), at=0)


def shows(rows: list[Row]) -> str:
    """One sentence: in which network the loss's pull turns, and how far the feature follows it."""
    pulls, follows = [], []
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        least, last = min(row["gradient"] for row in own), max(row["step"] for row in own)
        way, to = ("keeps its direction", "") if least >= STRAIGHT else ("turns", "down to ")
        pulls.append(f"{way} in {network} ({own[0]['classes']} classes, cosine {to}{least:.2f})")
        gone = [row for row in own if row["step"] == last and "displacement" in row]
        if gone:
            ends = " and ".join(f"{row['displacement']:.2f} ({row['attack']})" for row in gone)
            follows.append(f"{ends} in {network}")
    moved = f"; the feature itself goes that way with a cosine of {', '.join(follows)}" if follows else ""
    return f"The loss's pull on the feature {' and '.join(pulls)}{moved}."


def shows_not(rows: list[Row]) -> str:
    """One sentence: what a reader must not conclude."""
    many = any(row["classes"] > 2 for row in rows)
    return (
        "Where the loss pulls is not where the feature can go, which pixels and eps decide, nor what a detector sees; HFC's terms on "
        "earlier layers are not part of these gradients"
        + ("." if many else ", and with two classes alone nothing is said of more, where the pull may turn.")
    )
