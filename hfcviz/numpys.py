"""NPY and NPZ by numpy, never unpickled."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from numpy.lib import format as npy

from hfcviz.limits import check_bytes, check_enough, check_size, pick
from hfcviz.scans import Scan, sides
from hfcviz.settings import InputError


def read_npy(data: bytes, label: str, volume: int | None) -> Scan:
    """An array (numpy.org/doc/stable/reference/generated/numpy.lib.format.html): 2-D an image, 3-D with 3 or 4 at the end a
    colour image, otherwise a volume in the order of its axes, 4-D several volumes along the shorter of its first and last axis.
    """
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = reader(stream)
    if dtype.kind not in "iufb":
        kinds = {"c": "complex numbers", "O": "Python objects", "U": "text", "S": "text", "V": "records"}
        raise InputError(
            f"{label} must hold real numbers, but it holds {kinds.get(dtype.kind, 'something else')}; save an array of numbers."
        )
    squeezed = tuple(side for side in shape if side != 1)
    if not 2 <= len(squeezed) <= 4:
        raise InputError(
            f"{label} must be an image, a volume or several volumes, but its shape is {sides(shape) or 'one number'}; save one."
        )
    last = 3 if squeezed[3:] and squeezed[3] <= squeezed[0] else 0  # of several volumes: the axis that counts them
    spatial = tuple(np.delete(squeezed, last)) if len(squeezed) == 4 else squeezed
    check_size(label, (1, *(int(side) for side in spatial)))
    if len(squeezed) == 4 and min(squeezed) < 1:
        raise ValueError
    size = int(np.prod(squeezed, dtype=object)) * dtype.itemsize
    check_bytes(label, size)
    check_enough(label, len(data) - stream.tell(), size)
    array = np.load(io.BytesIO(data), allow_pickle=False).reshape(squeezed)
    notices: tuple[str, ...] = ()
    if array.ndim == 4:
        chosen = pick(label, array.shape[last], volume)
        notices = (f"It is volume {chosen} of {array.shape[last]}, counted from 0 along axis {last}.",)
        array = np.take(array, chosen, last)
    else:
        pick(label, 1, volume)
        if array.ndim == 3 and array.shape[2] in (3, 4):
            if array.shape[2] == 4:
                notices = ("Its fourth channel was taken as transparency and left out.",)
            window = (0.0, 255.0) if array.dtype == np.uint8 else None
            return Scan(np.moveaxis(array[..., :3], -1, 0), None, None, label, notices, window)
    if array.ndim == 3:
        notices += ("It does not say how it lies: spacing and orientation are unknown.",)
    return Scan(array[None], None, None, label, notices)


def read_npz(data: bytes, label: str, volume: int | None) -> Scan:
    """The one array of an NPZ. Raises InputError where there are several, as in a data set."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        if any(name.endswith("_images") for name in names):
            raise InputError(
                f"{label} is a data set, not a scan; load it as one, on the page Data & model or with --dataset."
            )
        if len(members) != 1:
            raise InputError(f"{label} must hold one array, but it holds {len(members)}; save one of them as .npy.")
        check_bytes(label, members[0].file_size)
        with archive.open(members[0]) as file:
            return read_npy(file.read(members[0].file_size), label, volume)
