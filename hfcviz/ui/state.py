"""What the pages share: the bundle (once for the process), and each session's scan, result and jobs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import streamlit as st

from hfcviz import jobs
from hfcviz.bundle import BUNDLES, Bundle, open_bundle
from hfcviz.datasets import Dataset
from hfcviz.grids import Shown, shown
from hfcviz.outcome import Outcome
from hfcviz.projections import Embedding
from hfcviz.resampling import Placement, place
from hfcviz.scans import Scan, Window, flat
from hfcviz.settings import InputError
from hfcviz.store import Store, digest
from hfcviz.ui.kept import kept
from hfcviz.ui.run import saying

KEPT = 40
"""Positions of one layer each that a session remembers: every layer of a bundled network in every projection, and some."""


@dataclass(frozen=True, eq=False)
class ChosenScan:
    """A scan ready for the network: x (C, *spatial) in [0, 1], where it comes from, and its true class if known.

    scan: the same on its own grid and in its own units, where it was a file; window: that with which it was prepared, if a special one.
    """

    name: str
    x: np.ndarray
    label: str | None = None
    scan: Scan | None = None
    window: Window | None = None

    @cached_property
    def sha256(self) -> str:
        """Of what the network gets, as a result's recipe has it."""
        return digest(np.ascontiguousarray(self.x, dtype=np.float32))

    @cached_property
    def placement(self) -> Placement | None:
        """How the scan came onto the network's grid; None where only the network's is known."""
        return None if self.scan is None else place(self.scan, self.x.shape, self.window)


@st.cache_resource(show_spinner=False)
def _opened(name: str) -> Bundle:
    return open_bundle(name)


def named(name: str) -> Bundle:
    """A bundle by its name, whatever this session has chosen."""
    return _opened(name)


def bundle() -> Bundle:
    """Model, reference cohort and published runs of the task that this session has chosen."""
    return _opened(st.session_state.bundle_name)


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """Results of earlier runs."""
    return Store()


def start() -> None:
    """Give a new session the bundled default."""
    if "bundle_name" not in st.session_state:
        st.session_state.images = {}
        st.session_state.origins = {}
        st.session_state.studies = {}
        choose(next(iter(BUNDLES)))


def choose(name: str) -> None:
    """Turn this session to another bundle: its scan and result, if it brings one; what still runs is stopped.

    InputError, and nothing has changed, where its files are damaged.
    """
    chosen = _opened(name)
    first, scan, names = chosen.first, None, chosen.about["class_names"]
    if first is not None:
        scan_id, cohort = first.recipe["scan"]["name"], chosen.reference
        # Not by scan_of(): unpacking the images would keep the first page waiting.
        scan = ChosenScan(scan_id, first.x[0], names[cohort.labels[cohort.ids.index(scan_id)]])
    for slot in ("view", "cohort_view", "judged", "checks", "images_job", "paper_job"):
        if slot in st.session_state:
            st.session_state.pop(slot)[1].cancel()
    for key in ("job", "cohort_job", "study_job"):
        if st.session_state.get(key) is not None:
            st.session_state[key].cancel()
        st.session_state[key] = None
        st.session_state[f"{key}_message"] = None
    st.session_state.bundle_name = name
    st.session_state.outcome = first
    st.session_state.scan = scan
    st.session_state.embeddings = {}
    st.session_state.origins = {}
    st.session_state.cohort = None
    st.session_state.cohort_running = None
    st.session_state.cohort_at_once = None
    st.session_state.cohort_by_link = False
    st.session_state.chosen = frozenset()
    st.session_state.at_once = False


def has_images() -> bool:
    """Whether the labelled images of the chosen bundle are here; `images` would unpack them."""
    return bundle().source is not None or bundle().name in st.session_state.images


def images() -> Dataset | None:
    """The labelled test images of the chosen bundle: its own, or those that this session has loaded, with what came along; None
    without any.
    """
    chosen = bundle()
    own: Dataset | None = st.session_state.images.get(chosen.name)
    if own is not None or chosen.source is None:
        return own
    if "held_out" in vars(chosen):
        return chosen.held_out
    with saying("Unpacking the images", st.empty()):  # once for the process
        return chosen.held_out


def scan_of(scan_id: str) -> ChosenScan | None:
    """A scan of the labelled images by its id; None where they are not here."""
    dataset = images()
    try:
        return None if dataset is None else ChosenScan(scan_id, *dataset.sample(scan_id))
    except InputError:  # a set that lacks it
        return None


def is_of_task(scan: ChosenScan) -> bool:
    """Whether the scan comes with the task: never a file, nor a data set, of one's own."""
    return scan.scan is None and bundle().source is not None and scan.name in bundle().reference.ids


def is_first(outcome: Outcome) -> bool:
    """Whether this is the result that comes with the task."""
    return outcome is bundle().first


def came_with_task(outcome: Outcome) -> bool:
    """Whether this session made the outcome of a scan that comes with the task."""
    origin = st.session_state.origins.get(outcome.recipe["scan"]["sha256"])
    return origin is not None and is_of_task(origin)


def use(scan: ChosenScan) -> None:
    """Go on to the Explore page with this scan."""
    st.session_state.scan = scan
    st.session_state.job_message = None
    st.session_state.at_once = False  # a link meant another scan
    st.switch_page("hfcviz/ui/pages/explore.py")


def remember(scan: ChosenScan) -> None:
    """Keep what is about to be attacked, so that its outcome can be shown on the scan's own grid; in this session only."""
    kept: dict[str, ChosenScan] = st.session_state.origins
    kept[scan.sha256] = scan
    for old in list(kept)[:-2]:  # the one that is shown and the one that runs; volumes are large
        del kept[old]


def seen(outcome: Outcome) -> Shown:
    """An outcome on the grid that is shown: its scan's own where this session knows it, else the network's."""
    return kept("seen", outcome, None, lambda: _seen(outcome))


def _seen(outcome: Outcome) -> Shown:
    origin = st.session_state.origins.get(outcome.recipe["scan"]["sha256"])
    if origin is None or origin.scan is None:
        return shown(outcome, affine=bundle().affine_of(outcome.recipe["scan"]["name"]))
    return shown(outcome, origin.scan, origin.window)


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
    if outcome is bundle().first and (found := bundle().maps.get(f"{method} {layer}")):
        return found
    return st.session_state.embeddings.get((digest(outcome.recipe), layer, method))


def keep_embedding(outcome: Outcome, layer: str, method: str, embedding: Embedding) -> None:
    """Remember positions for this session: the newest KEPT of them."""
    kept, key = st.session_state.embeddings, (digest(outcome.recipe), layer, method)
    kept.pop(key, None)
    kept[key] = embedding
    for old in list(kept)[:-KEPT]:
        del kept[old]


def thumbnail(x: np.ndarray) -> np.ndarray:
    """A picture (H, W) or (H, W, 3) of x, (C, *spatial) in [0, 1], for st.image."""
    picture = flat(x)
    return np.round((picture[0] if len(picture) != 3 else np.moveaxis(picture, 0, -1)) * 255).astype(np.uint8)
