"""What the Studies page shows: which study, what it found, and what runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from hfcviz.bundle import Bundle
from hfcviz.settings import InputError
from hfcviz.store import digest
from hfcviz.studies import catalogue, reports
from hfcviz.studies.findings import Findings
from hfcviz.ui import state
from hfcviz.ui.run import lead, watch
from hfcviz.ui.views import chart

if TYPE_CHECKING:
    import plotly.graph_objects as go

LONG = 12
"""Lines of a table above which it scrolls."""


def choose(bundle: Bundle) -> str | None:
    """The study, by its title, with its question below; None where there is none to choose."""
    studies = catalogue.STUDIES
    if not studies:
        st.info("No studies come with this version of hfcviz.", icon=":material/science:")
        return None
    name = st.pills(
        "Study",
        list(studies),
        default=next(iter(studies)),
        format_func=lambda name: studies[name].title,
        key="study.name",
        required=True,
        persist_state="session",
        help="What is asked. Each study has its own settings; what is computed for one is kept for the others.",
    )
    name = name or next(iter(studies))
    st.subheader(studies[name].question)
    return str(name)


def collect(bundle: Bundle) -> None:
    """Keep what a finished run found, for its study and task."""
    found = state.collect("study_job")
    if isinstance(found, Findings):
        st.session_state.studies[bundle.name, found.study] = found


def shown(bundle: Bundle, name: str) -> Findings | None:
    """The run of this session, else the published one, else None. A damaged file is said in the page's place of results."""
    own: Findings | None = st.session_state.studies.get((bundle.name, name))
    if own is not None:
        return own
    try:
        return _read(bundle.name, name)
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        return None


def is_published(bundle: Bundle, name: str) -> bool:
    """Whether there are published findings to go back to."""
    try:
        return _read(bundle.name, name) is not None
    except InputError:
        return False


@st.cache_resource(show_spinner=False, max_entries=64)
def _read(bundle_name: str, name: str) -> Findings | None:
    return catalogue.published(state.named(bundle_name), name)


@st.cache_resource(show_spinner=False, max_entries=32)
def _figure(name: str, key: str, _found: Findings) -> go.Figure:
    """The figure of findings whose rows have this digest."""
    try:
        return catalogue.STUDIES[name].draw(_found.rows)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The findings of {name} cannot be drawn ({type(error).__name__}: {error}): run the study again."
        ) from error


# What is shown


def findings(found: Findings, name: str) -> None:
    """The two sentences, the figure, the table, and how it was made."""
    study = catalogue.STUDIES[name]
    for title, words, column in zip(
        ("Shows", "Does not show"), (found.shows, found.shows_not), st.columns(2), strict=True
    ):
        with column, st.container(border=True, height="stretch", key=f"study_{title}"):
            st.markdown(f"**{title}**")
            st.markdown(words)
    lead()
    try:
        figure = _figure(name, digest(found.rows), found)
    except InputError as error:
        st.error(str(error), icon=":material/error:")
    else:
        st.caption(study.reading)
        chart(figure, f"study-{name}", study.alt, content=lambda: _content(found))
    _table(found, name)
    st.subheader("How it was made")
    st.markdown(reports.in_short(found))
    st.caption(
        "The command that makes it again; a data set or a model of your own stands under its name, without its place."
    )
    st.code(reports.command_of(found), language="bash", wrap_lines=True)


def _content(found: Findings) -> dict[str, Any]:
    return {"study": found.study, "command": reports.command_of(found), "recipe": found.recipe}


def _table(found: Findings, name: str) -> None:
    table = reports.lines(found.rows)
    st.dataframe(
        pd.DataFrame(table),
        hide_index=True,
        height="content" if len(table) <= LONG else 35 * (LONG + 1),
        alt=f"{catalogue.STUDIES[name].title}: the numbers of the figure, with 95 % intervals where there are some",
    )
    common: dict[str, Any] = {"icon": ":material/download:", "on_click": "ignore"}
    with st.container(horizontal=True):
        st.download_button(
            "Table (CSV)",
            reports.as_csv(found.rows),
            f"{name}.csv",
            "text/csv",
            help="Every value in full, a line for each row.",
            **common,
        )
        st.download_button(
            "Findings (JSON)",
            found.as_json(),
            f"{name}.json",
            "application/json",
            help="The rows, both sentences and the whole recipe: data, network, budget, settings and versions.",
            **common,
        )


def nothing_yet(bundle: Bundle, name: str) -> None:
    """What to do where there are no findings."""
    st.markdown(f"No run of this study is published for **{bundle.title}**.")
    if state.has_images():
        st.markdown("Open *Run this study* above and press *Run*: its figure, table and two sentences appear here.")
    else:
        no_images(bundle)


def no_images(bundle: Bundle) -> None:
    """What a run needs where the labelled images are not here."""
    st.markdown(f"A run needs the labelled images. {bundle.note}")


def strip(bundle: Bundle, name: str, found: Findings | None) -> None:
    """What runs, how it ended, or where the findings come from: of one height, so that what is below stays where it is."""
    ran = st.session_state.get("study_ran") == (bundle.name, name)
    message = st.session_state.study_job_message if ran else None
    with st.container(key="strip_study"):
        if st.session_state.study_job is not None:
            watch(st.session_state.study_job, "study_job")
        elif message is not None and message[0] == "info":
            st.info("Stopped. What is finished is kept: the same settings go on from there.")
        elif message is not None:
            st.error(message[1])
        elif (bundle.name, name) in st.session_state.studies:
            st.caption("Run in this session: the address of this page does not carry it; the command below repeats it.")
        elif found is not None:
            model = found.recipe["lab"]["model"]
            whose = "" if model == bundle.about["name"] else f", of {model} and not of the task's own network"
            st.caption(f"A published run{whose}. The address of this page opens it in another browser too.")
