"""Files of one's own: read, shown with what they say of themselves, and prepared for the network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from hfcviz import readers, scans
from hfcviz.activations import extract
from hfcviz.bundle import Bundle
from hfcviz.cmd_inspect import described
from hfcviz.limits import ChooseVolume
from hfcviz.metrics import percentile_rank
from hfcviz.planes import PLANES
from hfcviz.resampling import percentiles, prepare
from hfcviz.scans import Scan, Window
from hfcviz.settings import InputError, Progress, silent
from hfcviz.ui import state
from hfcviz.ui.run import computed
from hfcviz.windows import from_level, offered

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

AT_ONCE = 16 * 2**20
"""Bytes that are read while the page waits; more are read by the worker, with progress."""
OWN = "own level and width"
LEVEL, WIDTH = "The value in the middle, in the scan's units.", "How many units lie between the network's 0 and 1."
SLICE = "Counted along the chosen plane's normal; it starts in the middle."
FROM_FILE, BY_PERCENTILES = "as the file says", "percentiles 0.5 to 99.5"
"""What the network gets without a choice: the file's own window, or else percentiles."""


def upload(bundle: Bundle) -> None:
    """Files of one's own, and what the network makes of the chosen scan before it is used."""
    files = st.file_uploader(
        "PNG, JPEG, TIFF, DICOM, NIfTI, NRRD, MetaImage or NumPy; a DICOM series as all its files, or as a zip",
        key="upload",
        accept_multiple_files=True,
        help="The content decides what a file is, not its name. It stays on this machine; patients' names are not read.",
    )
    if not files:
        for slot in ("uploaded", "prepared"):  # volumes are large
            st.session_state.pop(slot, None)
        return
    found = _read(files)
    if found is None:
        return
    for one in found:
        if isinstance(one, InputError):
            st.error(str(one), icon=":material/error:")
    good = [one for one in found if isinstance(one, Scan)]
    if not good:
        return
    place = 0
    if len(good) > 1:
        dims = len(bundle.about["input_shape"])
        fits = [number for number, one in enumerate(good) if one.image.ndim >= dims]
        place = st.selectbox(
            "Scan",
            range(len(good)),
            index=fits[0] if fits else 0,
            format_func=lambda number: f"{good[number].name} ({scans.sides(good[number].image.shape[1:])})",
            key=f"upload.scan.{len(good)}.{dims}",
            help="The files hold several scans; one is attacked at a time.",
        )
    scan = good[place]
    for notice in scan.notices:
        st.warning(notice)
    try:
        chosen = _prepared(bundle, scan)
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        _facts(scan)
        return
    picture, text = st.columns([1, 2], vertical_alignment="center")
    picture.image(state.thumbnail(chosen.x), width=260, alt="the scan as the network sees it")
    with text:
        _judge(bundle, chosen.x)
        if st.button(
            "Use this scan",
            type="primary",
            icon=":material/arrow_forward:",
            help="Go to Explore with it. Nothing is attacked before you press Run there.",
        ):
            state.use(chosen)
    _facts(scan)


def _read(files: list[UploadedFile]) -> list[Scan | InputError] | None:
    """All that the files hold; None while they are read."""
    found = _read_once(files, None)
    counts = [one.count for one in found or () if isinstance(one, ChooseVolume)]
    if not counts:
        return found
    volume = st.number_input(
        f"Volume (0 to {max(counts) - 1})",
        0,
        max(counts) - 1,
        0,
        key=f"upload.volume.{max(counts)}",
        help="The file holds several volumes, such as time points or echoes; one is attacked at a time.",
        width=200,
    )
    return _read_once(files, int(volume))


def _read_once(files: list[UploadedFile], volume: int | None) -> list[Scan | InputError] | None:
    names = tuple(file.file_id for file in files)
    kept = st.session_state.get("uploaded")
    if kept is None or kept[0] != names:
        kept = st.session_state.uploaded = (names, {})
    if volume in kept[1]:
        result: list[Scan | InputError] = kept[1][volume]
        return result
    named = [(file.name, file.getvalue()) for file in files]
    if sum(len(data) for _, data in named) <= AT_ONCE:
        found: list[Scan | InputError] | None = _all(named, volume)
    else:
        what = "the file" if len(files) == 1 else f"{len(files)} files"
        work = partial(_all, named, volume)
        found = computed("upload_job", (names, volume), f"Reading {what}", lambda progress: work(progress=progress))
    if found is not None:
        for one in [one for one in kept[1] if one is not None]:
            del kept[1][one]  # volumes are large: only the last chosen one stays
        kept[1][volume] = found
    return found


