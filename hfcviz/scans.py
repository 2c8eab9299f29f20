"""Scans of people as arrays: check them, take a slice of a volume, write an image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hfcviz.settings import InputError

Window = tuple[float, float]

MIN_SIDE = 8

PNG_WINDOW = ("hfcviz window", "0 65535")
"""A text in the PNGs of `write_png`: their 16 bits are one whole range, while a scanner often fills 12 of its 16."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One image or volume in the units of its file.

    image: float32 (C, *spatial); an image is (rows, columns) as it is shown, a volume (x, y, z) in RAS+ order, in memory dense but
    perhaps in another order of axes.
    affine: (4, 4) from array indices to RAS+ mm, or None; the third index of a slice is 0. spacing: mm along *spatial, or None.
    window: the (low, high) that shows as black and white where the file says so: DICOM's VOI window, the full range of 8-bit
    and colour images and of `write_png`; otherwise None, and `prepare` takes percentiles. notices: sentences for the reader.
    format: as decoded ("PNG", "DICOM series", ...). modality: DICOM's code, such as "CT". unit: "HU" or "". windows: all VOI
    windows of the header, (label, (low, high)), the first of which is `window`. stored_orientation: the axes of the file
    itself, such as "LPS"; "" where it does not say.
    """

    image: np.ndarray
    affine: np.ndarray | None
    spacing: tuple[float, ...] | None
    name: str
    notices: tuple[str, ...] = ()
    window: Window | None = None
    format: str = ""
    modality: str = ""
    unit: str = ""
    windows: tuple[tuple[str, Window], ...] = ()
    stored_orientation: str = ""


def display_picture(image: np.ndarray, axis: int, index: int) -> np.ndarray:
    """A view of slice `index` along `axis` of a RAS+ volume (C, X, Y, Z), as a picture (C, rows, columns) in radiological order."""
    # RAS+ indices grow to the patient's right, to the front and upwards: each display axis starts at the far end of one of them.
    return np.take(image, index, axis + 1).swapaxes(1, 2)[:, ::-1, ::-1]


def flat(image: np.ndarray) -> np.ndarray:
    """A picture (C, H, W) of an image, or of a volume's middle axial slice in radiological order, (C, *spatial)."""
    return image if image.ndim == 3 else display_picture(image, 2, image.shape[-1] // 2)


def display_matrix(shape: Sequence[int], axis: int, index: int) -> np.ndarray:
    """(4, 4) from places (row, column, 0, 1) of `display_picture` to indices (i, j, k, 1) of a volume with these three sides."""
    columns, rows = (other for other in range(3) if other != axis)
    step = np.zeros((4, 4))
    step[rows, 0] = step[columns, 1] = -1
    step[axis, 2] = step[3, 3] = 1
    step[[rows, columns, axis], 3] = shape[rows] - 1, shape[columns] - 1, index
    return step


def middle(image: np.ndarray, axis: int) -> int:
    """The index along a volume's axis in the middle of what is brighter than the average; image (C, X, Y, Z)."""
    others = tuple(other for other in range(4) if other != axis + 1)
    inside = np.flatnonzero((image > image.mean(dtype=float)).any(axis=others))
    return int(inside[0] + inside[-1]) // 2 if inside.size else image.shape[axis + 1] // 2


def take_slice(scan: Scan, axis: int = 2, index: int | None = None) -> Scan:
    """One slice of a RAS+ volume as an image in radiological display order.

    axis 2, axial: row 0 anterior, column 0 the patient's right; axis 1, coronal: row 0 superior, column 0 right; axis 0, sagittal:
    row 0 superior, column 0 anterior. index counts along the axis; by default the middle of what is brighter than the average.
    Raises InputError for an image, an axis or index outside the volume, and a slice that is constant or too small.
    """
    if scan.image.ndim != 4:
        raise InputError(
            f"{scan.name} must be a volume to be sliced, but it is an image ({sides(scan.image.shape[1:])}); use it as it is."
        )
    if axis not in (0, 1, 2):
        raise InputError(f"The axis of a slice must be 0 (sagittal), 1 (coronal) or 2 (axial); got {axis}.")
    index = middle(scan.image, axis) if index is None else index
    last = scan.image.shape[axis + 1] - 1
    if not 0 <= index <= last:
        raise InputError(f"The slice of {scan.name} must be between 0 and {last} along axis {axis}; got {index}.")
    columns, rows = (other for other in range(3) if other != axis)
    name = f"{scan.name} ({('sagittal', 'coronal', 'axial')[axis]} slice {index})"
    affine = None if scan.affine is None else scan.affine @ display_matrix(scan.image.shape[1:], axis, index)
    spacing = None if scan.spacing is None else (scan.spacing[rows], scan.spacing[columns])
    image = display_picture(scan.image, axis, index)
    return checked(dataclasses.replace(scan, image=image, affine=affine, spacing=spacing, name=name))


def write_png(target: Path | BinaryIO, image: np.ndarray) -> None:
    """Save an image (C, rows, columns) in [0, 1], so that `read` and `prepare` give it back.

    One channel is written with 16 bits (8 would round away a change below 1/255), three with 8: Pillow has no 16-bit colour.
    Raises InputError for anything that is not such an image.
    """
    from PIL import Image, PngImagePlugin

    if image.ndim != 3 or len(image) not in (1, 3) or not (image.min() >= 0 and image.max() <= 1):
        raise InputError(
            f"A PNG must be 1 or 3 channels of rows and columns in [0, 1], but it is {sides(image.shape)}; save a slice."
        )
    depth = np.uint16 if len(image) == 1 else np.uint8
    pixels = np.rint(np.moveaxis(image, 0, -1) * np.float64(np.iinfo(depth).max)).astype(depth)
    text = PngImagePlugin.PngInfo()
    text.add_text(*PNG_WINDOW)
    Image.fromarray(pixels.squeeze()).save(target, format="PNG", pnginfo=text)


def checked(scan: Scan) -> Scan:
    """The scan as float32, if a network can make something of it: finite, not constant, at least two sides of MIN_SIDE."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as Inf
        image = np.asarray(scan.image, dtype=np.float32)
    scan = dataclasses.replace(scan, image=np.ascontiguousarray(image) if image.ndim == 3 else _dense(image))
    shape = scan.image.shape[1:]
    if sorted(shape)[-2] < MIN_SIDE:
        raise InputError(
            f"{scan.name} must have at least {MIN_SIDE} x {MIN_SIDE} pixels, but it has {sides(shape)}; use a larger image."
        )
    least, most = float(scan.image.min()), float(scan.image.max())  # NaN and Inf show in one of the two
    if not (math.isfinite(least) and math.isfinite(most)):
        raise InputError(f"{scan.name} must hold finite numbers, but it holds NaN or Inf; replace them, say by 0.")
    if least == most:
        raise InputError(
            f"{scan.name} must show something, but every value is {least:g}; choose another scan or slice."
        )
    return scan


def _dense(image: np.ndarray) -> np.ndarray:
    """The array, nothing left out or backwards in memory; a large volume is not copied, or in the order that it has: others take longer."""
    steps = [stride if side > 1 else image.nbytes for stride, side in zip(image.strides, image.shape, strict=True)]
    dense = min(steps) > 0 and image.transpose(np.argsort(steps)[::-1]).flags.c_contiguous
    return image if dense else image.copy(order="K")


def sides(shape: Sequence[int]) -> str:
    return " x ".join(str(int(side)) for side in shape)
