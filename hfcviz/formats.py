"""The formats that can be read: how each is told by its content, and its reader."""

from __future__ import annotations

import dataclasses
import io
import re
import zlib
from collections.abc import Callable
from pathlib import Path

from hfcviz import dicoms, entries, headers, metaimages, niftis, nrrds, numpys, pictures, series
from hfcviz.entries import Beside, Entry
from hfcviz.limits import check_bytes, inflated, label_of, library
from hfcviz.scans import Scan, checked
from hfcviz.settings import InputError

HEAD = 540
"""So many bytes, inflated if they are gzip, tell the format."""
SUFFIXES = {
    "png": "PNG",
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "tif": "TIFF",
    "tiff": "TIFF",
    "dcm": "DICOM",
    "dicom": "DICOM",
    "ima": "DICOM",
    "nii": "NIfTI",
    "nrrd": "NRRD",
    "nhdr": "NRRD",
    "mha": "MetaImage",
    "mhd": "MetaImage",
    "npy": "NumPy",
    "npz": "NumPy",
}
SUFFIXES |= {other: other.upper() for other in ("bmp", "gif", "webp", "zip", "pdf")}
"""What a name promises: only for notices and refusals, as the content decides."""


def empty(label: str) -> str:
    return f"{label} must hold a scan, but it is empty (0 bytes); copy or export it again."


def format_of(data: bytes) -> str | None:
    """The format of a file that begins like this, or None."""
    if entries.is_zip(data):
        return "NumPy"
    try:
        inner = inflated(data, HEAD) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error):
        return None
    for kind, (signature, _) in FORMATS.items():
        if re.match(signature, inner[:HEAD] if kind == "NIfTI" else data[:HEAD], re.DOTALL):
            return kind
    return None


def read_one(data: bytes, label: str, volume: int | None, beside: Beside) -> Scan:
    """The scan of one file. Raises InputError."""
    suffix = Path(label.lower().removesuffix(".gz")).suffix
    promised = SUFFIXES.get(suffix[1:])
    kind = format_of(data)
    if kind is None:
        *some, last = FORMATS
        named = f" (its name promises {promised})" if promised in FORMATS else ""
        holds = "something else" if promised in (None, *FORMATS) else f"something else ({promised}, by its name)"
        raise InputError(
            f"{label} must hold {', '.join(some)} or {last} data{named}, but it holds {holds}; export it as one of these."
        )
    with library(
        f"{label} cannot be read as {kind}: it is truncated, damaged or of an unusual kind; export or download it again."
    ):
        scan = FORMATS[kind][1](data, label, volume, beside)
        if promised not in (None, kind):
            scan = series.with_notice(scan, f"{label} is named {suffix} but holds {kind}; it was read as {kind}.")
        return checked(dataclasses.replace(scan, format=kind))


def kind_of(entry: Entry, head: bytes) -> str | None:
    """The format of an entry; of a file that only its name calls an image, the format that it promises; None for all others."""
    promised = SUFFIXES.get(Path(entry.label.lower().removesuffix(".gz")).suffix[1:])
    return format_of(head) or (promised if promised in FORMATS else None)


def nothing(name: str) -> bytes | None:
    """Beside bytes lies nothing."""
    return None


def beside_path(folder: Path) -> Beside:
    def load(name: str) -> bytes | None:
        path = folder / name  # `name` is one plain part: see `beside_of`
        if not path.is_file():
            return None
        check_bytes(label_of(name), path.stat().st_size)
        return path.read_bytes()

    return load


def _dicom(data: bytes, label: str, volume: int | None, beside: Beside) -> Scan:
    file = headers.parse(io.BytesIO(data), label)
    if file is None:
        raise InputError(f"{label} must hold pixels, but it is a DICOM without any; choose a file of an image series.")
    return dicoms.image_of(file) if file.frames == 1 else dicoms.volume_of(file, volume)


def _numpy(data: bytes, label: str, volume: int | None, beside: Beside) -> Scan:
    return (numpys.read_npz if entries.is_zip(data) else numpys.read_npy)(data, label, volume)


FORMATS: dict[str, tuple[bytes, Callable[[bytes, str, int | None, Beside], Scan]]] = {
    "PNG": (rb"\x89PNG\r\n\x1a\n", lambda data, label, *_: pictures.read_png(data, label)),
    "JPEG": (rb"\xff\xd8\xff", lambda data, label, *_: pictures.read_jpeg(data, label)),
    "DICOM": (rb".{128}DICM|[\x02\x08]\x00.\x00([A-Z]{2}|..\x00\x00)", _dicom),  # the second one: without the preamble
    "TIFF": (rb"II[*+]\x00|MM\x00[*+]", lambda data, label, *_: pictures.read_tiff(data, label)),
    "NRRD": (rb"NRRD000\d", nrrds.read_nrrd),
    "MetaImage": (rb"([A-Za-z]+ *= *[^\n]*\n)*?(ObjectType|NDims) *=", metaimages.read_metaimage),
    "NumPy": (rb"\x93NUMPY", _numpy),
    "NIfTI": (
        rb".{344}n[i+]1\x00|.{4}n[i+]2\x00",
        lambda data, label, volume, _: niftis.read_nifti(data, label, volume),
    ),
}
"""How a file of each format begins, and its reader (data, label, volume, what lies beside it) -> Scan."""
