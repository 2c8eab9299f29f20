"""The parts of the Studies page: what a study found, and the form that runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from hfcviz import jobs
from hfcviz.bundle import Bundle
from hfcviz.models import MODELS, load_model
from hfcviz.settings import InputError, Progress, Settings
from hfcviz.store import digest
from hfcviz.studies import catalogue, reports
from hfcviz.studies.findings import Findings
from hfcviz.studies.lab import Budget, Lab
from hfcviz.studies.opening import bundle_of, open_lab, usual_eps
from hfcviz.ui import state
from hfcviz.ui.forms import settings_form
from hfcviz.ui.run import watch
from hfcviz.ui.views import chart

if TYPE_CHECKING:
    import plotly.graph_objects as go

NONE, OWN = "none", "one of your own"
"""Choices of a second network beside the bundled ones."""
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
    return own or published(bundle, name)


def published(bundle: Bundle, name: str) -> Findings | None:
    """The published findings; None where there are none, or they are damaged, which is then said."""
    try:
        return _read(bundle.name, name)
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        return None


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
        with column, st.container(border=True, height="stretch"):
            st.markdown(f"**{title}**")
            st.markdown(words)
    try:
        figure = _figure(name, digest(found.rows), found)
    except InputError as error:
        st.error(str(error), icon=":material/error:")
    else:
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
        _no_images(bundle)


def _no_images(bundle: Bundle) -> None:
    st.markdown(f"A run needs the labelled images. {bundle.note}")


def strip(bundle: Bundle, name: str, found: Findings | None) -> None:
    """What runs, how it ended, or where the findings come from: of one height, so that what is below stays where it is."""
    message = st.session_state.study_job_message
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
            st.caption("A published run. The address of this page opens it in another browser too.")


# The form


def run_form(bundle: Bundle, name: str, found: Findings | None) -> None:
    """Budget, the study's settings and, where it takes one, a second network; and Run."""
    study, running = catalogue.STUDIES[name], st.session_state.study_job is not None
    with st.expander("Run this study", key=f"study.form.{name}"):
        if not state.has_images():
            _no_images(bundle)
            st.page_link("hfcviz/ui/pages/data_model.py", label="Load the data set", icon=":material/radiology:")
            return
        left, right = st.columns(2, gap="medium")
        try:
            with left:
                st.markdown("**Budget**, the same for all that is compared")
                budget = settings_form(Budget(eps=usual_eps(bundle)), f"study.budget.{bundle.name}")
            with right:
                st.markdown("**Settings of this study**")
                lists = {"layers": bundle.about["layer_names"]} if getattr(study.settings, "layers", None) == () else {}
                settings = settings_form(study.settings, f"study.{name}.{bundle.name}", lists)
                second = _second(bundle, name) if study.beside else None
        except InputError as error:
            st.error(str(error), icon=":material/error:")
            return
        with st.container(horizontal=True, vertical_alignment="center"):
            start = st.button(
                "Run",
                key=f"study.run.{name}",
                type="primary",
                disabled=running,
                icon=":material/play_arrow:",
                help="Carries out the study with these settings; what is shown stays until it is finished.",
            )
            own = (bundle.name, name) in st.session_state.studies
            if own and st.button(
                "Back to the published run" if published(bundle, name) is not None else "Put this run away",
                key=f"study.back.{name}",
                disabled=running,
                help="What was computed stays on disk: the same settings are soon there again.",
            ):
                del st.session_state.studies[bundle.name, name]
                st.session_state.study_job_message = None
                st.rerun()
        if found is not None and not _same(found, budget, settings):
            st.caption("These settings are not those of the run that is shown: press Run to see theirs.")
        else:
            st.caption("What is finished is kept: the same settings go on where they stopped.")
        if start:
            _start(bundle, name, budget, settings, second)


def _same(found: Findings, budget: Budget, settings: Settings) -> bool:
    wanted = [budget.as_dict(), settings.as_dict()]
    return digest([found.recipe["lab"]["budget"], found.recipe["settings"]]) == digest(wanted)


def _second(bundle: Bundle, name: str) -> tuple[str, str] | None:
    """(model, data set) of the second network, the set empty for the first one's; None where none is chosen."""
    known = {model: where for model in MODELS if (where := _data_of(model, bundle)) is not None}
    choice = st.selectbox(
        "Second network",
        [NONE, *known, OWN],
        key=f"study.beside.{name}.{bundle.name}",
        help=catalogue.STUDIES[name].beside,
        persist_state="session",
    )
    if choice == NONE or choice is None:
        return None
    if choice != OWN:
        return choice, known[choice]
    model = st.text_input(
        "Folder of the model",
        key=f"study.beside_model.{name}",
        help="On the machine that runs hfcviz; it holds classifier.json and classifier.safetensors.",
    )
    data = st.text_input(
        "Its data set",
        key=f"study.beside_data.{name}",
        placeholder="that of the first network",
        help="A bundled or a MedMNIST set, or the path of an .npz, a folder, a zip or a CSV.",
    )
    if not model.strip():
        raise InputError("A second network of your own needs the folder of its model: type it.")
    return model.strip(), data.strip()


def _data_of(model: str, bundle: Bundle) -> str | None:
    """The data set of a bundled model, empty for that of the first network; None where its images are not here."""
    other = bundle_of(model)
    if other is bundle or MODELS[model] == bundle.folder:
        return None
    if other is None:
        return ""
    return other.source


def _start(bundle: Bundle, name: str, budget: Budget, settings: Settings, second: tuple[str, str] | None) -> None:
    """Queue the run, unless it can be told at once that it cannot be carried out."""
    st.session_state.study_job_message = None
    dataset, store = state.images(), state.store()
    assert dataset is not None
    try:
        with st.spinner("Checking ..."):
            lab = Lab(bundle.classifier, dataset, budget, store)
            if second is None or not second[1]:
                beside = None if second is None else _on_same_images(second[0], lab)
                catalogue.check(name, lab, settings, beside)
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        return

    def work(progress: Progress) -> Findings:
        other = open_lab(*second, budget, store, progress=progress) if second is not None and second[1] else beside
        return catalogue.perform(name, lab, settings, other, progress=progress)

    st.session_state.study_job = jobs.submit(work, f"{catalogue.STUDIES[name].title}")
    st.rerun()


def _on_same_images(model: str, lab: Lab) -> Lab:
    classifier = load_model(model)
    return Lab(classifier, lab.dataset.fitted(classifier.input_shape), lab.budget, lab.store)
