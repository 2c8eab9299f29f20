"""Study: adversarial examples made on one network, judged and detected on another (a semi-white-box attack)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hfcviz.activations import Activations, extract
from hfcviz.attacks import run as attacked
from hfcviz.heatmaps import heat_maps
from hfcviz.metrics import separation
from hfcviz.penalties import HFC
from hfcviz.reference import passes_of, shares
from hfcviz.settings import InputError, Progress, Settings, setting, silent
from hfcviz.store import Arrays
from hfcviz.studies.findings import Row, share_row
from hfcviz.studies.lab import Lab
from hfcviz.studies.pairs import brought_over, check_pair
from hfcviz.studies.pieces import Version

if TYPE_CHECKING:
    import plotly.graph_objects as go

FEWEST = 5
"""Fewest scans that both networks classify correctly among those that judge detectors."""
SUCCESS = {"target": "target", "wrong": "wrong class", "on_source": "at source"}
"""What the success panel shows: the target reached, any wrong class, and the target on the network it was made on."""
NOISE = "noise"


@dataclass(frozen=True)
class Transfer(Settings):
    """What is made on the second network: PGD without and with this constraint."""

    components: int = setting(
        1, "Gaussians in each class's mixture (K) of HFC.", label="Components K", least=1, most=256
    )
    weight: float = setting(1.0, "Weight of HFC against the attack's own loss.", label="Weight", least=0, most=1000)

    @property
    def attacks(self) -> dict[str, HFC | None]:
        """Both attacks by the name that people read."""
        return {"PGD": None, "PGD+HFC": HFC(components=self.components, weight=self.weight)}


def check(lab: Lab, settings: Transfer, beside: Lab | None) -> None:
    """InputError without a second network that knows the same classes and sees the same images on a grid of the same
    proportions.
    """
    if beside is None:
        raise InputError(
            "The study transfer needs a second network, on which the examples are made: name one beside the first."
        )
    check_pair(lab, beside)
    fewest = int(np.bincount(beside.labels, minlength=len(beside.classifier.class_names)).min())
    if settings.components >= fewest:
        raise InputError(
            f"Transfer.components must be smaller than the training images of each class; got {settings.components} for "
            f"{fewest}: lower K."
        )


def run(lab: Lab, settings: Transfer, beside: Lab | None, progress: Progress = silent) -> list[Row]:
    """Rows: one for each place where examples are made, attack and detector, and one for noise.

    A row holds what success (target, wrong and on_source, of all scans that both networks classify correctly) and how the
    detector does on those of them that did not train it. Scans, targets, random starts, eps, steps and step size are the same
    on both networks. Detectors are the lab's own, trained on clean scans, noise and PGD made on the lab's network.
    """
    assert beside is not None  # `check` has seen to that
    share = shares(progress, {"features": 0.1, "there": 0.4, "here": 0.4, "scores": 0.1})
    chosen = lab.chosen(share("features"))
    theirs = beside.features("test", share("features")).take(chosen.rows)
    common = np.flatnonzero(theirs.predicted == chosen.labels)
    judges = int((~chosen.trains[common]).sum())
    if judges < FEWEST:
        raise InputError(
            f"At least {FEWEST} of the scans that judge detectors must be classified correctly by both networks; "
            f"{lab.classifier.name} and {beside.classifier.name} share {judges}: choose more scans or another network."
        )
    rows: list[Row] = []
    for place, (name, penalty) in enumerate(settings.attacks.items()):
        halves = shares(share("here"), {"0": 0.5, "1": 0.5})
        version, scores = _white_box(lab, penalty, common, halves(str(place)))
        line = {"made_on": lab.classifier.name, "itself": True, "attack": name}
        line |= _success(lab, version, common, version.seen.predicted)
        rows += [line | one for one in _separated(lab, version, common, scores)]
    for place, (name, penalty) in enumerate(settings.attacks.items()):
        halves = shares(share("there"), {"0": 0.5, "1": 0.5})
        version, there = _carried(lab, beside, penalty, common, halves(str(place)))
        scores = _judged(lab, beside, penalty, version, common, share("scores"))
        line = {"made_on": beside.classifier.name, "itself": False, "attack": name}
        line |= _success(lab, version, common, there)
        rows += [line | one for one in _separated(lab, version, common, scores)]
    noise = lab.noise(lab.budget.eps)
    noise = Version(noise.seen.take(common), noise.linf[common])
    rows.append({"made_on": "", "itself": False, "attack": NOISE} | _success(lab, noise, common, None))
    return rows


Scores = dict[str, tuple[np.ndarray, np.ndarray]]
"""{detector: (negatives (2 n,), attacked (n,))} of the n scans that judge and that both networks classify correctly."""


def _white_box(lab: Lab, penalty: HFC | None, common: np.ndarray, progress: Progress) -> tuple[Version, Scores]:
    """The examples made on the lab's own network, and their scores."""
    chosen, own = lab.chosen(), lab.budget.attack
    version = lab.version(own, penalty, progress=progress)
    within = np.isin(np.flatnonzero(~chosen.trains), common)
    pairs = lab.scores(own, own, penalty)
    scores = {name: (neg[np.tile(within, 2)], adv[within]) for name, (neg, adv) in pairs.items()}
    return Version(version.seen.take(common), version.linf[common]), scores


