"""The address of the page: a new session opens on what it says, and it is kept in step with what is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from hfcviz.detectors import DETECTORS
from hfcviz.links import (
    ALL_LAYERS,
    NEUROLOGICAL,
    ONE_LAYER,
    OWN,
    View,
    from_query,
    plan_of,
    to_query,
    usual_plan,
    usual_run,
)
from hfcviz.live import carried
from hfcviz.outcome import Plan, attacked
from hfcviz.planes import PLANES
from hfcviz.protocol import Protocol
from hfcviz.runs import in_255
from hfcviz.settings import Settings, options
from hfcviz.studies import catalogue
from hfcviz.ui import controls, linked, state
from hfcviz.ui.rest import write_address
from hfcviz.ui.sliders import slice_key, view_key
from hfcviz.windows import NETWORK

THREE = "three planes"
CUSTOM = "own level and width"
"""Choices of the viewer."""
SHOWN = {ONE_LAYER: linked.ONE, ALL_LAYERS: linked.ALL}
STEP = "step"
"""Of the tour, which reads it from the address by itself."""
LEFT_OUT = (
    "This link was made of a scan that is no part of the task, and links carry no scans: load it on the Data & model page, then "
    "press Run. What is shown is the first result."
)


def open_link() -> None:
    """Turn a new session to the view that its address names; what cannot be used becomes a sentence for `arrive`."""
    if "link_says" in st.session_state:
        return
    st.session_state.link_says = []
    query = {name: value for name, value in st.query_params.to_dict().items() if name != STEP}
    if not query:
        return
    view, st.session_state.link_says = from_query(query)
    if view.task != st.session_state.bundle_name:
        state.choose(view.task)
    first = st.session_state.scan
    if view.scan == OWN:
        st.session_state.link_says.append(LEFT_OUT)
    elif view.scan is not None and (first is None or view.scan != first.name):
        st.session_state.scan = state.scan_of(view.scan) or first
    for key, value in _widgets(view).items():
        st.session_state[key] = value
    linked.select(view.chosen)
    # On Explore, as if Run had been pressed, where the address names another result than the first.
    st.session_state.at_once = view.scan != OWN and (view.plan is not None or st.session_state.scan is not first)
    st.session_state.cohort_at_once = view.live  # the same on Cohort


def arrive(page: str) -> None:
    """Note which page is drawn, by its url_path, and say what of the address could not be used, until another page is opened."""
    before = st.session_state.get("link_page")
    if before not in (None, page):
        st.session_state.link_says = []
    st.session_state.link_page, st.session_state.arrived = page, page != before
    for sentence in st.session_state.link_says:
        st.warning(sentence, icon=":material/link_off:")


def keep() -> None:
    """Write what is shown into the address of the page; pages that PAGES lacks keep their own."""
    query = _query()
    if query is not None and query != st.query_params.to_dict():
        st.query_params.from_dict(query)


def keep_later() -> None:
    """The same for a fragment that people scroll through: once they rest, and without a step in the browser's history."""
    query = _query()
    write_address(None if query is None else f"?{urlencode(query)}" if query else "")


def _query() -> dict[str, str] | None:
    """What the address of the page should say; None for a page that keeps its own."""
    of_page = PAGES.get(st.session_state.get("link_page"))
    return None if of_page is None else to_query(of_page(View(st.session_state.bundle_name)))


def _explore(view: View) -> View:
    bundle = state.bundle()
    scan, plan, sha256 = _subject()
    if scan != OWN and sha256 is not None:
        view = _looks(view, sha256)
    if bundle.first is not None and scan == bundle.first.recipe["scan"]["name"]:
        scan = None
    layers = bundle.about["layer_names"]
    layer, method = st.session_state.get("layer"), st.session_state.get("method")
    return replace(
        view,
        scan=scan,
        plan=None if plan == usual_plan(bundle) else plan,
        layer=layer if layer in layers[:-1] else None,
        method=None if method == "PCA" else method,
        show=ALL_LAYERS if st.session_state.get("layers_shown") == linked.ALL else None,
        chosen=_known(linked.chosen()),
    )


def _looks(view: View, sha256: str) -> View:
    """How the slices of a scan of the task are looked at, where that differs from how the viewer opens."""
    shape, value = state.bundle().about["input_shape"][1:], st.session_state.get
    key = view_key(view.task, sha256, shape)
    plane, zoom, outcome = value(f"view.{key}"), value(f"zoom.{key}", 1.0), st.session_state.outcome
    window: Any = value(f"window.{key}", NETWORK)
    if window == CUSTOM:
        level, width = value(f"level.{key}"), value(f"width.{key}")
        window = NETWORK if level is None or width is None else (level, width)
    index = [value(slice_key(name, key)) for name in sorted(PLANES, key=PLANES.__getitem__)]
    opened_at = value("centre")
    moved = None not in index and (opened_at is None or opened_at != (key, tuple(index)))
    difference = value(f"changes.{key}")
    usual = outcome is None or difference == attacked(outcome)[-1]
    return replace(
        view,
        plane=plane if plane in PLANES else None,
        voxel=tuple(index) if moved else None,
        window=None if window == NETWORK else window,
        zoom=None if zoom == 1 else zoom,
        difference=None if usual else difference,
        order=None if value(f"radiological.{key}", True) else NEUROLOGICAL,
    )


