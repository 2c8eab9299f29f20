"""Defender: what would catch HFC? Every defence on every attack, those that it learned from and those that it never saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from hfcviz.detectors import DETECTORS
from hfcviz.heatmaps import heat_maps
from hfcviz.metrics import separation
from hfcviz.reference import shares
from hfcviz.settings import InputError, Progress, Settings, setting
from hfcviz.studies.attackers import ATTACKERS
from hfcviz.studies.defences import (
    DEFENCES,
    FREE,
    INPUTS,
    MEANS,
    SQUEEZED,
    Defence,
    detectors_of,
    pictures,
    scores,
    seen,
)
from hfcviz.studies.findings import Row
from hfcviz.studies.lab import Lab

if TYPE_CHECKING:
    import plotly.graph_objects as go

HELD_OUT, ADAPTIVE, WORST = "held out", "adaptive", "worst held out"


@dataclass(frozen=True)
class Defender(Settings):
    """Which defences are put to which attacks."""

    defences: tuple[str, ...] = setting(
        tuple(DEFENCES), f"What may catch HFC, among {'; '.join(DEFENCES)}.", label="Defences"
    )
    attacks: tuple[str, ...] = setting(
        tuple(ATTACKERS), f"What they are put to, among {'; '.join(ATTACKERS)}.", label="Attacks"
    )
    detectors: tuple[str, ...] = setting(
        (), f"Detectors within each defence, among {'; '.join(DETECTORS)}; none chosen means all.", label="Detectors"
    )

    @property
    def chosen(self) -> dict[str, Defence]:
        """The defences with the detectors that are chosen; squeezing has none of these and keeps its own."""
        return {
            name: replace(
                one,
                detectors=tuple(d for d in one.detectors if not self.detectors or d in self.detectors or d in SQUEEZED),
            )
            for name, one in DEFENCES.items()
            if name in self.defences
        }


def check(lab: Lab, settings: Defender, beside: Lab | None) -> None:
    """InputError for unknown or missing defences and attacks, and for what this network or data set cannot have."""
    for what, given, known in (
        ("defences", settings.defences, tuple(DEFENCES)),
        ("attacks", settings.attacks, tuple(ATTACKERS)),
    ):
        wrong = [name for name in given if name not in known]
        if wrong or not given:
            raise InputError(
                f"Defender.{what} must be among {'; '.join(known)}; got {'; '.join(wrong) or 'none'}: choose from these."
            )
    if not any(ATTACKERS[name].group == HELD_OUT for name in settings.attacks):
        known = tuple(name for name, one in ATTACKERS.items() if one.group == HELD_OUT)
        raise InputError(
            f"Defender.attacks must hold one that no defence learns from ({'; '.join(known)}); got "
            f"{'; '.join(settings.attacks)}: add one."
        )
    unknown = [name for name in settings.detectors if name not in DETECTORS]
    if unknown:
        raise InputError(f"Defender.detectors must be among {'; '.join(DETECTORS)}; got {'; '.join(unknown)}.")
    empty = [name for name, one in settings.chosen.items() if not one.detectors]
    if empty:
        raise InputError(
            f"The defence {empty[0]} makes no difference to {'; '.join(settings.detectors)}: leave it out, or add one of "
            f"{'; '.join(DEFENCES[empty[0]].detectors)}."
        )
    network, layers = lab.classifier, lab.classifier.layer_names
    halves = [name for name in settings.attacks if ATTACKERS[name].deep]
    if halves and len(layers) < 2:
        raise InputError(
            f"The attack {halves[0]} leaves half of the layers alone, so it needs two or more; {network.name} has "
            f"{len(layers)}: leave it out."
        )
    free = [name for name in settings.defences if DEFENCES[name].sees == FREE]
    free += [name for name in settings.attacks if ATTACKERS[name].free]
    if free:
        with torch.inference_mode():
            _, found = network.seeing("spread", "largest").features(torch.zeros(1, *network.input_shape))
        if len(found) == len(layers):
            raise InputError(
                f"{'; '.join(free)} look at how a layer's output varies over space; no layer of {network.name} has "
                f"more than one place: leave them out."
            )
    fewest = int(np.bincount(lab.dataset.splits["train"].y).min())
    for name in settings.attacks:
        components = getattr(ATTACKERS[name].penalty, "components", 1)
        if components >= fewest:
            raise InputError(
                f"The attack {name} needs more than {components} training images of each class; {lab.dataset.name} has "
                f"{fewest} of one: leave it out."
            )


def run(lab: Lab, settings: Defender, beside: Lab | None, progress: Progress) -> tuple[list[Row], str, str]:
    """Rows: one of each defence, detector and attack, then the worst held-out attack of each defence."""
    defences = settings.chosen
    attacks = [name for name in ATTACKERS if name in settings.attacks]
    learned = {name for one in defences.values() for name in one.taught}
    kinds = list(dict.fromkeys(["calibration", "clean", "noise", *learned.union(attacks)]))
    kinds.sort(key=lambda kind: ["calibration", "clean", "noise", *ATTACKERS].index(kind))
    share = shares(progress, {kind: 0.6 / len(kinds) for kind in kinds} | {"scores": 0.3, "rows": 0.1})
    for kind in kinds:
        # Images first, where some defence needs them, so that no attack is made twice.
        if any(one.joined or one.sees in (FREE, INPUTS) for one in defences.values()) and kind in ATTACKERS:
            pictures(lab, kind, share(kind, f"{kind}: "))
        seen(lab, MEANS, kind, share(kind, f"{kind}: "))
    told = shares(
        share("scores"), {f"{name} {kind}": 1 / (len(defences) * len(kinds)) for name in defences for kind in kinds}
    )
    found = {
        (name, kind): scores(lab, one, kind, told(f"{name} {kind}", f"{name}, {kind}: "))
        for name, one in defences.items()
        for kind in ("calibration", "clean", "noise", *attacks)
    }
    judges = np.flatnonzero(~lab.chosen().trains)
    rows: list[Row] = []
    pairs = [(name, detector) for name, one in defences.items() for detector in detectors_of(lab, one)]
    for place, (name, detector) in enumerate(pairs):
        share("rows")(place / len(pairs), f"intervals of {name}: {detector}")
        clean, noise = found[name, "clean"][detector], found[name, "noise"][detector]
        threshold = float(np.quantile(found[name, "calibration"][detector], 0.9))
        for attack in attacks:
            attacked = found[name, attack][detector]
            hits = seen(lab, MEANS, attack).predicted[judges] == lab.chosen().targets[judges]
            rows.append(
                {
                    "defence": name,
                    "detector": detector,
                    "attack": attack,
                    "group": ATTACKERS[attack].group,
                    **separation(np.concatenate([clean, noise]), attacked),
                    "caught": float((attacked > threshold).mean()),
                    "false_clean": float((clean > threshold).mean()),
                    "false_noise": float((noise > threshold).mean()),
                    "success": float(hits.mean()),
                }
            )
    for attack in attacks:
        of_attack = [row for row in rows if row["attack"] == attack]
        best = max(row["auc"] for row in of_attack)
        for row in of_attack:
            row["best"] = row["auc"] == best
    rows += [_worst(rows, name, detector) for name, detector in pairs]
    return rows, _shows(rows), _shows_not(lab, tuple(defences.values()), rows)


def _worst(rows: list[Row], defence: str, detector: str) -> Row:
    own = [r for r in rows if (r["defence"], r["detector"], r["group"]) == (defence, detector, HELD_OUT)]
    worst = min(own, key=lambda row: row["auc"])
    return worst | {"attack": WORST, "group": WORST, "which": worst["attack"], "best": False}


def _name(row: Row) -> str:
    return f"{row['defence']}: {row['detector']}"


def _number(row: Row) -> str:
    return f"{row['auc']:.2f} ({row['auc_low']:.2f} to {row['auc_high']:.2f})"


def _shows(rows: list[Row]) -> str:
    worst = [row for row in rows if row["group"] == WORST]
    best = max(worst, key=lambda row: row["auc"])
    text = (
        f'Of {len(worst)} defences, "{_name(best)}" does best on its worst held-out attack, {best["which"]}: AUC {_number(best)}, '
        f"n = {best['n']}, with {best['false_clean']:.0%} of clean and {best['false_noise']:.0%} of noisy scans flagged at "
        f"the threshold from clean validation scans, where {best['caught']:.0%} of that attack are caught"
    )
    before = [row for row in worst if row["defence"] == "as before"]
    if before and best["defence"] != "as before":
        usual = max(before, key=lambda row: row["auc"])
        text += f"; the best detector as it is, {usual['detector']}, comes to {_number(usual)} ({usual['which']})"
    knowing = [row for row in rows if row["group"] == ADAPTIVE and _name(row) == _name(best)]
    if knowing:
        least = min(knowing, key=lambda row: row["auc"])
        text += (
            f"; against attackers who know what defences look at, it comes to {_number(least)} at the least "
            f"({least['attack']}, which succeeds on {least['success']:.0%})"
        )
    return text + "."


def _shows_not(lab: Lab, defences: tuple[Defence, ...], rows: list[Row]) -> str:
    count = len({_name(row) for row in rows})
    text = (
        f"The best of {count} was picked by the scans that judge it, so its number is somewhat too high, and no attacker here "
        f"minimised the score of a fitted defence itself"
    )
    if any(row["group"] == ADAPTIVE for row in rows):
        text += (
            ": the adaptive ones know which statistics are looked at, on which sides, and that images may be smoothed, but "
            "not the detectors"
        )
    left = [name for one in defences for name in one.detectors if name not in detectors_of(lab, one)]
    if left:
        names = " and ".join(dict.fromkeys(left))
        text += f"; {names} had to be left out, since the network has no dropout"
    return text + "."


def draw(rows: list[Row]) -> go.Figure:
    """AUC of every defence (lines) on every attack (columns), a panel for each group; the worst held-out attack last."""
    panels: dict[str, dict[str, dict[str, float]]] = {}
    hover: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        group, line, column = row["group"], _name(row), row["attack"]
        group = "" if group == WORST else group
        column = "worst" if group == "" else column
        panels.setdefault(group, {}).setdefault(line, {})[column] = row["auc"]
        hover.setdefault(group, {}).setdefault(line, {})[column] = (
            f"{line}<br>{row.get('which', row['attack'])}: AUC {_number(row)}, TPR@90 {row['tpr90']:.2f}<br>"
            f"flagged: {row['caught']:.0%}, of clean {row['false_clean']:.0%}, of noise {row['false_noise']:.0%}<br>"
            f"the attack succeeds on {row['success']:.0%}; n = {row['n']}"
        )
    lines = len({_name(row) for row in rows})
    return heat_maps(panels, "AUC", hover=hover, height=170 + 20 * lines)
