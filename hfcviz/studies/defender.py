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
    UNCHANGED,
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
PANELS = {
    WORST: "",
    "known": "learned from",
    HELD_OUT: "held out (never seen)",
    ADAPTIVE: "adaptive (knows defences)",
}
"""Titles of the groups of attacks, from left to right."""


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
        """The defences with the detectors that are chosen; image transforms have none of these and keep their own."""
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


def run(lab: Lab, settings: Defender, beside: Lab | None, progress: Progress) -> list[Row]:
    """Rows: the worst held-out attack of each defence, best defence first, then one of each defence, detector and attack."""
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
    for name, one in defences.items():
        if lacking := [detector for detector in one.detectors if detector not in detectors_of(lab, one)]:
            for row in rows:
                row |= {"left_out": ", ".join(lacking)} if row["defence"] == name else {}
    return ranked([_worst(rows, name, detector) for name, detector in pairs]) + rows


def ranked(rows: list[Row]) -> list[Row]:
    """Rows of any attack, the best AUC first; of equal ones in their own order."""
    return sorted(rows, key=lambda row: -row["auc"])


def _worst(rows: list[Row], defence: str, detector: str) -> Row:
    own = [r for r in rows if (r["defence"], r["detector"], r["group"]) == (defence, detector, HELD_OUT)]
    worst = min(own, key=lambda row: row["auc"])
    return worst | {"attack": WORST, "group": WORST, "which": worst["attack"], "best": False}


def _name(row: Row) -> str:
    return f"{row['defence']}: {row['detector']}"


def _number(row: Row) -> str:
    return f"{row['auc']:.2f} ({row['auc_low']:.2f} to {row['auc_high']:.2f})"


def shows(rows: list[Row]) -> str:
    """One sentence: which defence holds up best on the attack that it tells worst, and what becomes of it."""
    worst = ranked([row for row in rows if row["group"] == WORST])
    best = worst[0]
    text = (
        f'Of {len(worst)} defences, {best["detector"]} of "{best["defence"]}" is the surest: even on the unseen attack that it tells '
        f"worst, {best['which']}, its AUC is {_number(best)}"
    )
    usual = next((row for row in worst if row["defence"] == UNCHANGED), best)
    if usual is not best:
        text += f", where the best unchanged detector, {usual['detector']}, comes to {usual['auc']:.2f}"
    knowing = [row for row in rows if row["group"] == ADAPTIVE and _name(row) == _name(best)]
    if knowing:
        least = ranked(knowing)[-1]
        text += (
            f"; against attackers who know the defence it comes to {least['auc']:.2f} at the least ({least['attack']})"
        )
    return text + "."


def shows_not(rows: list[Row]) -> str:
    """One sentence: what the rows leave open."""
    text = (
        f"The best of {len({_name(row) for row in rows})} was picked by the scans that judge it, so its AUC is somewhat too high, and "
        "no attacker here worked against a fitted defence's own score"
    )
    left = dict.fromkeys(name for row in rows for name in row.get("left_out", "").split(", ") if name)
    if left:
        text += f"; {' and '.join(left)} had to be left out, since the network has no dropout"
    return text + "."


def draw(rows: list[Row]) -> go.Figure:
    """AUC of every defence (lines) on every attack (columns), a panel for each group of attacks, the worst held-out attack
    first; below their headings the best defences come first, and so do the headings.
    """
    groups: dict[str, list[str]] = {}
    for row in ranked([row for row in rows if row["group"] == WORST]):
        groups.setdefault(_heading(row), []).append(_name(row))
    panels: dict[str, dict[str, dict[str, float]]] = {}
    hover: dict[str, dict[str, dict[str, str]]] = {}
    for group, title in PANELS.items():
        for row in (row for row in rows if row["group"] == group):
            line, column, attack = _name(row), row["attack"], row.get("which", row["attack"])
            panels.setdefault(title, {}).setdefault(line, {})[column] = row["auc"]
            about = f" ({ATTACKERS[attack].about})" if attack in ATTACKERS else ""
            hover.setdefault(title, {}).setdefault(line, {})[column] = (
                f"{row['detector']}: {_heading(row)}<br>on {attack}{about}<br>AUC {_number(row)}, TPR@90 {row['tpr90']:.2f}<br>"
                f"flagged: {row['caught']:.0%}, of clean {row['false_clean']:.0%}, of noise {row['false_noise']:.0%}<br>"
                f"the attack succeeds on {row['success']:.0%}; n = {row['n']}"
            )
    height = 180 + 19 * sum(1 + len(own) for own in groups.values())
    names = {_name(row): row["detector"] for row in rows}
    return heat_maps(panels, "AUC", hover=hover, groups=groups, names=names, height=height)


def _heading(row: Row) -> str:
    name = str(row["defence"])
    return DEFENCES[name].about if name in DEFENCES else name
