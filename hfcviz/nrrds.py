"""NRRD files, by pynrrd, to RAS+ volumes."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from hfcviz.entries import HEADER, Beside, beside_of
from hfcviz.limits import MAX_BYTES, check_bytes, check_enough, check_inflated, check_size, inflated, pick
from hfcviz.placement import LPS, placed, plausible, unplaced
from hfcviz.scans import Scan, sides
from hfcviz.settings import InputError

SPACES = {
    "left-posterior-superior": LPS,
    "lps": LPS,
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
}
"""NRRD's names of patient axes (teem.sourceforge.net/nrrd/format.html#space), to RAS+."""
UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "micron": 0.001, "microns": 0.001}


def read_nrrd(data: bytes, label: str, volume: int | None, beside: Beside) -> Scan:
    """A volume, an image or a colour image of an NRRD file, attached or detached (teem.sourceforge.net/nrrd/format.html)."""
    import nrrd

    stream = io.BytesIO(data[:HEADER])
    header: dict[str, Any] = nrrd.read_header(stream)
    header = {
        name.replace(" ", "") if name in ("data file", "line skip", "byte skip") else name: value
        for name, value in header.items()
    }
    shape = [int(side) for side in np.atleast_1d(header["sizes"])]
    kinds = [str(kind).lower() for kind in header.get("kinds", ["domain"] * len(shape))]
    vectors, space = _nrrd_space(header, len(shape))
    others = [axis for axis in range(len(shape)) if vectors is not None and np.isnan(vectors[axis]).any()]
    others = others or [axis for axis, kind in enumerate(kinds) if kind not in ("domain", "space", "???", "none")]
    if len(shape) == 4 and not others:
        others = [3]
    inside = [axis for axis in range(len(shape)) if axis not in others]
    if len(inside) not in (2, 3) or len(others) > 1:
        raise InputError(
            f"{label} must hold an image, a volume or several volumes, but its shape is {sides(shape)}; save one volume."
        )
    extra = shape[others[0]] if others else 1
    dtype = nrrd.reader._determine_datatype({"endian": "little", **header})
    if dtype.kind not in "iuf":
        raise InputError(f"{label} must hold real numbers, but its type is {label_type(header)}; save one channel.")
    colour = extra in (3, 4) and bool(others) and (dtype.itemsize == 1 or "color" in kinds[others[0]])
    check_size(label, (3 if colour else 1, *(shape[axis] for axis in inside)))
    size = math.prod(shape) * dtype.itemsize
    check_bytes(label, size)
    payload = _nrrd_payload(data, stream.tell(), header, size, label, beside)
    plain = {
        "type": header["type"],
        "dimension": len(shape),
        "sizes": np.array(shape),
        "endian": header.get("endian", "little"),
    }
    text = str(header["encoding"]).lower() in ("ascii", "text", "txt")
    if not text:
        check_enough(label, len(payload), size)
    voxels = nrrd.read_data({**plain, "encoding": "ascii" if text else "raw"}, io.BytesIO(payload), index_order="F")
    voxels = np.moveaxis(voxels, others, range(len(others)))
    notices: tuple[str, ...] = ()
    if colour:
        pick(label, 1, volume)
        voxels = voxels[:3]
    elif others:
        chosen = pick(label, extra, volume)
        voxels = voxels[chosen : chosen + 1]
        notices = (f"It is volume {chosen} of {extra}, counted from 0.",) if extra > 1 else ()
    else:
        pick(label, 1, volume)
        voxels = voxels[None]
    window = (0.0, 255.0) if colour and dtype.itemsize == 1 else None
    scan = Scan(voxels, None, None, label, notices, window)
    steps = None if vectors is None else vectors[inside]
    if steps is None:
        spacings = np.atleast_1d(np.asarray(header.get("spacings", np.nan), dtype=float))
        spacing = plausible(spacings[inside]) if len(spacings) == len(shape) else None
        return unplaced(scan, spacing)
    if space is None or steps.shape != (3, 3):
        return unplaced(scan, plausible(np.linalg.norm(steps, axis=1)))
    affine = np.eye(4)
    affine[:3, :3] = steps.T
    affine[:3, 3] = np.asarray(header.get("space origin", np.zeros(3)), dtype=float)
    units = {str(unit).strip('"').lower() for unit in header.get("space units", ["mm"])}
    affine[:3] *= UNITS.get(units.pop(), 1.0) if len(units) == 1 else 1.0
    return placed(scan, space @ affine)


def label_type(header: dict[str, Any]) -> str:
    return "block" if header.get("type") == "block" else "not a number"


def _nrrd_space(header: dict[str, Any], dimension: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The step of each axis, (dimension, space dimension) with NaN for those outside space, and what makes RAS+ of it."""
    if "space directions" not in header:
        return None, None
    rows = [np.asarray(np.nan if row is None else row, dtype=float) for row in header["space directions"]]
    width = max(row.size for row in rows)
    vectors = np.array([row if row.size == width else np.full(width, np.nan) for row in rows])
    if len(vectors) != dimension:
        raise ValueError
    return vectors, SPACES.get(str(header.get("space", "")).lower())


def _nrrd_payload(data: bytes, start: int, header: dict[str, Any], size: int, label: str, beside: Beside) -> bytes:
    """The bytes of the voxels, inflated within what the header declares."""
    name = header.get("datafile")
    if name is not None:
        data, start = beside_of(label, str(name), beside), 0
    for _ in range(int(header.get("lineskip", 0))):
        start = data.index(b"\n", start) + 1
    skip, encoding = int(header.get("byteskip", 0)), str(header["encoding"]).lower()
    if skip < -1 or skip > MAX_BYTES:
        raise ValueError
    packed = {"gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}.get(encoding)
    if packed:
        check_inflated(label, data, size + max(skip, 0) + 2**20, start=start, kind=packed)
        content = inflated(data, size + max(skip, 0), start=start, kind=packed)
    elif encoding in ("raw", "ascii", "text", "txt"):
        content = data[start:]
    else:
        raise InputError(f"{label} must be raw, gzip, bzip2 or text, but its encoding is another; save it as gzip.")
    if skip == -1:
        return content[len(content) - size :]
    return content[skip:] if encoding in ("ascii", "text", "txt") else content[skip : skip + size]
