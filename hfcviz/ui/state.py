"""What the pages share: the bundle (once for the process), and each session's scan, result and jobs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from hfcviz import jobs
from hfcviz.bundle import Bundle, open_bundle
from hfcviz.outcome import Outcome
from hfcviz.panels import flat
from hfcviz.projections import Embedding
from hfcviz.store import Store, digest, load_arrays


@dataclass(frozen=True, eq=False)
class ChosenScan:
    """A scan ready for the network: x (C, *spatial) in [0, 1], where it comes from, and its true class if known."""

    name: str
    x: np.ndarray
    label: str | None = None


@st.cache_resource(show_spinner=False)
def bundle() -> Bundle:
    """Model, data set and reference cohort of the bundled default."""
    return open_bundle()


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """Results of earlier runs."""
    return Store()


@st.cache_resource(show_spinner=False)
def first_embeddings() -> dict[str, Embedding]:
    """The bundled positions of the first result: {"UMAP layer1.0": ...}."""
    arrays, about = load_arrays(bundle().folder / "embeddings.npz")
    return {name: Embedding(xy, tuple(about[name]["axes"]), about[name]["note"], False) for name, xy in arrays.items()}


def start() -> None:
    """Give a new session the bundled scan and result."""
    if "outcome" not in st.session_state:
        first, cohort = bundle().first, bundle().reference
        name = first.recipe["scan"]["name"]
        label = bundle().about["class_names"][cohort.labels[cohort.ids.index(name)]]
        st.session_state.outcome = first
        # Not by scan_of(): unpacking the whole data set would keep the first page waiting.
        st.session_state.scan = ChosenScan(name, first.x[0], label)
        st.session_state.job = None
        st.session_state.embeddings = {}
        st.session_state.job_message = None
        st.session_state.cohort_job_message = None
        st.session_state.cohort = None
        st.session_state.cohort_job = None
        st.session_state.chosen = frozenset()


def scan_of(scan_id: str) -> ChosenScan:
    """A scan of the bundled test set by its id."""
    x, label = bundle().sample(scan_id)
    return ChosenScan(scan_id, x, label)


def collect(key: str) -> object | None:
    """The result of a finished job kept under `key`; its error or stop becomes the message of its page, kept under
    `key` + "_message". None while it runs.
    """
    job: jobs.Job | None = st.session_state.get(key)
    if job is None or job.state in ("queued", "running"):
        return None
    st.session_state[key] = None
    if job.state == "failed":
        st.session_state[f"{key}_message"] = ("error", job.error)
    elif job.state == "cancelled":
        st.session_state[f"{key}_message"] = ("info", f"Stopped: {job.name}. The result from before is still shown.")
    return job.result


def known_embedding(outcome: Outcome, layer: str, method: str) -> Embedding | None:
    """Positions computed earlier in this session, or bundled."""
    if outcome is bundle().first and f"{method} {layer}" in first_embeddings():
        return first_embeddings()[f"{method} {layer}"]
    return st.session_state.embeddings.get((digest(outcome.recipe), layer, method))


def keep_embedding(outcome: Outcome, layer: str, method: str, embedding: Embedding) -> None:
    """Remember positions for the rest of the session."""
    st.session_state.embeddings[digest(outcome.recipe), layer, method] = embedding


def thumbnail(x: np.ndarray) -> np.ndarray:
    """A picture (H, W) or (H, W, 3) of x, (C, *spatial) in [0, 1], for st.image."""
    picture = flat(x)
    return np.round((picture[0] if len(picture) != 3 else np.moveaxis(picture, 0, -1)) * 255).astype(np.uint8)