def _parts(lab: Lab, beside: Lab, penalty: HFC | None) -> list[Any]:
    """All that examples made on the second network depend on, beside the lab's own base."""
    budget, carried = lab.budget, None if penalty is None else penalty.as_dict()
    return [beside.base, budget.scans, budget.seed, budget.attack.as_dict(), carried, beside.budget.seed]


def _carried(
    lab: Lab, beside: Lab, penalty: HFC | None, common: np.ndarray, progress: Progress
) -> tuple[Version, np.ndarray]:
    """The examples made on the second network as the lab's sees them, and what the second one took them for, (n,)."""
    chosen = lab.chosen()

    def make() -> Arrays:
        x = torch.from_numpy(beside.dataset.splits["test"].images(chosen.rows[common]))
        aim, seeds = torch.from_numpy(chosen.targets[common]), [chosen.seeds[row] for row in common]
        carried = None if penalty is None else beside.fitted(penalty)
        moved = attacked(lab.budget.attack, beside.classifier, x, aim, penalty=carried, seeds=seeds, progress=progress)
        there = extract(beside.classifier, moved).predicted
        clean = chosen.x[common]
        if x.shape == clean.shape:
            here = moved  # not the sum below, which would round
        else:
            here = (clean + brought_over(moved - x, lab.classifier.input_shape)).clamp(0, 1)
        seen = extract(lab.classifier, here, dropout_passes=passes_of(lab.classifier), seed=lab.budget.seed)
        linf = (here - clean).flatten(1).abs().amax(1).numpy()
        return seen.to_arrays("seen") | {"linf": linf, "there": there}

    arrays = lab.kept("attack carried over", _parts(lab, beside, penalty), make)
    return Version(Activations.from_arrays(arrays, "seen"), arrays["linf"]), arrays["there"]


def _judged(
    lab: Lab, beside: Lab, penalty: HFC | None, version: Version, common: np.ndarray, progress: Progress
) -> Scores:
    """What the lab's detectors say of the examples carried over."""
    own, judging = lab.budget.attack, ~lab.chosen().trains[common]

    def make() -> Arrays:
        seen = version.seen.take(judging)
        return {name: one.score(seen) for name, one in lab.detectors(own, progress).items()}

    scores = lab.kept("scores of an attack carried over", _parts(lab, beside, penalty), make)
    negatives = _white_box(lab, None, common, silent)[1]
    return {name: (negatives[name][0], scores[name]) for name in lab.detector_names()}


def _success(lab: Lab, version: Version, common: np.ndarray, there: np.ndarray | None) -> Row:
    """How many scans reach the target, or any wrong class, on the lab's network, and the target on the one they were made on."""
    chosen = lab.chosen()
    found: Row = {"scans": len(common), "linf_255": float(version.linf.max() * 255)}
    found |= share_row("target", version.seen.predicted == chosen.targets[common])
    found |= share_row("wrong", version.seen.predicted != chosen.labels[common])
    if there is not None:
        found |= share_row("on_source", there == chosen.targets[common])
    return found


