"""What an address says of a view: the task, the scan, the settings and what is selected, in words and numbers of our own.

Nothing in it comes from a file: a scan is a number in the task's own cohort, and a scan of one's own is only said to be one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hfcviz.attacks import ATTACKS, Attack
from hfcviz.bundle import BUNDLES, Bundle
from hfcviz.detectors import DETECTORS
from hfcviz.outcome import Plan
from hfcviz.penalties import HFC, PENALTIES
from hfcviz.projections import PROJECTIONS
from hfcviz.reference import like_cohort
from hfcviz.runs import in_255
from hfcviz.settings import InputError, Option, Settings, options
from hfcviz.tables import MEASURES, PAPER

FIRST_TASK = next(iter(BUNDLES))
OWN = "own"
"""In place of a scan's number: a scan of one's own, which no link carries."""
ONE_LAYER, ALL_LAYERS = "one", "all"
LONGEST = 4000
"""Characters of one value; a selection of every second scan of a bundled cohort takes a fifth of it."""

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class View:
    """All that an address carries; None stands for what the page shows by itself."""

    task: str = FIRST_TASK
    scan: str | None = None
    """Id of a scan of the task's cohort, or OWN."""
    plan: Plan | None = None
    layer: str | None = None
    method: str | None = None
    show: str | None = None
    chosen: frozenset[str] = frozenset()
    """Ids of the selected scans of the task's cohort."""
    eps: float | None = None
    """Of the published runs, in 255ths."""
    run: str | None = None
    measure: str | None = None
    detector: str | None = None


def usual_plan(bundle: Bundle, attack: str = "PGD", penalty: str = "HFC") -> Plan:
    """What the controls say before anybody has touched them."""
    return Plan(attack, like_cohort(ATTACKS[attack], bundle.reference), penalty, PENALTIES[penalty])


def usual_run(bundle: Bundle) -> tuple[str, float]:
    """The published run on which the page opens: (attack, eps in 255ths) of the cohort, or else the first there is."""
    known, names = bundle.reference.recipe, bundle.runs.names
    usual = known["attack_name"], in_255(known["attack"]["eps"])
    return usual if usual in names else names[0]


def plan_of(recipe: Mapping[str, Any]) -> Plan:
    """The plan that a result's recipe["plan"] was made from; an automatic step size is automatic again."""
    attack = Attack(**recipe["attack"])
    automatic = attack.replace(step_size=None)
    penalty = None if recipe["penalty"] is None else HFC(**recipe["penalty"])
    attack = automatic if automatic.step == attack.step else attack
    return Plan(recipe["attack_name"], attack, recipe["penalty_name"], penalty, recipe["target"], recipe["seed"])


def numbered(ids: Sequence[str]) -> dict[str, int]:
    """{id: number}: the number at its end where that tells them apart ("test-0017"), else its place in the cohort."""
    parts = [re.fullmatch(r"(.*?)(\d{1,9})", one, re.ASCII | re.DOTALL) for one in ids]
    found = [(part[1], int(part[2])) for part in parts if part]
    if len({prefix for prefix, _ in found}) == 1 and len(set(found)) == len(ids):
        return {one: number for one, (_, number) in zip(ids, found, strict=True)}
    return {one: place for place, one in enumerate(ids)}


def to_query(view: View) -> dict[str, str]:
    """The parameters of an address; only what differs from the untouched page."""
    bundle = BUNDLES[view.task]
    found: dict[str, str] = {} if view.task == FIRST_TASK else {"task": view.task}
    if view.scan is not None:
        found["scan"] = OWN if view.scan == OWN else str(numbered(bundle.reference.ids)[view.scan])
    if view.plan is not None:
        found |= _of_plan(view.plan, bundle)
    plain = {name: getattr(view, name) for name in ("layer", "method", "show", "run", "measure", "detector")}
    found |= {name: value for name, value in plain.items() if value is not None}
    if view.eps is not None:
        found["eps"] = _digits(view.eps)
    if view.chosen:
        found["chosen"] = _ranges(view.chosen, numbered(bundle.reference.ids))
    return found


def from_query(query: Mapping[str, str]) -> tuple[View, list[str]]:
    """The view of an address, and a sentence for each parameter that cannot be used; the others hold."""
    refused: list[str] = []
    left = dict(query)

    def taken(name: str, read: Callable[[str], Any], default: Any = None) -> Any:
        if name not in left:
            return default
        try:
            text = left.pop(name)
            if len(text) > LONGEST:
                raise InputError(f"{name} must have at most {LONGEST} characters; got {len(text)}.")
            return read(text)
        except InputError as error:
            refused.append(str(error))
            return default

    def one_of(name: str, values: Sequence[str], default: Any = None) -> Any:
        return taken(name, lambda text: _one_of(name, text, values), default)

    task = one_of("task", list(BUNDLES), FIRST_TASK)
    bundle = BUNDLES[task]
    layers, numbers = bundle.about["layer_names"], numbered(bundle.reference.ids)
    plan = _plan(bundle, one_of, taken)
    sizes = {_digits(eps): eps for _, eps in bundle.runs.names}
    eps = one_of("eps", list(sizes))
    at = sizes[eps] if eps is not None else usual_run(bundle)[1] if sizes else None
    runs = [name for name, size in bundle.runs.names if size == at]
    view = View(
        task=task,
        scan=taken("scan", lambda text: _scan(text, bundle, numbers)),
        plan=None if plan == usual_plan(bundle) else plan,
        layer=one_of("layer", layers),
        method=one_of("method", list(PROJECTIONS)),
        show=one_of("show", [ONE_LAYER, ALL_LAYERS]),
        chosen=taken("chosen", lambda text: _chosen(text, numbers), frozenset()),
        eps=None if eps is None else sizes[eps],
        run=one_of("run", runs),
        measure=one_of("measure", [*MEASURES, PAPER]),
        detector=one_of("detector", list(DETECTORS)),
    )
    refused += [f"A link must be made of parameters of ours; got {_short(name)}: it is left out." for name in left]
    return view, refused


