"""Which setting of HFC matters: one factor at a time about the default, and how often scans reach their target and are caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hfcviz.attacks import Attack
from hfcviz.heatmaps import heat_maps
from hfcviz.penalties import HFC
from hfcviz.reference import shares
from hfcviz.settings import InputError, Progress, Settings, setting, silent
from hfcviz.studies.findings import Row
from hfcviz.studies.judging import numbers, verdicts
from hfcviz.studies.lab import Lab

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Components(Settings):
    """The values of each factor; the default (K 1, weight 1, all layers, the budget's steps and eps) is always among them."""

    components: tuple[str, ...] = setting(
        ("1", "2", "4", "8", "16", "32", "64"),
        "Gaussians in each class's mixture (K); each must be smaller than the number of training images of a class.",
        label="Values of K",
    )
    weights: tuple[str, ...] = setting(
        ("0.1", "0.3", "1", "3", "10", "100"), "Weights of the constraint against the attack's own loss."
    )
    layers: tuple[str, ...] = setting(
        ("all", "shallow half", "deep half", "all but the penultimate"),
        "Which layers are constrained: all, shallow half, deep half, all but the penultimate.",
        label="Subsets of layers",
    )
    steps: tuple[str, ...] = setting(
        ("5", "10", "20", "40"),
        "Numbers of gradient steps; the step size is 2.5 x eps / steps.",
        label="Values of steps",
    )
    eps: tuple[str, ...] = setting(
        ("2", "4", "8", "16"), "Largest change of any pixel, as n/255.", label="Values of eps (/255)"
    )


WORDS = {
    "K": "K (Gaussians of a class)",
    "weight": "HFC's weight",
    "layers": "choice of layers",
    "steps": "steps",
    "eps": "eps",
}
"""What a factor is, in a sentence."""
SUBSETS: dict[str, Callable[[tuple[str, ...]], tuple[str, ...]]] = {
    "all": lambda names: (),
    "shallow half": lambda names: names[: len(names) // 2],
    "deep half": lambda names: names[len(names) // 2 :],
    "all but the penultimate": lambda names: names[:-1],
}
"""By what they are called: from a network's layers, in order of depth, to HFC.layers."""


def check(lab: Lab, settings: Components, beside: Lab | None = None) -> None:
    """InputError when a value is none, K is too large for the training images, or one layer has no subsets."""
    weighed = _trials(lab, settings)
    if not any(len(trials) > 1 for trials in weighed.values()):
        raise InputError(
            "The study components must have a factor of two values or more; got the default alone: give more values."
        )
    largest = max(penalty.components for penalty, attack in weighed["K"].values())
    fewest = int(np.bincount(lab.labels, minlength=len(lab.classifier.class_names)).min())
    if largest >= fewest:
        raise InputError(
            f"Components.components must be smaller than the number of training images of each class; got {largest} for "
            f"{fewest}: leave out the larger values."
        )
    if len(lab.classifier.layer_names) < 2 and len(weighed["layers"]) > 1:
        raise InputError(
            f"Components.layers must be all for a network of one layer, which {lab.classifier.name} is: leave out the others."
        )


def _trials(lab: Lab, settings: Components) -> dict[str, dict[str, tuple[HFC, Attack]]]:
    """{factor: {value as people read it: (penalty, attack)}}, the default among each."""
    unknown = [name for name in settings.layers if name not in SUBSETS]
    if unknown:
        raise InputError(f"Components.layers must be among {', '.join(SUBSETS)}; got {', '.join(unknown)}.")
    default, attack, names = HFC(), lab.budget.attack, lab.classifier.layer_names

    def given(name: str, least: float, most: float, also: float, *, whole: bool = False) -> list[float]:
        words = getattr(settings, name)
        return sorted({*numbers(f"Components.{name}", words, least, most, whole=whole), also})

    counts = given("components", 1, 256, default.components, whole=True)
    weights = given("weights", 0, 1000, default.weight)
    steps = given("steps", 1, 1000, attack.steps, whole=True)
    usual = round(attack.eps * 255, 10)
    sizes = given("eps", 1e-3, 255, usual)
    subsets = [name for name in SUBSETS if name in ("all", *settings.layers)]
    return {
        "K": {f"{value:g}": (default.replace(components=value), attack) for value in counts},
        "weight": {f"{value:g}": (default.replace(weight=value), attack) for value in weights},
        "layers": {name: (default.replace(layers=SUBSETS[name](names)), attack) for name in subsets},
        "steps": {f"{value:g}": (default, attack.replace(steps=value)) for value in steps},
        # The budget's own eps to the last bit, so that its attack is found and not made again.
        "eps": {f"{v:g}/255": (default, attack.replace(eps=attack.eps if v == usual else v / 255)) for v in sizes},
    }


def run(lab: Lab, settings: Components, beside: Lab | None = None, progress: Progress = silent) -> list[Row]:
    """A row for each factor, value and detector: success, confidence, AUC and TPR@90 with intervals, mean_tpr90.

    "default" tells the row that stands in every factor, made once. Detectors are trained on PGD of the same eps and steps.
    """
    weighed = _trials(lab, settings)
    each = {f"{factor} {value}": one for factor, trials in weighed.items() for value, one in trials.items()}
    share = shares(progress, {line: _cost(*one) / sum(_cost(*o) for o in each.values()) for line, one in each.items()})
    usual = (HFC(), lab.budget.attack)
    rows, told = [], {}
    for factor, trials in weighed.items():
        for value, (penalty, attack) in trials.items():
            part = share(f"{factor} {value}", f"{factor} {value}: ")
            if (penalty, attack) not in told:
                told[penalty, attack] = verdicts(lab, attack, penalty, progress=part)
            part(1, "judged")
            whole, by_detector = told[penalty, attack]
            start = {"factor": factor, "value": value, "default": (penalty, attack) == usual}
            rows += [start | {"detector": name} | whole | one for name, one in by_detector.items()]
    return rows


def _cost(penalty: HFC, attack: Attack) -> float:
    """About how long it takes, in steps."""
    return attack.steps * (1 + penalty.components / 32)


def shows(rows: list[Row]) -> str:
    """One sentence: over which factor the share caught and the success vary most."""
    caught, reached = _ranges(rows, "mean_tpr90"), _ranges(rows, "success")
    if not caught:
        return "Every factor has one value, so nothing was compared."
    detectors = len({row["detector"] for row in rows})
    return (
        f"Being caught depends most on {_most(caught, f'{detectors} detectors catch ', ' of the scans')} (mean TPR@90); reaching the "
        f"target depends most on {_most(reached)}."
    )


def _most(found: dict[str, list[tuple[float, str]]], who: str = "", of: str = "") -> str:
    """The factor over which something varies most, or those over which it varies as much, and between what."""
    widest = max(map(_width, found.values()))
    most = [factor for factor, ends in found.items() if _width(ends) > widest - 1e-9]
    ends = "; ".join(_range_words(factor, found[factor], of if factor == most[0] else "") for factor in most)
    return f"{' and equally on '.join(WORDS[factor] for factor in most)}: {who}{ends}"


def shows_not(rows: list[Row]) -> str:
    """One sentence: what the rows leave open."""
    n, lowest = rows[0]["n"], min(rows, key=lambda row: row["success"])
    return (
        f"Settings were changed one at a time on one network, a share caught of {n} scans can be off by up to "
        f"{_half_width(rows):.2f}, and scans that missed their target count too (at {lowest['factor']} {lowest['value']} only "
        f"{lowest['success']:.0%} reached it)."
    )


def _ranges(rows: list[Row], what: str) -> dict[str, list[tuple[float, str]]]:
    """{factor: [(lowest, its value), (highest, its value)]} of the factors with more than one value."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["factor"], {})[row["value"]] = row[what]
    return {
        factor: [(values[v], v) for v in (min(values, key=lambda v: values[v]), max(values, key=lambda v: values[v]))]
        for factor, values in found.items()
        if len(values) > 1
    }


def _width(ends: list[tuple[float, str]]) -> float:
    return ends[1][0] - ends[0][0]


def _range_words(factor: str, ends: list[tuple[float, str]], of: str = "") -> str:
    (low, lowest), (high, highest) = ends
    return (
        f"{high:.1%}{of} at {factor} {highest} and {low:.1%} at {factor} {lowest}"
        if high > low
        else f"{low:.1%}{of} at every {factor}"
    )


def _half_width(rows: list[Row]) -> float:
    """Largest half-width of the 95 % intervals of TPR@90: at 0 and 1 they have none, which is not certainty."""
    return max((row["tpr90_high"] - row["tpr90_low"]) / 2 for row in rows)


def draw(rows: list[Row]) -> go.Figure:
    """A line for each factor and value: target reached, then TPR@90 of each detector and their mean."""
    reached: dict[str, dict[str, float]] = {}
    caught: dict[str, dict[str, float]] = {}
    means: dict[str, float] = {}
    groups: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    said: dict[str, dict[str, dict[str, str]]] = {"Success": {}, "TPR@90": {}}
    for row in rows:
        line = f"{row['factor']} {row['value']}" + (" (default)" if row["default"] else "")
        if line not in names:
            groups.setdefault(WORDS.get(row["factor"]) or str(row["factor"]), []).append(line)
            names[line] = line.removeprefix(f"{row['factor']} ")
        reached[line] = {"reached": row["success"]}
        said["Success"][line] = {"reached": _hover(line, "target reached", row, "success", row["attacked"])}
        caught.setdefault(line, {})[row["detector"]] = row["tpr90"]
        said["TPR@90"].setdefault(line, {})[row["detector"]] = _hover(
            line, f"caught by {row['detector']}", row, "tpr90", row["n"]
        )
        means[line] = row["mean_tpr90"]
    for line, mean in means.items():
        caught[line]["mean"] = mean
    return heat_maps({"Success": reached, "TPR@90": caught}, "share", hover=said, groups=groups, names=names)


def _hover(line: str, what: str, row: Row, key: str, count: int) -> str:
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return f"{line}<br>{what}: {row[key]:.2f} (95 % interval {low:.2f} to {high:.2f}, {count} scans)"
