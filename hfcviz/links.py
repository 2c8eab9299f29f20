"""What an address says of a view: the task, the scan, the settings and what is selected, in words and numbers of our own.

Nothing in it comes from a file: a scan is a number in the task's own cohort, and a scan of one's own is only said to be one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hfcviz import live
from hfcviz.attacks import ATTACKS, Attack
from hfcviz.bundle import BUNDLES, Bundle
from hfcviz.detectors import DETECTORS
from hfcviz.link_values import (
    changed,
    chosen_of,
    digits,
    numbered,
    ranges,
    seed_of,
    short,
    voxel_of,
    window_of,
    with_changes,
    word_of,
)
from hfcviz.outcome import Plan
from hfcviz.penalties import HFC, PENALTIES
from hfcviz.planes import PLANES
from hfcviz.projections import PROJECTIONS
from hfcviz.protocol import Protocol
from hfcviz.reference import like_cohort
from hfcviz.runs import in_255
from hfcviz.settings import InputError
from hfcviz.slices import ZOOMS
from hfcviz.studies import catalogue
from hfcviz.tables import MEASURES, PAPER
from hfcviz.windows import UNITLESS

FIRST_TASK = next(iter(BUNDLES))
OWN = "own"
"""In place of a scan's number: a scan of one's own, which no link carries."""
ONE_LAYER, ALL_LAYERS = "one", "all"
BOTH, NEUROLOGICAL = "both", "neurological"
LONGEST = 4000
"""Characters of one value; a selection of every second scan of a bundled cohort takes a fifth of it."""


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
    plane: str | None = None
    """In place of all three."""
    voxel: tuple[int, ...] | None = None
    """Under the crosshair, on the network's grid."""
    window: str | tuple[float, float] | None = None
    """By name, or level and width."""
    zoom: float | None = None
    difference: str | None = None
    """The role whose change is shown, or BOTH."""
    order: str | None = None
    """NEUROLOGICAL, in place of radiological."""
    eps: float | None = None
    """Of the published runs, in 255ths."""
    run: str | None = None
    live: Protocol | None = None
    """Of a cohort that is evaluated on the Cohort page, in place of a published run."""
    measure: str | None = None
    detector: str | None = None
    study: str | None = None


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


def to_query(view: View) -> dict[str, str]:
    """The parameters of an address; only what differs from the untouched page."""
    bundle = BUNDLES[view.task]
    found: dict[str, str] = {} if view.task == FIRST_TASK else {"task": view.task}
    if view.scan is not None:
        found["scan"] = OWN if view.scan == OWN else str(numbered(bundle.reference.ids)[view.scan])
    if view.plan is not None:
        found |= _of_plan(view.plan, bundle)
    plain = {name: getattr(view, name) for name in ("layer", "method", "show", "run", "measure", "detector", "study")}
    found |= {name: value for name, value in plain.items() if value is not None}
    if view.scan != OWN:  # which is on a grid and in units that are not ours
        found |= _of_looks(view)
    if view.live is not None:
        found |= live.in_address(view.live, bundle)
    if view.eps is not None:
        found["eps"] = digits(view.eps)
    if view.chosen:
        found["chosen"] = ranges(view.chosen, numbered(bundle.reference.ids))
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
        return taken(name, lambda text: word_of(name, text, values), default)

    task = one_of("task", list(BUNDLES), FIRST_TASK)
    bundle = BUNDLES[task]
    layers, numbers = bundle.about["layer_names"], numbered(bundle.reference.ids)
    plan = _plan(bundle, one_of, taken)
    sizes = {digits(eps): eps for _, eps in bundle.runs.names}
    eps = one_of("eps", list(sizes))
    at = sizes[eps] if eps is not None else usual_run(bundle)[1] if sizes else None
    runs = [name for name, size in bundle.runs.names if size == at]
    scan = taken("scan", lambda text: _scan(text, bundle, numbers))
    view = View(
        task=task,
        scan=scan,
        plan=None if plan == usual_plan(bundle) else plan,
        layer=one_of("layer", layers),
        method=one_of("method", list(PROJECTIONS)),
        show=one_of("show", [ONE_LAYER, ALL_LAYERS]),
        chosen=taken("chosen", lambda text: chosen_of(text, numbers), frozenset()),
        **_looks(bundle, scan, taken),
        eps=None if eps is None else sizes[eps],
        run=one_of("run", runs),
        live=live.from_address(query, bundle, taken),
        measure=one_of("measure", [*MEASURES, PAPER]),
        detector=one_of("detector", list(DETECTORS)),
        study=one_of("study", list(catalogue.STUDIES)),
    )
    refused += [f"The link has a part that hfcviz does not know, {short(name)}: it is left out." for name in left]
    return view, refused


