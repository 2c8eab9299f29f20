"""One DICOM file as a scan: its pixels in the units of the file, its frames as a volume."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hfcviz.decoders import stored_frames
from hfcviz.headers import File, Groups, groups_of, numbers
from hfcviz.limits import check_size, library, pick
from hfcviz.placement import LPS, UPRIGHT, line_up, placed
from hfcviz.scans import Scan, Window
from hfcviz.settings import InputError

MODALITIES = """
    AR AS ASMT AU BDUS BI BMD CD CF CFM CP CR CS CT CTPROTOCOL DD DF DG DM DMS DOC DS DX EC ECG EEG EMG EOG EPS ES FA
    FID FS GM HC HD IO IOL IVOCT IVUS KER KO LEN LP LS M3D MA MG MR MS NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT
    PA PLAN POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SC SEG SM
    SMR SR SRF ST STAIN TEXTUREMAP TG US VA VF XA XAPROTOCOL XC
"""
"""DICOM PS3.3 C.7.3.1.1.1, with retired terms: whatever else stands there might be anything."""
PIXELS = 0x7FE00010
INVERTED = "Its grey values were inverted, as its file (MONOCHROME1) stores black as the highest value."


def decoded(file: File, frames: Sequence[int] = (0,)) -> Iterator[np.ndarray]:
    """The chosen frames as stored, (rows, columns) or (rows, columns, 3), as they are asked for.

    Pixels that still lie in a file are read now and forgotten at the end.
    """
    name = file.header.file_meta.TransferSyntaxUID
    syntax = name.name if name.is_transfer_syntax and not name.is_private else "an unknown one"
    refusal = (
        f"{file.label} is truncated, or its encoding ({syntax}) cannot be decoded here; export it again, uncompressed."
    )
    if syntax != "an unknown one" and not name.is_encapsulated:
        header, count = file.header, f"{file.frames} frames of " if file.frames > 1 else ""
        refusal = (
            f"{file.label} must hold the pixels that its header declares ({count}{file.size[0]} x {file.size[1]}, "
            f"{int(header.SamplesPerPixel)} x {int(header.BitsAllocated)} bits each), but it is truncated or they do not fit; "
            "export it again."
        )
    stored = stored_frames(file.header, frames)
    kept = file.header.get_item(PIXELS, keep_deferred=True)
    try:
        while True:
            with library(refusal):
                frame = next(stored, None)
                if frame is not None and file.header.PhotometricInterpretation == "PALETTE COLOR":
                    from pydicom.pixels import apply_color_lut  # type: ignore[attr-defined]

                    frame = apply_color_lut(frame, file.header)
            if frame is None:
                return
            yield frame
    finally:
        if kept is not None:
            file.header[PIXELS] = kept


def put_grey(file: File, stored: np.ndarray, units: Any, out: np.ndarray) -> bool:
    """Write a frame into `out`, float32 (rows, columns), by the modality LUT (PS3.3 C.11.1); whether it changed the values."""
    header = file.header
    table = "ModalityLUTSequence" in header
    slope, intercept = rescale(header, units)
    if table:
        from pydicom.pixels import apply_modality_lut  # type: ignore[attr-defined]

        out[...] = apply_modality_lut(stored, header)
    elif slope == 1 and intercept == int(intercept) and abs(intercept) < 2**22 and stored.dtype.itemsize <= 2:
        out[...] = stored  # all of this is exact in float32
        if intercept:
            out += np.float32(intercept)
    else:
        out[...] = stored * np.float64(slope) + intercept
    if header.PhotometricInterpretation == "MONOCHROME1":
        np.subtract(np.float32(ends(file, units)), out, out=out)
    return table or (slope, intercept) != (1, 0)


def rescale(header: Any, units: Any) -> tuple[float, float]:
    """Slope and intercept; of a dose grid, Gy for each stored value."""
    dose = numbers(header, "DoseGridScaling", 1)
    slope = numbers(units, "RescaleSlope", 1) if dose is None else dose
    intercept = numbers(units, "RescaleIntercept", 1)
    return (1.0 if slope is None else float(slope[0])), (0.0 if intercept is None else float(intercept[0]))


def ends(file: File, units: Any) -> float:
    """The sum of the lowest and the highest value that the file can store, in its units.

    MONOCHROME1 is mirrored within that, not within what this image happens to hold, so that scans stay comparable.
    """
    header = file.header
    bits = int(header.get("BitsStored", 32))
    least = -(2 ** (bits - 1)) if header.get("PixelRepresentation") else 0
    if "ModalityLUTSequence" in header:
        from pydicom.pixels import apply_modality_lut  # type: ignore[attr-defined]

        return float(apply_modality_lut(np.array([least, least + 2**bits - 1]), header).sum())
    slope, intercept = rescale(header, units)
    return slope * (2 * least + 2**bits - 1) + 2 * intercept


def described(file: File, scan: Scan, groups: Groups, changed: bool) -> Scan:
    """The scan with what its header says of modality, unit and windows. changed: whether stored values were rescaled."""
    header = file.header
    modality = str(header.get("Modality", ""))
    modality = modality if modality in MODALITIES.split() else ""
    if not file.grey:
        bits = int(header.BitsStored)
        if header.PhotometricInterpretation == "PALETTE COLOR":
            bits = 8 if scan.image.max() < 256 else 16  # its tables have 16 bits, or 8 of 16
        return dataclasses.replace(scan, modality=modality, window=(0.0, 2.0**bits - 1))
    kind = str(groups.units.get("RescaleType") or header.get("RescaleType") or "HU")
    has_scale = numbers(groups.units, "RescaleIntercept", 1) is not None
    windows = voi_windows(groups.window) or voi_windows(header)
    if header.PhotometricInterpretation == "MONOCHROME1":
        mirror = ends(file, groups.units)
        windows = tuple((mirror - high, mirror - low) for low, high in windows)
        scan = dataclasses.replace(scan, notices=(*scan.notices, INVERTED))
    bits, signed = int(header.get("BitsStored", 32)), bool(header.get("PixelRepresentation", 0))
    window: Window | None = windows[0] if windows else None
    if window is None and bits <= 8 and not signed and not changed:
        window = (0.0, 2.0**bits - 1)
    return dataclasses.replace(
        scan,
        modality=modality,
        unit="HU" if modality == "CT" and has_scale and kind == "HU" else "",
        window=window,
        windows=tuple((f"window {number}", one) for number, one in enumerate(windows, 1)),
    )


def voi_windows(header: Any) -> tuple[Window, ...]:
    """The VOI windows by the formulas of DICOM PS3.3 C.11.2.1.2; a sigmoid is taken as the straight line of its width."""
    centers, widths = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
    found = []
    for center, width in zip(() if centers is None else centers, () if widths is None else widths, strict=False):
        if (header.get("VOILUTFunction") or "LINEAR") == "LINEAR":
            center, width = center - 0.5, width - 1
        low, high = float(center - width / 2), float(center + width / 2)
        with np.errstate(over="ignore"):
            if -math.inf < np.float32(low) < np.float32(high) < math.inf:
                found.append((low, high))
    return tuple(found)


def plane_affine(orientation: np.ndarray, position: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """From (row, column, 0) of an image to RAS+ mm: PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1, with LPS turned to RAS."""
    affine = np.eye(4)
    affine[:3, 0] = orientation[1] * spacing[0]
    affine[:3, 1] = orientation[0] * spacing[1]
    affine[:3, 2] = np.cross(orientation[0], orientation[1])
    affine[:3, 3] = position
    return LPS @ affine


def image_of(file: File) -> Scan:
    """The scan of a file of one frame: (1 or 3, rows, columns), with an affine where the header says how it lies."""
    (stored,) = decoded(file)
    groups = file.groups
    changed = False
    if stored.ndim == 3:
        image = np.moveaxis(stored, -1, 0)
    else:
        image = np.empty((1, *stored.shape), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            changed = put_grey(file, stored, groups.units, image[0])
    affine, codes = None, ""
    if file.position is not None and file.orientation is not None and file.spacing is not None:
        from nibabel.orientations import aff2axcodes

        affine = plane_affine(file.orientation, file.position, file.spacing)
        codes = "".join(code or "" for code in aff2axcodes(affine[:, [1, 0, 2, 3]]))
    scan = Scan(image, affine, file.spacing, file.label, format="DICOM", stored_orientation=codes)
    return described(file, scan, groups, changed)


def volume_of(file: File, volume: int | None) -> Scan:
    """The frames of one file as a volume (C, x, y, z), placed where their functional groups, or a dose grid, say so.

    Frames at each place several times are so many volumes, of which `volume` is taken. Frames whose place is unknown are the
    third axis as they come, with a notice.
    """
    header, label = file.header, file.label
    groups = [groups_of(header, frame) for frame in range(file.frames)]
    where = _positions(file, groups)
    chosen = slots = np.arange(file.frames)
    affine = UPRIGHT
    notices: tuple[str, ...] = ()
    if where is not None and file.orientation is not None and file.spacing is not None:
        depth = where @ np.cross(*file.orientation)
        _, level, counts = np.unique(np.round(depth, 3), return_inverse=True, return_counts=True)
        if len(set(counts)) > 1:
            raise InputError(
                f"{label} must hold every slice equally often, but some of its {file.frames} frames share a place; "
                "save one volume as a file of its own."
            )
        if len(counts) > 1:
            turn = pick(label, int(counts[0]), volume)
            chosen = np.array([np.flatnonzero(level == one)[turn] for one in range(len(counts))])
            line = line_up(label, where[chosen], file.orientation, file.spacing)
            chosen, slots, affine, notices = chosen[line.order], line.slots, line.affine, line.notices
        else:
            where = None
    else:
        where = None
    if where is None:
        pick(label, 1, volume)
        timed = any(element in header for element in ("FrameTime", "FrameTimeVector", "CineRate"))
        what = "follow each other in time" if timed else "do not say how they lie"
        notices = (
            f"Its {file.frames} frames {what}: they are shown as a third axis, and spacing and orientation are unknown.",
        )
    rows, columns = file.size
    colours = 1 if file.grey else 3
    check_size(label, (colours, int(slots[-1]) + 1, rows, columns))
    buffer = np.empty((colours, int(slots[-1]) + 1, rows, columns), np.float32)
    changed = False
    for slot, frame, stored in zip(slots, chosen, decoded(file, [int(one) for one in chosen]), strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            if stored.ndim == 3:
                buffer[:, slot] = np.moveaxis(stored, -1, 0)
            else:
                changed |= put_grey(file, stored, groups[frame].units, buffer[0, slot])
    fill_between(buffer[0], slots)
    scan = Scan(buffer.transpose(0, 3, 2, 1), None, None, label, notices, format="DICOM")
    return described(file, placed(scan, affine, known=where is not None), groups[chosen[0]], changed)


def fill_between(buffer: np.ndarray, slots: np.ndarray) -> None:
    """Fill missing slices of a volume (slice, rows, columns), straight between their neighbours, in place."""
    for before, after in itertools.pairwise(slots):
        for slot in range(before + 1, after):
            part = np.float32((slot - before) / (after - before))
            buffer[slot] = buffer[before] * (1 - part) + buffer[after] * part


def _positions(file: File, groups: list[Groups]) -> np.ndarray | None:
    """The position of each frame, (frames, 3), where it is known: from functional groups, or a dose grid (PS3.3 C.8.8.3)."""
    offsets = numbers(file.header, "GridFrameOffsetVector", file.frames)
    if offsets is not None and file.position is not None and file.orientation is not None:
        return file.position + (offsets - offsets[0])[:, None] * np.cross(*file.orientation)
    if "PerFrameFunctionalGroupsSequence" not in file.header or file.orientation is None:
        return None
    if any(
        one.position is None or one.orientation is None or np.abs(one.orientation - file.orientation).max() > 1e-3
        for one in groups
    ):
        return None
    return np.array([one.position for one in groups])
