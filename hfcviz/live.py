"""Cohorts that people evaluate themselves: what few choices stand for, how an address names one, how a recipe brings one back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hfcviz.attacks import ATTACKS
from hfcviz.bundle import Bundle
from hfcviz.cells import recipe_of
from hfcviz.cohort import Judged
from hfcviz.datasets import Dataset, load_dataset
from hfcviz.evaluation import judged_cohort
from hfcviz.link_values import digits, eps_of, scans_of, short, word_of
from hfcviz.penalties import HFC
from hfcviz.protocol import LEAST, Protocol, Task
from hfcviz.runs import in_255
from hfcviz.settings import InputError, Progress, silent
from hfcviz.store import digest

ATTACK, SCANS = "PGD", 60
"""What the form says before anybody has touched it; eps is the cohort's."""
WORDS: dict[str, Callable[[str], Any]] = {
    "live": lambda text: word_of("live", text, list(ATTACKS)),
    "live.eps": lambda text: eps_of("live.eps", text),
    "live.scans": lambda text: scans_of("live.scans", text, LEAST),
}
"""What an address says of such a cohort: attack, eps in 255ths, most attacked scans. All else is as in the task's own cohort."""


def usual_eps(bundle: Bundle) -> float:
    """The eps of the task's own cohort, in 255ths."""
    return in_255(bundle.reference.recipe["attack"]["eps"])


def protocol_of(bundle: Bundle, attack: str, eps_255: float, scans: int) -> Protocol:
    """What these choices stand for: with and without the constraint, with as many steps as the task's own cohort."""
    steps = bundle.reference.recipe["attack"]["steps"]
    eps = float(f"{eps_255:.10g}") / 255  # the digits that a file's name and an address have
    return Protocol((attack,), ("none", "HFC"), (eps,), scans, steps=steps)


def in_address(protocol: Protocol, bundle: Bundle) -> dict[str, str]:
    """The parameters of an address that name it; but for the attack only what differs from the untouched form."""
    found, eps = {"live": protocol.attacks[0]}, in_255(protocol.eps[0])
    if eps != usual_eps(bundle):
        found["live.eps"] = digits(eps)
    return found if protocol.limit == SCANS else found | {"live.scans": str(protocol.limit)}


def from_address(query: Mapping[str, str], bundle: Bundle, taken: Callable[..., Any]) -> Protocol | None:
    """What `in_address` wrote, taken by `taken`, which gives None for what it refuses; None without such a cohort, and where a part of it
    cannot be used: nothing else shall be computed in its place.
    """
    given = [name for name in WORDS if name in query]
    if given and bundle.source is None:

        def refuse(text: str) -> None:
            raise InputError(
                f"{given[0]} must not be in a link to {bundle.title}, whose images do not come with it; got {short(text)}: load the data "
                "set on the Data & model page, and evaluate it on the Cohort page."
            )

        for name in given:
            taken(name, refuse if name == given[0] else str)
        return None
    found = {name: taken(name, WORDS[name]) for name in given}
    if not found or None in found.values():
        return None
    eps = found.get("live.eps", usual_eps(bundle))
    return protocol_of(bundle, found.get("live", ATTACK), eps, found.get("live.scans", SCANS))


def carried(recipe: Mapping[str, Any], bundle: Bundle) -> Protocol | None:
    """The protocol of a judged cohort, by its recipe, where an address may carry it; None for images that do not come with the task, of
    which no name or number may get out.
    """
    if bundle.source is None or "protocol" not in recipe or recipe["dataset_sha256"] != bundle.dataset.sha256:
        return None
    name, eps, limit = recipe["attack_name"], recipe["attack"]["eps"], recipe["protocol"]["limit"]
    found = protocol_of(bundle, name, in_255(eps), limit)
    return found if digest(found.as_dict()) == digest(recipe["protocol"]) else None


def published(recipe: Mapping[str, Any], bundle: Bundle) -> Judged | None:
    """The published run of a recipe; None where it is of none. InputError where the recipe is damaged."""
    try:
        name, eps = recipe["attack_name"], in_255(recipe["attack"]["eps"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("the eps of its attack", error) from None
    if (name, eps) not in bundle.runs.names:
        return None
    judged = bundle.runs.load(name, eps)
    return judged if digest(judged.recipe) == digest(recipe) else None


def again(
    recipe: Mapping[str, Any], bundle: Bundle, path: str | None, base: Path, *, progress: Progress = silent
) -> Judged:
    """The cohort of a recipe evaluated again, or what is left of it where an earlier evaluation stopped: see `judged_cohort`.

    path: of its data set, which does not need one where it comes with the bundle. InputError where data set, network or settings are not
    those of the recipe.
    """
    if "protocol" not in recipe or not isinstance(recipe.get("dataset_sha256"), str):  # written before these were kept
        raise InputError(
            f"The cohort of {str(recipe['attack_name'])[:40]} of this recipe does not come with hfcviz, and the recipe does not hold all "
            "that it was made with: evaluate it and name its folder."
        )
    protocol = _protocol(recipe)
    dataset = _dataset(recipe, bundle, path, progress)
    expected = recipe_of(Task(bundle.classifier, dataset, protocol, base), protocol.attacks[0], protocol.eps[0])
    differing = [key for key, value in expected.items() if digest(recipe.get(key)) != digest(value)]
    if differing:
        raise InputError(
            f"The cohort must be made with what its recipe says, but here {', '.join(differing)} would differ: evaluate it with these "
            "settings, or name its network's bundle with --bundle."
        )
    return judged_cohort(bundle.classifier, dataset, protocol, base, progress=progress)


def _protocol(recipe: Mapping[str, Any]) -> Protocol:
    try:
        name, eps, told = recipe["attack_name"], recipe["attack"]["eps"], recipe["protocol"]
        limit, seed, steps = told["limit"], told["seed"], told["steps"]
        if name not in ATTACKS or type(eps) not in (int, float) or type(seed) is not int or not 0 <= seed < 2**31:
            raise KeyError(f"{str(name)[:40]}, eps {str(eps)[:40]}, seed {str(seed)[:40]}")
        if type(steps) is not int or (limit is not None and type(limit) is not int):
            raise KeyError(f"steps {str(steps)[:40]}, limit {str(limit)[:40]}")
        penalties = ("none",) if recipe["penalty"] is None else ("none", "HFC")
        return Protocol((name,), penalties, (eps,), limit, seed, steps, HFC(**told["constraint"]))
    except (KeyError, TypeError) as error:
        raise _damaged("all that its cohort was made with", error) from None


def _dataset(recipe: Mapping[str, Any], bundle: Bundle, path: str | None, progress: Progress) -> Dataset:
    """The data set of the recipe, under the name that it had then."""
    name, wanted = str(recipe.get("dataset"))[:200], recipe["dataset_sha256"]
    if path is None and bundle.source is None:
        raise InputError(
            f"The recipe's cohort was evaluated on {name}, and no images of {bundle.title} come with hfcviz: name that data set with "
            "--dataset."
        )
    if path is None:
        found = bundle.dataset
    else:
        found = load_dataset(path, fit=bundle.about["input_shape"], progress=progress)
    if found.sha256 != wanted:
        raise InputError(
            f"The data set must be the one of the recipe, {name} with the sha256 {wanted[:12]}, but {path or found.name} has "
            f"{found.sha256[:12]}: name it with --dataset."
        )
    return found if found.name == name else replace(found, name=name)  # a file may have got another name since


def _damaged(what: str, error: Exception) -> InputError:
    return InputError(f"The recipe must hold {what}, but does not ({error}): make it again.")