def _of_plan(plan: Plan, bundle: Bundle) -> dict[str, str]:
    usual = usual_plan(bundle, plan.attack_name, plan.penalty_name)
    found = {"attack": plan.attack_name, "penalty": plan.penalty_name}
    found = {name: value for name, value in found.items() if value != getattr(Plan(), f"{name}_name")}
    found |= _changed("attack", plan.attack, usual.attack)
    if plan.penalty is not None and usual.penalty is not None:
        found |= _changed("penalty", plan.penalty, usual.penalty)
    if plan.target is not None:
        found["target"] = plan.target
    return found | ({"seed": str(plan.seed)} if plan.seed else {})


def _plan(bundle: Bundle, one_of: Callable[..., Any], taken: Callable[..., Any]) -> Plan:
    known = Plan()
    usual = usual_plan(
        bundle,
        one_of("attack", list(ATTACKS), known.attack_name),
        one_of("penalty", list(PENALTIES), known.penalty_name),
    )
    layers = bundle.about["layer_names"]
    attack = _with_changes("attack", usual.attack, taken, layers)
    penalty = None if usual.penalty is None else _with_changes("penalty", usual.penalty, taken, layers)
    target = one_of("target", bundle.about["class_names"])
    return replace(usual, attack=attack, penalty=penalty, target=target, seed=taken("seed", _seed, 0))


def _changed(kind: str, settings: Settings, usual: Settings) -> dict[str, str]:
    """{"attack.eps": "2"}: what differs, as people enter it."""
    return {
        f"{kind}.{one.name}": _text(one, getattr(settings, one.name))
        for one in options(type(settings))
        if getattr(settings, one.name) != getattr(usual, one.name)
    }


def _with_changes(kind: str, usual: S, taken: Callable[..., Any], names: Sequence[str]) -> S:
    for one in options(type(usual)):
        usual = taken(
            f"{kind}.{one.name}",
            lambda text, one=one, so_far=usual: so_far.replace(
                **{one.name: _value(one, text, getattr(so_far, one.name), names)}
            ),
            usual,
        )
    return usual


def _text(option: Option, value: Any) -> str:
    if value is None:
        return "none"
    if option.kind is tuple:
        return ",".join(value)
    if option.kind is float:
        return _digits(option.entered(value))
    return str(value).lower() if option.kind is bool else str(value)


def _value(option: Option, text: str, untouched: Any, names: Sequence[str]) -> Any:
    """What `_text` wrote, still to be checked by the field itself."""
    if text == "none" and option.optional:
        return None
    if option.kind is tuple:
        found = tuple(text.split(",")) if text else ()
        for name in found:
            _one_of(f"{option.owner}.{option.name}", name, names)
        return found
    if option.kind is bool:
        return {"true": True, "false": False}.get(text, text)
    if option.kind is int or option.kind is float:
        # Not all that Python reads as a number: digits of other scripts and underscores are typing errors.
        pattern = r"-?\d{1,18}" if option.kind is int else r"-?\d{1,40}(\.\d{0,40})?(e[-+]?\d{1,3})?"
        if re.fullmatch(pattern, text, re.ASCII) is None:
            raise InputError(f"{option.owner}.{option.name} must be a number; got {_short(text)}.")
        return option.stored(option.kind(text), untouched)
    return text[:40]


def _digits(value: float) -> str:
    """As short as can be read back to the last bit."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _seed(text: str) -> int:
    if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or int(text) >= 2**31:
        raise InputError(f"Seed must be between 0 and {2**31 - 1}; got {_short(text)}.")
    return int(text)


def _scan(text: str, bundle: Bundle, numbers: Mapping[str, int]) -> str:
    if text == OWN:
        return OWN
    if bundle.source is None:
        raise InputError(
            f"scan must not be in a link to {bundle.title}, whose images do not come with it; got {_short(text)}."
        )
    found = [one for one, number in numbers.items() if str(number) == text]
    if not found:
        raise InputError(
            f"scan must be the number of a scan of {bundle.title}, {min(numbers.values())} to {max(numbers.values())}, that "
            f"the network classifies correctly; got {_short(text)}."
        )
    return found[0]


def _ranges(chosen: frozenset[str], numbers: Mapping[str, int]) -> str:
    """ "3-7,12": runs of scans that follow each other in the cohort."""
    runs: list[list[int]] = []
    before = False
    for one, number in sorted(numbers.items(), key=lambda pair: pair[1]):
        if one in chosen:
            runs = [*runs[:-1], [runs[-1][0], number]] if before else [*runs, [number, number]]
        before = one in chosen
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _chosen(text: str, numbers: Mapping[str, int]) -> frozenset[str]:
    found: set[str] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part, re.ASCII)
        if ends is None:
            raise InputError(f"chosen must be numbers and ranges such as 3-7,12; got {_short(part)}.")
        low, high = int(ends[1]), int(ends[2] or ends[1])
        here = {one for one, number in numbers.items() if low <= number <= high}
        if not here:
            raise InputError(f"chosen must name scans of the cohort; there are none at {part}.")
        found |= here
    return frozenset(found)


def _one_of(name: str, text: str, values: Sequence[str]) -> str:
    if text not in values:
        raise InputError(f"{name} must be one of {', '.join(values)}; got {_short(text)}.")
    return text


def _short(text: str) -> str:
    """A stranger's text, as much of it as a sentence bears."""
    return repr(text if len(text) <= 40 else text[:40] + "...")
