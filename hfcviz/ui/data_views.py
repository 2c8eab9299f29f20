"""The parts of the Data & model page."""

from __future__ import annotations

import numpy as np
import streamlit as st

from hfcviz import readers, scans
from hfcviz.activations import extract
from hfcviz.bundle import Bundle
from hfcviz.checks import Check, preflight
from hfcviz.metrics import percentile_rank
from hfcviz.settings import InputError, Progress
from hfcviz.ui import state
from hfcviz.ui.run import computed

PAGE = 24
"""Thumbnails shown at a time."""
CHECKED = 64
"""Test scans that the checks look at."""
PLANES = ["sagittal", "coronal", "axial"]
SIGNS = {"ok": ":material/check_circle:", "warning": ":material/warning:", "problem": ":material/error:"}


def _use(scan: state.ChosenScan) -> None:
    st.session_state.scan = scan
    st.session_state.job_message = None
    st.switch_page("hfcviz/ui/pages/explore.py")


def gallery(bundle: Bundle) -> None:
    """Thumbnails of the bundled test scans that no detector was trained on."""
    data, reference = bundle.dataset, bundle.reference
    names = data.class_names
    chosen = st.segmented_control("Class", ["all", *names], default="all", required=True, key="gallery_class")
    rows = [
        row
        for row in np.flatnonzero(~reference.trains)
        if chosen in ("all", None) or names[int(reference.labels[row])] == chosen
    ]
    pages = max(1, -(-len(rows) // PAGE))
    page = (
        st.number_input(f"Page (1 to {pages})", 1, pages, 1, key=f"gallery_page_{chosen}", width=160)
        if pages > 1
        else 1
    )
    st.caption(f"{len(rows)} scans. {data.about}")
    with st.container(horizontal=True, gap="small"):
        for row in rows[(page - 1) * PAGE : page * PAGE]:
            scan = state.scan_of(reference.ids[row])
            with st.container(width=140, gap="small"):
                st.image(state.thumbnail(scan.x), width="stretch", alt=f"{scan.name}, {scan.label}")
                if st.button(f"{scan.label}", key=f"use.{scan.name}", help=f"Use {scan.name}", width="stretch"):
                    _use(scan)


def upload(bundle: Bundle) -> None:
    """A file of one's own, prepared for the network and shown before it is used."""
    file = st.file_uploader(
        "PNG, JPEG, DICOM or NIfTI (for a volume, choose a slice)",
        key="upload",
        help="The content decides what a file is, not its name. It stays on this machine; patients' names are not read.",
    )
    if file is None:
        return
    try:
        scan = readers.read(file.getvalue(), file.name)
        if len(scan.image.shape) == 4 and len(bundle.classifier.input_shape) == 3:
            plane = st.segmented_control("Plane", PLANES, default="axial", required=True) or "axial"
            axis = PLANES.index(plane)
            count = scan.image.shape[1 + axis]
            index = st.slider("Slice", 0, count - 1, count // 2)
            scan = scans.take_slice(scan, axis, index)
        x = scans.prepare(scan, bundle.classifier.input_shape)
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        return
    picture, text = st.columns([1, 2], vertical_alignment="center")
    picture.image(state.thumbnail(x), width=260, alt="the scan as the network sees it")
    with text:
        for notice in scan.notices:
            st.warning(notice)
        _judge(bundle, x)
        if st.button("Use this scan", type="primary", icon=":material/arrow_forward:"):
            _use(state.ChosenScan(scan.name, x))


def _judge(bundle: Bundle, x: np.ndarray) -> None:
    """What the network says of the scan, and whether it is the kind of scan that the network knows."""
    seen = extract(bundle.classifier, x[None])
    names = bundle.classifier.class_names
    st.markdown(f"The network sees **{names[int(seen.predicted[0])]}** ({seen.confidence[0]:.1%}).")
    ranks = {
        name: float(percentile_rank(one.score(seen), one.calibration_scores)[0])
        for name, one in bundle.reference.detectors(("GMM", "MAHA")).items()
    }
    odd = [f"{name}: {rank:.0f} %" for name, rank in ranks.items() if rank > 99]
    if odd:
        st.warning(
            f"This scan is unlike the scans that the network was trained on: more unusual than nearly all clean "
            f"ones ({', '.join(odd)}). "
            f"The prediction means little, and detectors may flag the unchanged scan. {bundle.dataset.about}"
        )


def model(bundle: Bundle) -> None:
    """The network, and the preflight checks on a sample of test scans."""
    classifier = bundle.classifier
    shape = " x ".join(map(str, classifier.input_shape))
    st.markdown(
        f"**{classifier.name}**: input {shape}, classes {', '.join(classifier.class_names)}, "
        f"{len(classifier.layer_names)} observed layers ({', '.join(classifier.layer_names)})."
    )
    st.caption(
        f"{bundle.dataset.name}: "
        + ", ".join(f"{name} {len(split.y)}" for name, split in bundle.dataset.splits.items())
    )
    checks = computed("checks", classifier.digest, "Checks", lambda progress: _check(bundle, progress))
    if checks is None:
        return
    for check in checks:
        st.markdown(f"{SIGNS[check.state]} **{check.name}**: {check.sentence}")


def _check(bundle: Bundle, progress: Progress) -> list[Check]:
    test = bundle.dataset.splits["test"]
    rows = np.linspace(0, len(test.y) - 1, CHECKED).astype(int)
    return preflight(bundle.classifier, test.images(rows), test.y[rows])