def _separated(lab: Lab, version: Version, common: np.ndarray, scores: Scores) -> list[Row]:
    """A row a detector; `auc_reached` counts only scans that reach the target, `reached` of them, where there are enough."""
    chosen = lab.chosen()
    judging = ~chosen.trains[common]
    reached = (version.seen.predicted == chosen.targets[common])[judging]
    rows = []
    for name, (negatives, adversarial) in scores.items():
        row: Row = {"detector": name, **separation(negatives, adversarial), "reached": int(reached.sum())}
        if reached.sum() >= FEWEST:
            row["auc_reached"] = separation(negatives, adversarial[reached])["auc"]
        rows.append(row)
    return rows


def _best(rows: list[Row]) -> Row:
    return max((row for row in rows if "detector" in row), key=lambda row: row["two_sided"])


def shows(rows: list[Row]) -> str:
    """One sentence, of the rows alone: success and the best detector, carried over and made on the network itself."""
    attacks = list(dict.fromkeys(row["attack"] for row in rows if "detector" in row))
    own, away = (
        {name: [row for row in rows if row["attack"] == name and row["itself"] is itself] for name in attacks}
        for itself in (True, False)
    )

    def reached(of: dict[str, list[Row]]) -> str:
        return " and ".join(f"{of[name][0]['target']:.0%}" for name in attacks)

    def best(of: dict[str, list[Row]]) -> str:
        return " and ".join(f"{_best(of[name])['two_sided']:.2f}" for name in attacks)

    first, second = own[attacks[0]][0]["made_on"], away[attacks[0]][0]["made_on"]
    return (
        f"Made on {second}, {' and '.join(attacks)} reach their target on {first} in {reached(away)} of "
        f"{own[attacks[0]][0]['scans']} scans (made on {first} itself: {reached(own)}), and the best detector tells them from clean and "
        f"noisy scans with a two-sided AUC of {best(away)} ({best(own)})."
    )


def _share(row: Row, name: str) -> str:
    return f"{row[name]:.0%} [{row[f'{name}_low']:.0%} to {row[f'{name}_high']:.0%}]"


def shows_not(rows: list[Row]) -> str:
    """One sentence on how far the numbers reach."""
    judged = next(row for row in rows if "detector" in row)
    return (
        f"It is one pair of networks at one eps, judged on {judged['n']} scans, and examples that miss their target count as attacks too, "
        "so an AUC near 0.5 may mean a harmless example as well as a hidden one."
    )


def draw(rows: list[Row]) -> go.Figure:
    """Lines = attack and where it was made; success in a panel of its own, and the AUC of each detector."""
    success: dict[str, dict[str, float]] = {}
    auc: dict[str, dict[str, float]] = {}
    said: dict[str, dict[str, dict[str, str]]] = {"success": {}, "AUC": {}}
    for row in rows:
        where = "itself" if row["itself"] else row["made_on"]
        line = f"{row['attack']} made on {where}" if row["made_on"] else row["attack"]
        success[line] = {words: row[key] for key, words in SUCCESS.items() if key in row}
        said["success"][line] = {
            words: f"{line}<br>{words}: {_share(row, key)} of {row['scans']} scans"
            for key, words in SUCCESS.items()
            if key in row
        }
        if "detector" in row:
            auc.setdefault(line, {})[row["detector"]] = row["auc"]
            said["AUC"].setdefault(line, {})[row["detector"]] = (
                f"{line}<br>{row['detector']}: AUC {row['auc']:.3f} [{row['auc_low']:.3f} to {row['auc_high']:.3f}], "
                f"two-sided {row['two_sided']:.3f}<br>TPR@90 {row['tpr90']:.3f} of {row['n']} scans"
            )
    figure = heat_maps({"success": success, "AUC": auc}, "AUC", hover=said)
    figure.data[0].update(colorscale="Blues")  # a share is neither good nor bad at one half
    return figure