def _all(named: list[tuple[str, bytes]], volume: int | None, progress: Progress = silent) -> list[Scan | InputError]:
    """One file may be a zip; several are what a folder holds."""
    if len(named) == 1:
        return readers.read_all(named[0][1], named[0][0], volume=volume, progress=progress)
    return readers.read_all(named, volume=volume, progress=progress)


def _prepared(bundle: Bundle, scan: Scan) -> state.ChosenScan:
    """The scan, or the chosen slice of it, as the network takes it. Raises InputError."""
    shape, whole, sliced = tuple(bundle.about["input_shape"]), scan, None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if scan.image.ndim == 4 and len(shape) == 3:
            plane = st.segmented_control(
                "Plane",
                list(PLANES),
                default="axial",
                required=True,
                key="upload.plane",
                help="The network takes images: which slices of the volume it gets.",
            )
            axis = PLANES[plane or "axial"]
            count = scan.image.shape[1 + axis]
            index = st.slider(
                "Slice", 0, count - 1, count // 2, key=f"upload.slice.{axis}.{count}", width=260, help=SLICE
            )
            scan, sliced = scans.take_slice(scan, axis, index), (axis, index)
        window = _window(scan)
    kept = st.session_state.get("prepared")
    key = (id(scan) if sliced is None else (id(whole), *sliced), window, shape)
    if kept is None or kept[0] != key:
        kept = (key, state.ChosenScan(scan.name, prepare(scan, shape, window), None, scan, window), whole)
        st.session_state.prepared = kept
    chosen: state.ChosenScan = kept[1]
    return chosen


def _window(scan: Scan) -> Window | None:
    """Which values become the network's 0 and 1; None where the file, or its percentiles, decide."""
    standard = scan.window or percentiles(scan.image)
    options = offered(scan.image, standard, modality=scan.modality, unit=scan.unit, header=scan.windows)
    automatic = FROM_FILE if scan.window else BY_PERCENTILES
    names = [automatic, *(name for name in list(options)[1:] if name != automatic), OWN]
    name = st.selectbox(
        "Window for the network",
        names,
        key=f"upload.window.{automatic}",
        help="Values of the scan that become 0 and 1 for the network; what lies beyond is cut off. eps is a share of it. "
        f"Without a choice: {standard[0]:g} to {standard[1]:g}.",
        width=260,
    )
    if name == automatic:
        return None
    if name != OWN:
        return options[name]
    low, high = standard
    place = f"{low:g}.{high:g}"  # another scan begins with its own
    level = st.number_input("Level", value=(low + high) / 2, key=f"upload.level.{place}", help=LEVEL, width=140)
    width = st.number_input(
        "Width", value=high - low, min_value=1e-6, key=f"upload.width.{place}", help=WIDTH, width=140
    )
    return from_level(level, width)


def _facts(scan: Scan) -> None:
    """What the file says of itself, as `python -m hfcviz inspect` does."""
    seen = described(scan)
    words = {
        "format": " ".join(filter(None, (seen["format"], seen["modality"]))),
        "kind": seen["kind"],
        "size": scans.sides(seen["shape"]),
        "spacing": " x ".join(f"{mm:.4g}" for mm in seen["spacing_mm"]) + " mm" if seen["spacing_mm"] else "unknown",
        "orientation": f"{seen['orientation']} (stored as {seen['stored_orientation'] or 'unknown'})"
        if seen["orientation"]
        else "as stored",
        "values": f"{seen['value_range'][0]:g} to {seen['value_range'][1]:g} {seen['unit'] or ''}",
    }
    st.dataframe(pd.DataFrame([words]), hide_index=True, alt="what the file says of itself")


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
            f"The prediction means little, and detectors may flag the unchanged scan. {bundle.source_note}"
        )