def _subject() -> tuple[str | None, Plan | None, str | None]:
    """Scan, plan and the scan's digest: of what is being computed, else of what is shown, else of the controls."""
    outcome, scan, plan = st.session_state.outcome, st.session_state.scan, st.session_state.get("plan")
    if st.session_state.job is not None:
        scan, plan = st.session_state.running
    elif outcome is not None:
        carried = state.is_first(outcome) or state.came_with_task(outcome)
        name, sha256 = outcome.recipe["scan"]["name"], outcome.recipe["scan"]["sha256"]
        return (name if carried else OWN), plan_of(outcome.recipe["plan"]), sha256
    if scan is None:
        return None, plan, None
    return (scan.name if state.is_of_task(scan) else OWN), plan, scan.sha256


def _cohort(view: View) -> View:
    bundle, value = state.bundle(), st.session_state.get
    view = replace(view, chosen=_known(linked.chosen()), live=evaluated())
    if view.live is None and (value("cohort") is not None or not bundle.runs.names):
        return view  # of images of one's own, which no link carries
    keys = _cohort_keys(view.task)
    last = bundle.about["layer_names"][-1]
    usual = {"layer": last, "method": "PCA", "measure": "AUC", "detector": next(iter(DETECTORS))}
    changed: dict[str, Any] = {name: value(keys[name]) for name in usual if value(keys[name]) != usual[name]}
    if view.live is not None:
        return replace(view, **changed | {"measure": None})
    usual_name, usual_eps = usual_run(bundle)
    eps = value(keys["eps"], usual_eps)
    names = [name for name, size in bundle.runs.names if size == eps]
    run = value(f"{keys['run']}.{eps}")
    return replace(
        view,
        eps=None if eps == usual_eps else eps,
        run=None if run == (usual_name if usual_name in names else names[0]) else run,
        **changed,
    )


def evaluated() -> Protocol | None:
    """Of the cohort that is computed, else of the live one that is shown; None for a published run, and where no link may carry it."""
    running: Protocol | None = st.session_state.cohort_running
    shown = st.session_state.cohort
    if st.session_state.cohort_job is not None:
        return running
    return None if shown is None else carried(shown.recipe, state.bundle())


def _studies(view: View) -> View:
    name = st.session_state.get("study.name")
    return replace(view, study=None if name == next(iter(catalogue.STUDIES), None) else name)


def _known(chosen: frozenset[str]) -> frozenset[str]:
    """Scans of a data set of one's own that the cohort lacks are not carried."""
    return chosen.intersection(state.bundle().reference.ids)


def _cohort_keys(task: str) -> dict[str, str]:
    """The keys of the Cohort page's widgets; that of the run still lacks its eps."""
    layers = state.bundle().about["layer_names"]
    return {
        "eps": f"cohort.eps.{task}",
        "run": f"cohort.run.{task}",
        "measure": "cohort.measure",
        "detector": "cohort.detector",
        "layer": f"cohort.layer.{len(layers)}.{layers[-1]}",
        "method": "cohort.method.3",
    }


def _widgets(view: View) -> dict[str, Any]:
    """{key of a widget: what it shows}, for all that the view names."""
    found: dict[str, Any] = {"layer": view.layer, "method": view.method}
    found["study.name"] = view.study
    found["layers_shown"] = None if view.show is None else SHOWN[view.show]
    keys = _cohort_keys(view.task)
    found |= {keys[name]: getattr(view, name) for name in ("eps", "measure", "detector", "layer", "method")}
    eps = view.eps if view.eps is not None else usual_run(state.bundle())[1]
    found[f"{keys['run']}.{eps}"] = view.run
    if view.live is not None:
        found |= {"cohort.attack": view.live.attacks[0], "cohort.limit": view.live.limit}
        found[f"cohort.live_eps.{view.task}"] = in_255(view.live.eps[0])
    if st.session_state.scan is not None:
        found |= _looking(view, st.session_state.scan.sha256)
    if view.plan is not None:
        plan = view.plan
        found |= {"attack": plan.attack_name, "penalty": plan.penalty_name, "seed": plan.seed}
        found[f"target.{view.task}"] = plan.target or controls.AUTOMATIC
        found |= _entries(plan.attack, f"attack.{plan.attack_name}.{view.task}")
        if plan.penalty is not None:
            found |= _entries(plan.penalty, f"penalty.{plan.penalty_name}.{view.task}")
    return {key: value for key, value in found.items() if value is not None}


def _looking(view: View, sha256: str) -> dict[str, Any]:
    """What `_looks` reads."""
    key = view_key(view.task, sha256, state.bundle().about["input_shape"][1:])
    found: dict[str, Any] = {f"view.{key}": view.plane, f"zoom.{key}": view.zoom, f"changes.{key}": view.difference}
    found[f"radiological.{key}"] = None if view.order is None else False
    found |= {slice_key(name, key): view.voxel and view.voxel[axis] for name, axis in PLANES.items()}
    if isinstance(view.window, tuple):
        level, width = view.window
        return found | {f"window.{key}": CUSTOM, f"level.{key}": level, f"width.{key}": width}
    return found | {f"window.{key}": view.window}


def _entries(settings: Settings, key: str) -> dict[str, Any]:
    return {f"{key}.{one.name}": one.entered(getattr(settings, one.name)) for one in options(type(settings))}


PAGES = {"": _explore, "cohort": _cohort, "studies": _studies, "data": lambda view: view}
"""What the address of each page tells, by its url_path."""
