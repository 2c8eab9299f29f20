"""HFC against the penalties that it competes with, at equal eps, steps and seeds, each with a weight chosen by one rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hfcviz.heatmaps import heat_maps
from hfcviz.penalties import HFC
from hfcviz.reference import shares
from hfcviz.settings import InputError, Progress, Settings, setting, silent
from hfcviz.studies.findings import Row
from hfcviz.studies.judging import numbers, verdicts
from hfcviz.studies.lab import Lab
from hfcviz.studies.rivals import RIVALS, Dimension, Rival

if TYPE_CHECKING:
    import plotly.graph_objects as go

ORTHOGONAL = "orthogonal"
CARRIED: dict[str, HFC | Rival] = {"HFC": HFC(), **RIVALS, ORTHOGONAL: HFC()}
"""Penalties by name; "orthogonal" is HFC's own, combined with the loss by projection (Bryniarski et al. 2022)."""


@dataclass(frozen=True)
class Adaptive(Settings):
    """Which penalties compete, and how the weight of each is chosen: on the scans that train detectors, never on those that
    judge.
    """

    penalties: tuple[str, ...] = setting(
        tuple(CARRIED),
        "HFC and its rivals: random, closest, KDE, LID, and orthogonal, which is HFC by orthogonal projection.",
    )
    weights: tuple[str, ...] = setting(
        ("0.1", "1", "10"), "Weights tried for each penalty; the orthogonal projection has none.", label="Weights tried"
    )
    slack: float = setting(
        0.05,
        "How much less often than with its best weight a penalty may reach the target; among those, the weight whose scans "
        "are caught least is chosen, on the scans that train detectors.",
        label="Success given up",
        least=0,
        most=1,
    )


def check(lab: Lab, settings: Adaptive, beside: Lab | None = None) -> None:
    """InputError for an unknown penalty, no rival, no weight, or too few clean images for a rival's neighbours."""
    unknown = [name for name in settings.penalties if name not in CARRIED]
    if unknown:
        raise InputError(f"Adaptive.penalties must be among {', '.join(CARRIED)}; got {', '.join(unknown)}.")
    if "HFC" not in settings.penalties or len(set(settings.penalties)) < 2:
        raise InputError(
            f"Adaptive.penalties must be HFC and a rival; got {', '.join(settings.penalties) or 'none'}: choose more."
        )
    if not numbers("Adaptive.weights", settings.weights, 1e-6, 1000):
        raise InputError("Adaptive.weights must have one weight or more; got none: give 1, say.")
    counts = np.bincount(lab.labels, minlength=len(lab.classifier.class_names))
    k = Dimension().k
    if "LID" in settings.penalties and len(lab.labels) <= k:
        raise InputError(
            f"The penalty LID needs more than {k} clean training images; got {len(lab.labels)}: leave it out or add images."
        )
    if counts.min() < 2:
        raise InputError(
            f"Penalties need 2 clean training images of each class or more; one class has {counts.min()}: add images."
        )


def run(lab: Lab, settings: Adaptive, beside: Lab | None = None, progress: Progress = silent) -> list[Row]:
    """A row for each penalty ("none" is PGD) and detector: weight (None where there is none), success and confidence, AUC,
    two-sided and TPR@90 with intervals, backward_passes a step.
    """
    names = [name for name in CARRIED if name in settings.penalties]
    tried = numbers("Adaptive.weights", settings.weights, 1e-6, 1000)
    costs = {"none": 1.0} | {name: 2.0 if name == ORTHOGONAL else float(len(tried)) for name in names}
    share = shares(progress, {name: cost / sum(costs.values()) for name, cost in costs.items()})
    rows: list[Row] = []
    for name in costs:
        part, combine = share(name, f"{shown(name)}: "), "orthogonal" if name == ORTHOGONAL else "sum"
        penalty, weight = None if name == "none" else CARRIED[name], None
        stretch = shares(part, {"weights": 0.9, "judging": 0.1})
        judging = part
        if penalty is not None and name != ORTHOGONAL:
            weight = choose(lab, penalty, tried, settings.slack, stretch("weights"))
            penalty, judging = penalty.replace(weight=weight), stretch("judging")
        whole, by_detector = verdicts(lab, lab.budget.attack, penalty, combine, judging)
        part(1, "judged")
        start = {"penalty": name, "weight": weight, "backward_passes": 2 if name == ORTHOGONAL else 1}
        rows += [start | {"detector": detector} | whole | one for detector, one in by_detector.items()]
    return rows


def choose(lab: Lab, penalty: Any, tried: tuple[float, ...], slack: float, progress: Progress = silent) -> float:
    """The weight for a penalty, by the scans that train detectors alone.

    Of the weights whose success is at most `slack` below the best, the one whose attacked scans the detectors catch least
    (mean over detectors of the share above their threshold, the 90 % quantile of clean validation scans); of equals the one
    with more success, then the smaller. The detectors know these scans, under PGD; no judging scan has a say.
    """
    part = shares(progress, {f"{weight:g}": 1 / len(tried) for weight in tried})
    found = {
        weight: trial(lab, penalty.replace(weight=weight), part(f"{weight:g}", f"weight {weight:g}, "))
        for weight in tried
    }
    best = max(success for success, caught in found.values())
    fit = [weight for weight in tried if found[weight][0] >= best - slack - 1e-9]
    return min(fit, key=lambda weight: (found[weight][1], -found[weight][0], weight))


