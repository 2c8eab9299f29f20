"""The form of the Studies page: budget, settings, a second network, and Run."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from hfcviz import jobs
from hfcviz.bundle import Bundle
from hfcviz.datasets import Dataset
from hfcviz.models import MODELS, load_model
from hfcviz.settings import InputError, Progress, Settings
from hfcviz.store import digest
from hfcviz.studies import catalogue
from hfcviz.studies.findings import Findings
from hfcviz.studies.lab import Lab
from hfcviz.studies.opening import bundle_of, open_lab, usual_eps
from hfcviz.studies.pieces import Budget
from hfcviz.ui import state
from hfcviz.ui.forms import entered, in_labels, settings_form
from hfcviz.ui.study_views import is_published, no_images

NONE, OWN = "none", "one of your own"
"""Choices of a second network beside the bundled ones."""
ALONE = ("", "")
"""No second network."""


def run_form(bundle: Bundle, name: str, found: Findings | None) -> None:
    """Budget, the study's settings and, where it takes one, a second network; and Run."""
    study, running = catalogue.STUDIES[name], st.session_state.study_job is not None
    with st.expander("Run this study", key=f"study.form.{name}"):
        if not state.has_images():
            no_images(bundle)
            st.page_link("hfcviz/ui/pages/data_model.py", label="Load the data set", icon=":material/radiology:")
            return
        left, right = st.columns(2, gap="medium")
        with left:
            st.markdown("**Budget**, the same for all that is compared")
            budget = entered(lambda: settings_form(Budget(eps=usual_eps(bundle)), f"study.budget.{bundle.name}"))
        with right:
            st.markdown("**Settings of this study**")
            lists = {"layers": bundle.about["layer_names"]} if getattr(study.settings, "layers", None) == () else {}
            settings = entered(lambda: settings_form(study.settings, f"study.{name}.{bundle.name}", lists))
            second = entered(lambda: _second(bundle, name)) if study.beside else ALONE
        with st.container(horizontal=True, vertical_alignment="center"):
            start = st.button(
                "Run",
                key=f"study.run.{name}",
                type="primary",
                disabled=running or None in (budget, settings, second),
                icon=":material/play_arrow:",
                help="Carries out the study with these settings; what is shown stays until it is finished.",
            )
            own = (bundle.name, name) in st.session_state.studies
            if own and st.button(
                "Back to the published run" if is_published(bundle, name) else "Put this run away",
                key=f"study.back.{name}",
                disabled=running,
                help="What was computed stays on disk: the same settings are soon there again.",
            ):
                del st.session_state.studies[bundle.name, name]
                st.session_state.study_job_message = None
                st.rerun()
        if budget is None or settings is None or second is None:
            return
        if found is not None and not _same(found, budget, settings):
            st.caption("These settings are not those of the run that is shown: press Run to see theirs.")
        else:
            st.caption("What is finished is kept: the same settings go on where they stopped.")
        if start:
            _start(bundle, name, budget, settings, second)


def _same(found: Findings, budget: Budget, settings: Settings) -> bool:
    wanted = [budget.as_dict(), settings.as_dict()]
    return digest([found.recipe["lab"]["budget"], found.recipe["settings"]]) == digest(wanted)


def _second(bundle: Bundle, name: str) -> tuple[str, str]:
    """(model, data set) of the second network, the set empty where the model is bundled or looks at the first one's images;
    ALONE where none is chosen.
    """
    choice = st.selectbox(
        "Second network",
        [NONE, *(model for model in MODELS if MODELS[model] != bundle.folder), OWN],
        key=f"study.beside.{name}.{bundle.name}",
        help=catalogue.STUDIES[name].beside,
        persist_state="session",
    )
    if choice == NONE or choice is None:
        return ALONE
    if choice != OWN:
        other = bundle_of(choice)
        if other is not None and _images_of(other) is None:
            raise InputError(
                f"{choice} needs the labelled images of {other.title}, which are not here: load them on the Data & model page, or choose "
                f"another network."
            )
        return choice, ""
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


def _images_of(other: Bundle) -> Callable[[], Dataset] | None:
    """How to get the labelled images of another task: those that this session has loaded, else its own; None without any."""
    loaded: Dataset | None = st.session_state.images.get(other.name)
    if loaded is not None:
        return lambda: loaded
    return None if other.source is None else lambda: other.dataset


def _start(bundle: Bundle, name: str, budget: Budget, settings: Settings, second: tuple[str, str]) -> None:
    """Queue the run. Everything that it needs is bound here, and opened by the worker, which takes seconds."""
    st.session_state.study_job_message = None
    images, store = _images_of(bundle), state.store()
    assert images is not None
    loaded = None if second == ALONE or second[1] else _opener(second[0])

    def work(progress: Progress) -> Findings:
        progress(0, "opening the network and its images")
        lab = Lab(bundle.classifier, images(), budget, store)
        try:
            beside = open_lab(*second, budget, store, progress=progress) if second[1] else loaded and loaded(lab)
            return catalogue.perform(name, lab, settings, beside, progress=progress)
        except InputError as error:
            raise in_labels(error, type(settings), Budget) from error

    st.session_state.study_job = jobs.submit(work, f"{catalogue.STUDIES[name].title}")
    st.session_state.study_ran = bundle.name, name
    st.rerun()


def _opener(model: str) -> Callable[[Lab], Lab]:
    """How to open the second network, told the first: a task's own on the images of its task, any other on those of the first."""
    other = bundle_of(model) if model in MODELS else None
    images = None if other is None else _images_of(other)
    if other is not None and images is not None:
        return lambda lab: Lab(other.classifier, images(), lab.budget, lab.store)

    def beside(lab: Lab) -> Lab:
        classifier = load_model(model)
        return Lab(classifier, lab.dataset.fitted(classifier.input_shape), lab.budget, lab.store)

    return beside
