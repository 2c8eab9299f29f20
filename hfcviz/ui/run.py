"""Long work in the page: the page stays alive, shows how far it is, and has a Stop button."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import streamlit as st

from hfcviz import jobs
from hfcviz.settings import Progress

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

T = TypeVar("T")
RUN_KEY, STOP_KEY = "Mod+Enter", "Esc"
LEAD = 0.1
"""Seconds by which what is looked at first is sent before the rest; the browser is busy with it for longer."""


def watch(job: jobs.Job, key: str) -> None:
    """Progress of a job with a Stop button; the whole page is drawn anew when it ends."""
    bar, stop = st.columns([6, 1], vertical_alignment="center", wrap=False)
    # The button stands outside the fragment: a click that names a fragment is dropped while the whole page is drawn,
    # because a fragment is unknown until that drawing reaches it. This click interrupts the drawing instead.
    stop.button(
        "Stop",
        key=f"stop.{key}",
        icon=":material/stop_circle:",
        width="stretch",
        on_click=job.cancel,
        help="Ends it after its present step; what was shown before stays.",
        shortcut=STOP_KEY,
    )
    with bar:
        _progress(job)
    lead()  # it stands before the rest of the page is drawn


@st.fragment(run_every=1.0)
def _progress(job: jobs.Job) -> None:
    if job.state not in ("queued", "running"):
        st.rerun()
    left = job.eta_seconds  # read once: the worker may end meanwhile
    eta = f", about {left:.0f} s left" if left is not None else ""
    if job.stopping:
        waiting = "stopping after its present step"
    else:
        waiting = "waiting for another run to end" if job.state == "queued" else f"{job.what}{eta}"
    st.progress(min(max(job.fraction, 0.0), 1.0), text=f"{job.name}: {waiting}")


def lead() -> None:
    """Let the browser draw what it has got before more comes: what comes together it shows together."""
    time.sleep(LEAD)


@contextmanager
def saying(what: str, place: DeltaGenerator) -> Iterator[None]:
    """Within, one line in an empty place of the page: of work of less than a second, for which Streamlit's spinner would come too late."""
    place.caption(f":material/hourglass_top: {what} …")
    try:
        yield
    finally:
        place.empty()


def computed(slot: str, key: object, name: str, work: Callable[[Progress], T]) -> T | None:
    """The result of `work`, from a job that starts at once and is watched here; None until it is done.

    One job for each slot of the page: another key cancels it. After a stop or a failure the page says so and offers
    to start again.
    """
    kept: tuple[object, jobs.Job[T]] | None = st.session_state.get(slot)
    wanted = kept is None or kept[0] != key
    if kept is not None and not wanted and kept[1].finished:
        job = kept[1]
        if job.state == "done":
            return job.result
        st.info(job.error or f"Stopped: {name}.")
        wanted = st.button(
            "Start again", key=f"again.{slot}", icon=":material/play_arrow:", help=f"{name}, from the beginning."
        )
        if not wanted:
            return None
    if wanted:
        if kept is not None:
            kept[1].cancel()
        st.session_state[slot] = (key, jobs.submit(work, name))
    watch(st.session_state[slot][1], slot)
    return None