def trial(lab: Lab, penalty: Any, progress: Progress = silent) -> tuple[float, float]:
    """Success and mean share caught of the scans that train detectors, attacked with this penalty."""
    attack, trains = lab.budget.attack, np.flatnonzero(lab.chosen().trains)
    share = shares(progress, {"attack": 0.8, "detectors": 0.2})

    def make() -> dict[str, np.ndarray]:
        version = lab.version(attack, penalty, progress=share("attack"))
        seen, detectors = version.seen.take(trains), lab.detectors(attack, share("detectors"))
        caught = [float((one.score(seen) > one.threshold).mean()) for one in detectors.values()]
        return {"found": np.array([lab.success(version, trains).mean(), np.mean(caught)])}

    parts = [lab.budget.as_dict(), type(penalty).__name__, penalty.as_dict()]
    success, caught = lab.kept("weight trial", parts, make)["found"].tolist()
    return success, caught


def shown(name: str) -> str:
    """A penalty as people read it, with the attack that carries it."""
    return {"none": "PGD", ORTHOGONAL: "PGD+HFC, orthogonal"}.get(name, f"PGD+{name}")


def shows(rows: list[Row]) -> str:
    """One sentence: which penalty is caught least, where HFC stands, and on how many detectors it is lowest."""
    means = {row["penalty"]: row for row in rows}
    order = sorted((name for name in means if name != "none"), key=lambda name: means[name]["mean_tpr90"])
    told = [order[0], order[1] if order[0] == "HFC" else "HFC", "none"]
    caught = [f"{means[name]['mean_tpr90']:.0%} of {shown(name)}" for name in told]
    reached = [f"{means[name]['success']:.0%}" for name in told]
    detectors = len({row["detector"] for row in rows})
    return (
        f"Detectors catch {shown(told[0])} least, {means[told[0]]['mean_tpr90']:.0%} of its scans on average (mean TPR@90 of {detectors} "
        f"detectors), against {caught[1]} and {caught[2]} alone (target reached in {reached[0]}, {reached[1]} and {reached[2]}); "
        f"HFC alone has the lowest TPR@90 on {_lowest(rows, 'tpr90')} of them and the lowest two-sided AUC on {_lowest(rows, 'two_sided')}."
    )


def _lowest(rows: list[Row], what: str) -> int:
    """On how many detectors HFC has a lower value than every other penalty."""
    carried = [row for row in rows if row["penalty"] != "none"]
    least: dict[str, float] = {}
    for row in carried:
        if row["penalty"] != "HFC":
            least[row["detector"]] = min(row[what], least.get(row["detector"], row[what]))
    return sum(row["penalty"] == "HFC" and row[what] < least[row["detector"]] for row in carried)


def shows_not(rows: list[Row]) -> str:
    """One sentence: what the rows leave open."""
    half = max((row["tpr90_high"] - row["tpr90_low"]) / 2 for row in rows)
    inverted = sum(row["auc_high"] < 0.5 for row in rows)
    return (
        f"It is one network, a TPR@90 of {rows[0]['n']} scans can be off by up to {half:.2f}, each penalty had a few weights only, and "
        f"{inverted} of {len(rows)} AUCs lie surely below 0.5, where the detector turned round would catch the attack"
        + (
            "; the orthogonal projection takes two backward passes a step."
            if any(row["backward_passes"] == 2 for row in rows)
            else "."
        )
    )


def draw(rows: list[Row]) -> go.Figure:
    """A line for each penalty: success in a panel of its own, then the AUC of each detector."""
    reached: dict[str, dict[str, float]] = {}
    areas: dict[str, dict[str, float]] = {}
    hover: dict[str, dict[str, dict[str, str]]] = {"Success": {}, "AUC": {}}
    for row in rows:
        line = shown(row["penalty"])
        weight = "" if row["weight"] is None else f", weight {row['weight']:g}"
        reached[line] = {"reached": row["success"]}
        hover["Success"][line] = {
            "reached": f"{line}{weight}<br>target reached: {row['success']:.2f} (95 % interval {row['success_low']:.2f} "
            f"to {row['success_high']:.2f}, {row['attacked']} scans)"
        }
        areas.setdefault(line, {})[row["detector"]] = row["auc"]
        hover["AUC"].setdefault(line, {})[row["detector"]] = (
            f"{line}{weight}<br>{row['detector']}: AUC {row['auc']:.2f} ({row['auc_low']:.2f} to {row['auc_high']:.2f}), "
            f"two-sided {row['two_sided']:.2f}<br>TPR@90 {row['tpr90']:.2f} ({row['tpr90_low']:.2f} to {row['tpr90_high']:.2f}), "
            f"{row['n']} scans"
        )
    return heat_maps({"Success": reached, "AUC": areas}, {"Success": "share", "AUC": "AUC"}, hover=hover)
