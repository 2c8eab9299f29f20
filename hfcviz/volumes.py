"""NIfTI by nibabel, NRRD by pynrrd, MetaImage by SimpleITK, to RAS+ volumes."""

from __future__ import annotations

import dataclasses
import io
import math
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hfcviz.limits import MAX_BYTES, check_bytes, check_size, inflated, pick
from hfcviz.placement import LPS, placed, plausible
from hfcviz.scans import Scan, sides
from hfcviz.settings import InputError

Beside = Callable[[str], bytes | None]
"""The content of a file of that plain name that lies or came beside a header, if there is one."""
HEADER = 2**20
"""Longest header of text."""
NOWHERE = "It does not say how the patient lies: orientation is unknown."
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
MET_TYPES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_LONG": 4,
    "MET_ULONG": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}
"""MetaImage's names of numbers, and their bytes."""


def read_nifti(data: bytes, label: str, volume: int | None) -> Scan:
    """A volume of a NIfTI-1 or -2 file, plain or gzip (nifti.nimh.nih.gov). What follows the third axis are volumes."""
    import nibabel

    def content_of(most: int) -> bytes:
        return inflated(data, most) if data[:2] == b"\x1f\x8b" else data

    head = content_of(540)
    if b"ni" in (head[344:346], head[4:6]):
        raise InputError(
            f"{label} must hold its voxels, but it is one half of a .hdr and .img pair; save both as one .nii file."
        )
    kind = nibabel.Nifti2Image if head[4:6] == b"n+" else nibabel.Nifti1Image
    header = kind.header_class(head[: kind.header_class.sizeof_hdr], check=False)
    shape, dtype, offset = header.get_data_shape(), header.get_data_dtype(), header.get_data_offset()
    if dtype.kind not in "iuf":
        raise InputError(
            f"{label} must hold one real number a voxel, but its data type is {dtype}; save the magnitude or one channel."
        )
    space, count = (*shape[:3], 1, 1)[:3], math.prod(shape[3:])
    check_size(label, (1, *space, count) if count < 1 else (1, *space))
    size = math.prod(shape) * dtype.itemsize
    if max(size, offset) > MAX_BYTES:
        raise InputError(
            f"{label} must hold at most {MAX_BYTES >> 20} MB of voxels, but declares {size >> 20} MB; save 16-bit integers."
        )
    chosen = pick(label, count, volume)
    most = offset + size + 2**20  # programs append a little
    content = content_of(most)
    if len(content) > most:
        raise InputError(
            f"{label} must end with its {size} bytes of voxels, but more than 1 MB follows; export or download it again."
        )
    image = kind.from_bytes(content)
    affine = np.array(image.affine, dtype=float)
    affine[:3] *= {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0)  # metres and microns to mm
    where = np.unravel_index(chosen, shape[3:], order="F") if shape[3:] else ()
    voxels = np.asarray(image.dataobj[(..., *(int(one) for one in where))], dtype=np.float32).reshape(space)
    notices: tuple[str, ...] = ()
    if not (header["qform_code"] or header["sform_code"]):
        notices = ("It does not say how the patient lies, so left and right are a guess.",)
    if count > 1:
        notices += (f"It is volume {chosen} of {count}, counted from 0.",)
    return placed(Scan(voxels[None], None, None, label, notices), affine)


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
        return _unplaced(scan, spacing)
    if space is None or steps.shape != (3, 3):
        return _unplaced(scan, plausible(np.linalg.norm(steps, axis=1)))
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
        content = inflated(data, size + max(skip, 0), start=start, kind=packed)
    elif encoding in ("raw", "ascii", "text", "txt"):
        content = data[start:]
    else:
        raise InputError(f"{label} must be raw, gzip, bzip2 or text, but its encoding is another; save it as gzip.")
    if skip == -1:
        return content[len(content) - size :]
    return content[skip:] if encoding in ("ascii", "text", "txt") else content[skip : skip + size]


def beside_of(label: str, name: str, beside: Beside) -> bytes:
    """The content of the data file that a header names. Raises InputError for anything but the plain name of a file at hand."""
    name = name.strip()
    if not name or re.search(r"[\\/:%\s]|^\.+$|^LIST", name):
        raise InputError(
            f"{label} must name one data file that lies beside it, but names a path, a list or a pattern; save it as one file."
        )
    found = beside(name)
    if found is None:
        raise InputError(
            f"{label} holds only a header: give its data file, which it names, together with it, or the folder or zip of both."
        )
    return found


