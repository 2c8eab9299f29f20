"""The parts of the Data & model page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from hfcviz.activations import extract
from hfcviz.bundle import BUNDLES, Bundle
from hfcviz.checks import MOST, Check, preflight
from hfcviz.classifiers import Classifier
from hfcviz.datasets import Dataset, load_dataset
from hfcviz.settings import InputError, Progress
from hfcviz.ui import linked, state
from hfcviz.ui.run import computed

PAGE = 24
"""Thumbnails shown at a time."""
CHECKED = 64
"""Test scans of which the checks draw theirs."""
SIGNS = {"ok": ":material/check_circle:", "warning": ":material/warning:", "problem": ":material/error:"}


def task() -> None:
    """Choose one of the bundles."""
    names = list(BUNDLES)
    current = st.session_state.bundle_name
    chosen = st.segmented_control(
        "Task",
        names,
        default=current,
        format_func=lambda name: BUNDLES[name].title,
        key="task",
        required=True,
        help="A network, the cohort that its detectors were trained on, and its published runs.",
    )
    if chosen is not None and chosen != current:
        try:
            state.choose(chosen)
        except InputError as error:
            st.error(str(error), icon=":material/error:")
        else:
            st.rerun()


def gallery(bundle: Bundle) -> None:
    """Thumbnails of the test scans that no detector was trained on."""
    if not state.has_images():
        _load_images(bundle)
        return
    data, reference = state.images(), bundle.reference
    assert data is not None
    names = data.class_names
    chosen = st.segmented_control(
        "Class",
        ["all", *names],
        default="all",
        required=True,
        key=f"gallery_class.{bundle.name}",
        help="Show the test scans of one class alone.",
    )
    rows = [
        row
        for row in np.flatnonzero(~reference.trains)
        if chosen in ("all", None) or names[int(reference.labels[row])] == chosen
    ]
    pages = max(1, -(-len(rows) // PAGE))
    page = (
        st.number_input(
            f"Page (1 to {pages})", 1, pages, 1, key=f"gallery_page_{chosen}", width=160, help=f"{PAGE} scans a page."
        )
        if pages > 1
        else 1
    )
    st.caption(
        f"{len(rows)} scans. The button below a scan names its class and opens it on the Explore page; *mark* marks it in all figures "
        f"of the Explore and Cohort pages. {data.about}"
    )
    if bundle.source is None and st.button(
        "Load another data set", icon=":material/folder_open:", help="Let go of these images and name another place."
    ):
        del st.session_state.images[bundle.name]
        st.rerun()
    with st.container(horizontal=True, gap="small"):
        for row in rows[(page - 1) * PAGE : page * PAGE]:
            scan = state.scan_of(reference.ids[row])
            if scan is None:
                continue
            with st.container(width=140, gap="small"):
                st.image(state.thumbnail(scan.x), width="stretch", alt=f"{scan.name}, {scan.label}")
                if st.button(
                    f"{scan.label}",
                    key=f"use.{scan.name}",
                    help=f"Attack {scan.name} on the Explore page.",
                    width="stretch",
                ):
                    state.use(scan)
                linked.tick(scan.name, "gallery")


def _load_images(bundle: Bundle) -> None:
    """Where images do not come with the task, take them from this machine."""
    st.markdown(
        f"There are no test scans of **{bundle.title}** here yet. {bundle.note} Load that data set from your disk, its images "
        f"brought to {' x '.join(map(str, bundle.about['input_shape'][1:]))} pixels, or an X-ray of your own in the next tab."
    )
    path = st.text_input(
        "Folder, zip, CSV or .npz of the data set on this machine",
        key=f"images.{bundle.name}",
        placeholder="/data/kermany_pneumonia_224.zip",
        help="ROOT/{train,val,test}/CLASS/file, a CSV of file and label, or the MedMNIST layout. The test scans are then "
        "offered here, and shown behind a selection on the Cohort page.",
    )
    if not path.strip():
        return
    found = computed(
        "images_job", (bundle.name, path), "Reading the images", lambda progress: _read(bundle, path, progress)
    )
    if found is not None:
        st.session_state.images[bundle.name] = found
        st.rerun()


def _read(bundle: Bundle, text: str, progress: Progress) -> Dataset:
    """The data set, if it is the one whose test scans the cohort knows."""
    try:
        path = Path(text.strip()).expanduser().resolve()  # never the name of a set that would be downloaded
        there = path.is_file() or path.is_dir()
    except (OSError, RuntimeError):
        there = False
    if not there:
        raise InputError(
            f"The data set must be a file or folder on this machine; got {text.strip()!r}: check the path."
        )
    found = load_dataset(path, fit=bundle.about["input_shape"], progress=progress)
    if found.class_names != bundle.about["class_names"]:
        raise InputError(
            f"{found.name} must have the classes {', '.join(bundle.about['class_names'])}; got {', '.join(found.class_names)}."
        )
    known = set(found.splits["test"].ids) if "test" in found.splits else set()
    shared = [row for row, name in enumerate(bundle.reference.ids) if name in known]
    if not shared:
        raise InputError(
            f"{found.name} holds none of the test scans of {bundle.title}: name the data set that the task is about, or load a "
            "single scan in the next tab."
        )
    if not _same_scans(bundle, found, shared[:8]):
        raise InputError(
            f"{found.name} holds other pictures under the names of the test scans of {bundle.title}: bring the original images "
            "to the network's size without other changes."
        )
    return found


def _same_scans(bundle: Bundle, data: Dataset, rows: list[int]) -> bool:
    """Whether the network makes of these images, rows of the cohort, what it made of the cohort's (in half precision)."""
    seen = extract(bundle.classifier, np.stack([data.sample(bundle.reference.ids[row])[0] for row in rows]))
    then = bundle.reference.cohort["clean"].take(rows)
    return all(np.allclose(seen.layers[name], then.layers[name], rtol=0.02, atol=0.02) for name in seen.layers)


def model(bundle: Bundle) -> None:
    """The network, and the preflight checks on a sample of test scans."""
    about = bundle.about
    shape, layers = " x ".join(map(str, about["input_shape"])), about["layer_names"]
    st.markdown(
        f"**{about['name']}**: input {shape}, classes {', '.join(about['class_names'])}, "
        f"{len(layers)} observed layers ({', '.join(layers)})."
    )
    data = state.images() if state.has_images() else None
    if data is None:
        st.caption(f"The checks need labelled images. {bundle.note} Load that data set in the first tab.")
        return
    count = len(data.splits["test"].y)
    st.caption(f"The checks look at {min(MOST, count)} of the {count} test scans of {data.name}.")
    key = bundle.name, data.name
    checks = computed("checks", key, "Checks", lambda progress: _check(bundle.classifier, data, progress))
    if checks is None:
        return
    for check in checks:
        st.markdown(f"{SIGNS[check.state]} **{check.name}**: {check.sentence}")


def _check(classifier: Classifier, data: Dataset, progress: Progress) -> list[Check]:
    progress(0, "the network sees the test scans")
    test = data.splits["test"]
    rows = np.linspace(0, len(test.y) - 1, CHECKED).astype(int)
    return preflight(classifier, test.images(rows), test.y[rows], progress=progress)
