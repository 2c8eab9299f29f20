"""What stands above the figures of the Explore page: one strip that keeps its height, whatever state the page is in."""

from __future__ import annotations

import streamlit as st

from hfcviz import panels
from hfcviz.bundle import Bundle
from hfcviz.outcome import Outcome, Plan
from hfcviz.reference import Reference
from hfcviz.ui import controls, state
from hfcviz.ui.run import watch


def strip(outcome: Outcome | None, reference: Reference, plan: Plan | None, scan: state.ChosenScan | None) -> None:
    """One of: what runs; how the last run ended; what has been chosen since; what is shown."""
    changed = outcome is not None and plan is not None and not controls.same_plan(plan, outcome.recipe)
    other = outcome is not None and scan is not None and scan.sha256 != outcome.recipe["scan"]["sha256"]
    job, said = st.session_state.job, st.session_state.job_message
    with st.container(
        key="strip_stale" if changed and not other and not said and job is None else "strip", gap="small"
    ):
        if job is not None:
            watch(job, "job")
            return
        if said is not None:
            kind, text = said
            (st.error if kind == "error" else st.info)(text)
            return
        if outcome is None:
            return
        if other and scan is not None:
            st.info(_another(outcome.recipe["scan"]["name"], scan.name), icon=":material/info:")
            return
        stale = " **The controls have changed since: press Run.**" if changed else ""
        st.caption(_shown(outcome) + stale)
        if not changed and (note := _note(outcome, reference)):
            st.caption(note)


def _another(shown: str, chosen: str) -> str:
    # Not told by the name: one file with another window, slice or volume is another scan to the network.
    if shown == chosen:
        return (
            f"What is shown is an earlier result of {shown}: press Run to attack the window, slice or volume that is "
            "now chosen."
        )
    return f"What is shown is the result of {shown}: press Run to attack {chosen}."


def _shown(outcome: Outcome) -> str:
    recipe = outcome.recipe
    attack = recipe["plan"]["attack"]
    return (
        f"Shown: {recipe['scan']['name']}, eps {attack['eps'] * 255:.3g}/255, {attack['steps']} step{'s' * (attack['steps'] != 1)} "
        f"of {attack['step_size'] * 255:.3g}/255, seed {recipe['plan']['seed']}."
    )


def _note(outcome: Outcome, reference: Reference) -> str | None:
    """The second line, where nothing more urgent stands."""
    if panels.caution(outcome, reference):
        return ":material/warning: The verdicts need care: see what stands below the detectors."
    if not state.is_first(outcome) and not state.came_with_task(outcome):
        return "The address of this page opens these settings again, but not the scan, which is yours."
    return "The address of this page opens this result in another browser too."


def caution(outcome: Outcome, reference: Reference) -> None:
    """What to bear in mind with the verdicts; beside them, so that the figures stay where they are."""
    if doubt := panels.caution(outcome, reference):
        st.warning(doubt)


def nothing_yet(bundle: Bundle, scan: state.ChosenScan | None) -> None:
    """What to do where there is no result to show."""
    steps = (
        f"**{scan.name}** is chosen: press *Run* on the left, and its attacked versions, the features of every layer "
        "and the detectors' verdicts appear here."
        if scan is not None
        else f"**{bundle.title}** has no first result to show. {bundle.note} Load an X-ray of your own, or that data set."
    )
    st.markdown(steps)
    if scan is None:
        st.page_link("hfcviz/ui/pages/data_model.py", label="Load a scan", icon=":material/radiology:")
