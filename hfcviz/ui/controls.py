"""The side bar of the Explore page: choose attack, constraint and target, and run."""

from __future__ import annotations

import streamlit as st

from hfcviz import jobs
from hfcviz.attacks import ATTACKS
from hfcviz.bundle import Bundle
from hfcviz.experiment import run_experiment
from hfcviz.grids import in_units
from hfcviz.outcome import Plan
from hfcviz.penalties import PENALTIES
from hfcviz.reference import like_cohort
from hfcviz.store import digest
from hfcviz.ui import state
from hfcviz.ui.forms import entered, settings_form
from hfcviz.ui.run import RUN_KEY

AUTOMATIC = "the most likely other class"


def sidebar(bundle: Bundle) -> Plan | None:
    """Draw the controls; returns the plan that they spell, or None where an entry breaks a rule (which is then
    shown).
    """
    with st.sidebar:
        scan: state.ChosenScan | None = st.session_state.scan
        if scan is not None:
            chosen = st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False)
            chosen.image(state.thumbnail(scan.x), width=96, alt="the chosen scan")
            chosen.markdown(f"**{scan.name}**" + (f"  \ntruth: {scan.label}" if scan.label else "  \ntruth unknown"))
        label = "Choose another scan" if scan else "Choose a scan"
        st.page_link("hfcviz/ui/pages/data_model.py", label=label, icon=":material/radiology:")
        plan = _plan(bundle, scan)
        running = st.session_state.job is not None
        st.session_state.plan = plan
        ready = plan is not None and scan is not None and not running
        pressed = st.container(key="run_bar").button(
            "Run",
            type="primary",
            width="stretch",
            disabled=not ready,
            icon=":material/play_arrow:",
            shortcut=RUN_KEY,
            help="Attack the scan without and with the constraint, and ask all detectors.",
        )
        at_once = st.session_state.pop("at_once", False)  # a link names this result
        if ready and (pressed or at_once):
            assert plan is not None and scan is not None
            st.session_state.job_message = None
            st.session_state.job = _submit(bundle, scan, plan)
            st.rerun()
    return plan


def _plan(bundle: Bundle, scan: state.ChosenScan | None) -> Plan | None:
    keep = {"persist_state": "session"}
    attack_name = st.selectbox(
        "Attack", list(ATTACKS), key="attack", help="How the scan is changed step by step.", **keep
    )
    usual = like_cohort(ATTACKS[attack_name], bundle.reference)
    attack = entered(lambda: settings_form(usual, f"attack.{attack_name}.{bundle.name}"))
    if attack is not None and scan is not None and scan.scan is not None and scan.placement is not None:
        st.caption(
            f"eps {attack.eps * 255:.3g}/255 = {in_units(attack.eps, scan.placement.window, scan.scan.unit)}",
            help="The window of this scan that becomes the network's range from 0 to 1.",
        )
    penalty_name = st.selectbox(
        "Constraint",
        list(PENALTIES)[::-1],
        key="penalty",
        help="What the second attack is bound to, at equal eps, step size and steps.",
        **keep,
    )
    of_penalty, names = PENALTIES[penalty_name], {"layers": bundle.about["layer_names"]}
    penalty = of_penalty and entered(lambda: settings_form(of_penalty, f"penalty.{penalty_name}.{bundle.name}", names))
    target = st.selectbox(
        "Target",
        [AUTOMATIC, *bundle.about["class_names"]],
        key=f"target.{bundle.name}",
        help="The class that the network shall see.",
        **keep,
    )
    seed = st.number_input("Seed", value=0, step=1, key="seed", help="Same seed, same result.", **keep)
    if not 0 <= seed < 2**31:
        st.error(f"Seed must be between 0 and {2**31 - 1}; got {seed}.", icon=":material/error:")
        return None
    if attack is None or (of_penalty is not None and penalty is None):
        return None
    return Plan(attack_name, attack, penalty_name, penalty, None if target == AUTOMATIC else target, int(seed))


def _submit(bundle: Bundle, scan: state.ChosenScan, plan: Plan) -> jobs.Job:
    # Everything the work needs is bound here, as the worker has no session of its own; but it loads the network itself.
    state.remember(scan)
    st.session_state.running = (scan, plan)
    store, reference = state.store(), bundle.reference
    names = f"{plan.label('attack')} and {plan.label('hidden')}" if plan.penalty else plan.label("attack")
    return jobs.submit(
        lambda progress: run_experiment(
            bundle.classifier, reference, scan.x, plan, scan_name=scan.name, store=store, progress=progress
        ),
        f"{names} on {scan.name}",
    )


def same_plan(plan: Plan, recipe: dict) -> bool:
    """Whether a result was made with this plan."""
    return digest(plan.as_dict()) == digest(recipe["plan"])