def read_metaimage(data: bytes, label: str, volume: int | None, beside: Beside) -> Scan:
    """A volume, image or colour image of a MetaImage, MHA or MHD with its raw file (itk.org/Wiki/ITK/MetaIO/Documentation).

    What reaches SimpleITK is a header made anew of checked numbers and exactly the voxels that it declares: its own reader can
    bring down the process on damaged compressed data.
    """
    header, start = _meta_header(data)
    dimensions = int(header["ndims"])
    shape = [int(word) for word in header["dimsize"].split()]
    element, channels = header["elementtype"], int(header.get("elementnumberofchannels", "1"))
    if len(shape) != dimensions or not 2 <= dimensions <= 4 or element not in MET_TYPES or channels not in (1, 3, 4):
        raise InputError(
            f"{label} must hold 2 to 4 dimensions of real numbers or colours; export it as one volume of numbers."
        )
    check_size(label, (channels, *shape[:3]))
    if min(shape) < 1:
        raise ValueError
    count, space = (shape[3] if dimensions == 4 else 1), shape[:3]
    chosen = pick(label, count, volume)
    size = math.prod(space) * channels * MET_TYPES[element]
    check_bytes(label, size * count)
    if header.get("binarydata", "true").lower() not in ("true", "1"):
        raise InputError(f"{label} must hold binary numbers, but it holds text; save it as binary.")
    name = header["elementdatafile"]
    if name.lower() != "local":
        data, start = beside_of(label, name, beside), 0
        skip = int(header.get("headersize", "0"))
        start = max(0, len(data) - size * count) if skip == -1 else skip
        if not 0 <= start <= len(data):
            raise ValueError
    if header.get("compresseddata", "false").lower() in ("true", "1"):
        content = inflated(
            data, size * count, start=start, kind="gzip" if data[start : start + 2] == b"\x1f\x8b" else "zlib"
        )
    else:
        content = data[start : start + size * count]
    if len(content) < size * count:
        raise ValueError
    keys = ("elementbyteordermsb", "binarydatabyteordermsb")
    swapped = any(header.get(key, "false").lower() in ("true", "1") for key in keys)
    steps = _floats(header, ("elementspacing", "elementsize"), dimensions)
    turn = _floats(header, ("transformmatrix", "rotation", "orientation"), dimensions**2)
    origin = _floats(header, ("offset", "origin", "position"), dimensions)
    known = dimensions > 2 and turn is not None and origin is not None and steps is not None
    place = {}
    if known:
        assert turn is not None and origin is not None and steps is not None
        matrix = turn.reshape(dimensions, dimensions)[:3, :3].ravel()
        place = {"TransformMatrix": matrix, "Offset": origin[:3], "ElementSpacing": steps[:3]}
    image, affine = _by_itk(content[chosen * size : (chosen + 1) * size], space, element, channels, swapped, place)
    stored = np.moveaxis(image, -1, 0) if channels > 1 else image[None]
    stored = stored.transpose(0, *range(stored.ndim - 1, 0, -1))[:3]  # (C, x, y, z)
    notices = (f"It is volume {chosen} of {count}, counted from 0.",) if count > 1 else ()
    window = (0.0, 255.0) if channels > 1 and element == "MET_UCHAR" else None
    scan = Scan(stored, None, None, label, notices, window)
    if not known:
        return _unplaced(scan, None if steps is None else plausible(steps[: len(space)]))
    return placed(scan, LPS @ affine)


def _meta_header(data: bytes) -> tuple[dict[str, str], int]:
    """The lines `Key = Value` up to the one that says where the voxels are, keys in lower case, and where those begin."""
    header: dict[str, str] = {}
    start = 0
    while start < HEADER:
        end = data.find(b"\n", start, start + HEADER)
        line = data[start : end if end >= 0 else len(data)].decode("latin-1")
        start = end + 1 if end >= 0 else len(data)
        key, equals, value = line.partition("=")
        if not equals:
            raise ValueError
        header[key.strip().lower()] = value.strip()
        if key.strip().lower() == "elementdatafile":
            return header, start
    raise ValueError


def _floats(header: dict[str, str], names: tuple[str, ...], count: int) -> np.ndarray | None:
    text = next((header[name] for name in names if name in header), None)
    if text is None:
        return None
    found = np.array([float(word) for word in text.split()])
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError
    return found


def _by_itk(
    content: bytes, shape: list[int], element: str, channels: int, swapped: bool, place: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The voxels, (z, y, x) or (z, y, x, channels), and the affine from (x, y, z) to LPS mm."""
    import SimpleITK

    lines = {
        "ObjectType": "Image",
        "NDims": len(shape),
        "BinaryData": True,
        "BinaryDataByteOrderMSB": swapped,
        "CompressedData": False,
        **{key: " ".join(f"{number:.17g}" for number in numbers) for key, numbers in place.items()},
        "DimSize": " ".join(map(str, shape)),
        "ElementNumberOfChannels": channels,
        "ElementType": element,
        "ElementDataFile": "LOCAL",
    }
    with tempfile.TemporaryDirectory(prefix="hfcviz-") as folder:
        path = Path(folder, "image.mha")
        with path.open("wb") as file:
            file.write("".join(f"{key} = {value}\n" for key, value in lines.items()).encode())
            file.write(content)
        image = SimpleITK.ReadImage(str(path), imageIO="MetaImageIO")
    affine = np.eye(4)
    if len(shape) == 3:
        affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), affine


def _unplaced(scan: Scan, spacing: tuple[float, ...] | None) -> Scan:
    """The scan (C, x, y[, z]) where its file does not say how it lies: a volume as stored, an image as rows and columns."""
    image = scan.image
    flat = [axis for axis in range(1, image.ndim) if image.shape[axis] == 1 and image.ndim == 4]
    if flat:
        image = np.squeeze(image, flat[-1])
        spacing = spacing and tuple(step for axis, step in enumerate(spacing, 1) if axis != flat[-1])
    if image.ndim == 3:
        return dataclasses.replace(scan, image=image.swapaxes(1, 2), spacing=spacing and spacing[::-1])
    return dataclasses.replace(scan, image=image, spacing=spacing, notices=(*scan.notices, NOWHERE))
