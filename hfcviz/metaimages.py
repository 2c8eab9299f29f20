"""MetaImage files, MHA or MHD with its raw file, by SimpleITK, to RAS+ volumes."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np

from hfcviz.entries import HEADER, Beside, beside_of
from hfcviz.limits import check_bytes, check_enough, check_inflated, check_size, inflated, pick
from hfcviz.placement import LPS, placed, plausible, unplaced
from hfcviz.scans import Scan
from hfcviz.settings import InputError

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
        packer = "gzip" if data[start : start + 2] == b"\x1f\x8b" else "zlib"
        check_inflated(label, data, size * count + 2**20, start=start, kind=packer)
        content = inflated(data, size * count, start=start, kind=packer)
    else:
        content = data[start : start + size * count]
    check_enough(label, len(content), size * count)
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
        return unplaced(scan, None if steps is None else plausible(steps[: len(space)]))
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
    content: bytes,
    shape: list[int],
    element: str,
    channels: int,
    swapped: bool,
    place: dict[str, np.ndarray],
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
