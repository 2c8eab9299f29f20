"""A run repeated from its recipe, and what came of it compared with what the recipe's file says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfcviz.attacks import ATTACKS
from hfcviz.bundle import BUNDLES, Bundle, open_bundle
from hfcviz.outcome import Plan
from hfcviz.penalties import HFC, PENALTIES
from hfcviz.settings import InputError

TOLERANCE = {"probability": 0.05, "score": 0.5, "linf": 1e-6}
"""What may differ where bits do: a probability by so much; a score by this share of the range of the middle 90 % of clean scans plus its
distance from the threshold; the largest change by rounding. Classes and verdicts may not.

Other processors add up in another order, and where a gradient is nearly 0 its sign, and with it a step, goes the other way. Measured on
five bundled scans with the widest instructions of one processor switched off: up to a quarter of the pixels differed, probabilities by at
most 0.011, scores by at most 0.34 of that range, and no verdict. Another number of threads changed no bit of the pixels.
"""
DAMAGED = (KeyError, TypeError, AttributeError)
"""What a report of another shape gives, since its parts are read where they are needed."""
SAME, WITHIN, DIFFERS = "same bits", "within tolerance", "differs"


@dataclass(frozen=True)
class Line:
    """One number or word of a run: what the file says, what came now, and the verdict (SAME, WITHIN or DIFFERS)."""

    what: str
    then: Any
    now: Any
    verdict: str


def plan_of(recipe: Mapping[str, Any]) -> Plan:
    """The plan of a run's recipe; InputError where it is damaged or breaks a rule."""
    try:
        plan = recipe["plan"]
        attack = ATTACKS[plan["attack_name"]].replace(**plan["attack"])
        penalty = HFC(**plan["penalty"]) if plan["penalty"] is not None else None
        seed = plan["seed"]
        if plan["penalty_name"] not in PENALTIES or type(seed) is not int or not 0 <= seed < 2**31:
            raise KeyError(f"{plan['penalty_name']}, seed {plan['seed']}")
        return Plan(plan["attack_name"], attack, plan["penalty_name"], penalty, plan["target"], plan["seed"])
    except (KeyError, TypeError) as error:
        raise InputError(f"The recipe must hold the plan of a run, but does not ({error}): make it again.") from error


def bundle_of(recipe: Mapping[str, Any], named: str | None = None) -> Bundle:
    """The bundle that is named, else the one that comes with hfcviz; InputError where it has not the network of the recipe."""
    try:
        model = recipe["model"]["name"] if "plan" in recipe else recipe["model"]
    except (KeyError, TypeError) as error:
        raise InputError(f"The recipe must name its network, but does not ({error}): make it again.") from None
    if named is not None:
        found = open_bundle(named)
        if found.about["name"] != model:
            raise InputError(
                f"--bundle must hold the network of the recipe, {model}; got {found.about['name']} of {named}."
            )
        return found
    for bundle in BUNDLES.values():
        if bundle.about["name"] == model:
            return bundle
    raise InputError(
        f"The recipe is of the network {model}, which is none of hfcviz: name its bundle's folder with --bundle."
    )


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as it was: each version, the weights, the cohort behind the detectors. Recipes of two runs; InputError where the
    first is damaged.
    """
    try:
        return _changes(then, now)
    except DAMAGED as error:
        raise InputError(
            f"The recipe must say what its run was made with, but does not ({error}): make it again."
        ) from error


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    for what, key in (("the weights of the network", "model"), ("the cohort of the detectors", "detectors")):
        if then[key]["sha256"] != now[key]["sha256"]:
            found.append(f"{what} ({then[key]['sha256'][:8]} then, {now[key]['sha256'][:8]} now)")
    old, new = then.get("versions", {}), now.get("versions", {})
    found += [
        f"{name} ({old.get(name)} then, {new.get(name)} now)"
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]
    return found


def spreads(bundle: Bundle) -> dict[str, float]:
    """{detector: the range of the middle 90 % of its scores of clean scans}."""
    found = {}
    for name, one in bundle.reference.detectors().items():
        low, high = np.quantile(one.calibration_scores, (0.05, 0.95))
        found[name] = float(high - low)
    return found


def compare(then: Mapping[str, Any], now: Mapping[str, Any], spread: Mapping[str, float]) -> list[Line]:
    """Line by line, two reports (`outcome.report`): pixels of each version, classes and confidences, largest change, scores, verdicts.

    spread: {detector: range of clean scans}, as `spreads` gives it.

    Pixels have no tolerance of their own: where their digests differ, what follows from them tells whether it matters, so their line is
    then WITHIN or DIFFERS as the worst of the others. InputError where `then` says nothing that could be compared, or is damaged.
    """
    try:
        return _compared(then, now, spread)
    except DAMAGED as error:
        raise InputError(
            f"The report must say what came of the run, but is damaged ({error}): make it again."
        ) from error


def _compared(then: Mapping[str, Any], now: Mapping[str, Any], spread: Mapping[str, float]) -> list[Line]:
    if not {"clean", "adversarial", "linf", "detectors"} & set(then):
        raise InputError(
            "The recipe's file must say what came of the run, but holds the recipe alone: name report.json."
        )
    lines = []
    for version in ("clean", "adversarial"):
        old, new = then[version], now[version]
        lines.append(_exact(f"{version}: predicted", old["predicted"], new["predicted"]))
        for name, chance in new["probabilities"].items():
            what = f"{version}: probability of {name}"
            lines.append(_near(what, old["probabilities"].get(name), chance, TOLERANCE["probability"]))
    lines.append(_near("largest change", then["linf"], now["linf"], TOLERANCE["linf"]))
    for name in then["detectors"] | now["detectors"]:
        old, new = then["detectors"].get(name), now["detectors"].get(name)
        if old is None or new is None:  # of another version of hfcviz
            before, after = ("missing" if one is None else "judged" for one in (old, new))
            lines.append(Line(name, before, after, DIFFERS))
            continue
        for version in ("clean", "adversarial", "threshold"):
            most = TOLERANCE["score"] * (spread[name] + abs(new[version] - new["threshold"]))
            lines.append(_near(f"{name}: {version}", old[version], new[version], most))
        lines.append(_exact(f"{name}: caught", old["caught"], new["caught"]))
    worst = DIFFERS if any(line.verdict == DIFFERS for line in lines) else WITHIN
    for role, digest in then.get("digests", {}).items():
        if not isinstance(digest, str):
            raise _damaged(f"{role}: pixels", digest)
        fresh = now["digests"].get(role)
        lines.insert(0, Line(f"{role}: pixels", digest[:8], fresh and fresh[:8], SAME if digest == fresh else worst))
    return lines


def verdict(lines: list[Line]) -> str:
    """The worst of all."""
    return next(kind for kind in (DIFFERS, WITHIN, SAME) if any(line.verdict == kind for line in lines))


def _exact(what: str, then: Any, now: Any) -> Line:
    if type(then) is not type(now):
        raise _damaged(what, then)
    return Line(what, then, now, SAME if then == now else DIFFERS)


def _near(what: str, then: Any, now: float, most: float) -> Line:
    if type(then) not in (int, float) or not math.isfinite(then):
        raise _damaged(what, then)
    return Line(what, then, now, SAME if then == now else WITHIN if abs(then - now) <= most else DIFFERS)


def _damaged(what: str, then: Any) -> InputError:
    """For a value that is missing (None), no number, or of another kind."""
    got = "nothing" if then is None else repr(then)[:40]
    return InputError(f"The report must say what came of the run, but is damaged ({what}: got {got}): make it again.")