def _of_looks(view: View) -> dict[str, str]:
    """How slices are looked at."""
    found: dict[str, Any] = {"plane": view.plane, "difference": view.difference, "order": view.order}
    found["voxel"] = view.voxel and ",".join(map(str, view.voxel))
    found["window"] = (
        view.window if view.window is None or isinstance(view.window, str) else ",".join(map(digits, view.window))
    )
    found["zoom"] = view.zoom and digits(view.zoom)
    return {name: text for name, text in found.items() if text}


def _looks(bundle: Bundle, scan: str | None, taken: Callable[..., Any]) -> dict[str, Any]:
    """What `_of_looks` wrote, as fields of a view; only for a scan that comes with the task, and most of it for a volume alone."""
    shape = bundle.about["input_shape"][1:]
    zooms = {digits(zoom): zoom for zoom in ZOOMS}
    readers: dict[str, Callable[[str], Any]] = {
        "plane": lambda text: word_of("plane", text, list(PLANES)),
        "voxel": lambda text: voxel_of(text, shape),
        "window": lambda text: window_of(text, UNITLESS),
        "zoom": lambda text: zooms[word_of("zoom", text, list(zooms))],
        "difference": lambda text: word_of("difference", text, ["attack", "hidden", BOTH]),
        "order": lambda text: word_of("order", text, [NEUROLOGICAL]),
    }

    def read(name: str, text: str) -> Any:
        what = "a scan" if name == "window" else "a volume"
        if scan == OWN or bundle.source is None or (name != "window" and len(shape) != 3):
            raise InputError(f"{name} must be of {what} that comes with the task; got {short(text)}: it is left out.")
        return readers[name](text)

    return {name: taken(name, lambda text, name=name: read(name, text)) for name in readers}


def _of_plan(plan: Plan, bundle: Bundle) -> dict[str, str]:
    usual = usual_plan(bundle, plan.attack_name, plan.penalty_name)
    found = {"attack": plan.attack_name, "penalty": plan.penalty_name}
    found = {name: value for name, value in found.items() if value != getattr(Plan(), f"{name}_name")}
    found |= changed("attack", plan.attack, usual.attack)
    if plan.penalty is not None and usual.penalty is not None:
        found |= changed("penalty", plan.penalty, usual.penalty)
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
    attack = with_changes("attack", usual.attack, taken, layers)
    penalty = None if usual.penalty is None else with_changes("penalty", usual.penalty, taken, layers)
    target = one_of("target", bundle.about["class_names"])
    return replace(usual, attack=attack, penalty=penalty, target=target, seed=taken("seed", seed_of, 0))


def _scan(text: str, bundle: Bundle, numbers: Mapping[str, int]) -> str:
    if text == OWN:
        return OWN
    if bundle.source is None:
        raise InputError(
            f"scan must not be in a link to {bundle.title}, whose images do not come with it; got {short(text)}."
        )
    found = [one for one, number in numbers.items() if str(number) == text]
    if not found:
        raise InputError(
            f"scan must be the number of a scan of {bundle.title}, {min(numbers.values())} to {max(numbers.values())}, that "
            f"the network classifies correctly; got {short(text)}."
        )
    return found[0]
