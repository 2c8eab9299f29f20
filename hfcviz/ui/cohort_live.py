"""A cohort that is evaluated live on the Cohort page: its form, its job, and the strip that says how it stands."""

from __future__ import annotations

import re

import streamlit as st

from hfcviz import jobs
from hfcviz.attacks import ATTACKS, Attack
from hfcviz.bundle import Bundle
from hfcviz.cohort import Judged
from hfcviz.evaluation import judged_cohort
from hfcviz.live import SCANS, protocol_of, usual_eps
from hfcviz.protocol import LEAST, Protocol, check_protocol
from hfcviz.settings import InputError, Progress, help_of
from hfcviz.ui import links, state
from hfcviz.ui.run import watch


def live(bundle: Bundle) -> None:
    """Choose attack, eps and number of scans, and evaluate them live; what a link names is evaluated at once."""
    wanted, st.session_state.cohort_at_once = st.session_state.cohort_at_once, None
    if wanted is not None and st.session_state.cohort_job is None:
        _start(bundle, wanted, by_link=True)  # before the form is drawn: a rerun would lose what the link sets in it
    running = st.session_state.cohort_job is not None
    with st.expander("Evaluate another attack live"):
        if not state.has_images():
            st.markdown(f"This needs the labelled images. {bundle.note}")
            st.page_link("hfcviz/ui/pages/data_model.py", label="Load the data set", icon=":material/radiology:")
            return
        one, two, three, four = st.columns(4, vertical_alignment="bottom")
        name = one.selectbox("Attack", list(ATTACKS), key="cohort.attack", help="Evaluated without and with HFC.")
        eps = two.number_input(
            "eps (n/255)",
            value=usual_eps(bundle),
            format="%g",
            key=f"cohort.live_eps.{bundle.name}",
            help=help_of(Attack, "eps"),
        )
        limit = three.number_input("Scans", value=SCANS, step=1, key="cohort.limit", help=f"{LEAST} or more.")
        chosen = protocol_of(bundle, name, eps, int(limit))
        refused = _refused(chosen)
        start = four.button(
            "Evaluate",
            disabled=running or refused is not None,
            icon=":material/play_arrow:",
            width="stretch",
            help="Attack the scans, train the detectors on one part of them and judge them on the other.",
        )
        steps = bundle.reference.recipe["attack"]["steps"]
        st.caption(
            f"Attacks of more than one step take {steps}, as in the task's own cohort. What is finished is kept: the same choice "
            "goes on where it stopped."
        )
        if refused is not None:
            st.error(refused, icon=":material/error:")
    if start and not running:
        _start(bundle, chosen)
        st.rerun()


def _refused(protocol: Protocol) -> str | None:
    """What is wrong with an entry, in the words of the form."""
    try:
        check_protocol(protocol)
    except InputError as error:
        return re.sub(r"^limit\b", "Scans", str(error))
    return None


def awaited() -> bool:
    """Whether a link names a cohort that has not come to its end yet: nothing else stands in its place meanwhile."""
    running: bool = st.session_state.cohort_job is not None and st.session_state.cohort_by_link
    return running or st.session_state.cohort_at_once is not None


def _start(bundle: Bundle, protocol: Protocol, by_link: bool = False) -> None:
    """Everything the work needs is bound here; images that come with the task are unpacked by the worker."""
    own, base = st.session_state.images.get(bundle.name), state.store().folder / "cohorts"

    def work(progress: Progress) -> Judged:
        progress(0, "unpacking the images")
        return judged_cohort(bundle.classifier, own or bundle.dataset, protocol, base, progress=progress)

    st.session_state.cohort_job_message = None
    st.session_state.cohort_running, st.session_state.cohort_by_link = (protocol if own is None else None), by_link
    name = f"{protocol.attacks[0]} at {protocol.eps[0] * 255:.10g}/255 on {protocol.limit} scans"
    st.session_state.cohort_job = jobs.submit(work, name)


def strip() -> None:
    """What runs, how it ended, or where the numbers come from: below the expander, which would close if something came to
    stand above it, and of one height, so that the tables stay where they are.
    """
    message = st.session_state.cohort_job_message
    with st.container(key="strip_cohort", gap=None):
        if st.session_state.cohort_job is not None:
            above = st.container()
            if awaited():  # before the bar, after which the page waits a moment
                st.caption(
                    "The address of this page names this cohort. Its table and figures appear here; the published runs after a Stop."
                )
            with above:
                watch(st.session_state.cohort_job, "cohort_job")
            return
        with st.container(horizontal=True, vertical_alignment="center"):
            _ended(message)
            if st.session_state.cohort is not None and st.button(
                "Back to the published runs",
                key="cohort_back",
                icon=":material/arrow_back:",
                help="The evaluated cohort stays on disk.",
            ):
                st.session_state.cohort = None
                st.session_state.cohort_job_message = None
                st.rerun()


def _ended(message: tuple[str, str] | None) -> None:
    """How the last evaluation ended, or where the numbers come from."""
    if message is not None:
        (st.error if message[0] == "error" else st.info)(message[1])
    elif st.session_state.cohort is None:
        st.caption("A published run. The address of this page opens it in another browser too, with what is selected.")
    elif links.evaluated() is not None:
        st.caption(
            "Evaluated live. The address of this page evaluates it in another browser too, with what is selected."
        )
    else:
        st.caption("Evaluated live, in this session only: the address of this page does not carry it.")
