"""Scans of people as arrays: take a slice of a volume, prepare the pixels for a network, write an image."""

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
    others = tuple(other for other in range(4) if other != axis + 1)
    if index is None:
        inside = np.flatnonzero((scan.image > scan.image.mean(dtype=float)).any(axis=others))
        index = int(inside[0] + inside[-1]) // 2 if inside.size else scan.image.shape[axis + 1] // 2
    last = scan.image.shape[axis + 1] - 1
    if not 0 <= index <= last:
        raise InputError(f"The slice of {scan.name} must be between 0 and {last} along axis {axis}; got {index}.")
    columns, rows = (other - 1 for other in others[1:])
    # RAS+ indices grow to the patient's right, to the front and upwards: each display axis starts at the far end of one of them.
    image = np.take(scan.image, index, axis + 1).swapaxes(1, 2)[:, ::-1, ::-1]
    step = np.zeros((4, 4))
    step[rows, 0] = step[columns, 1] = -1
    step[axis, 2] = step[3, 3] = 1
    step[[rows, columns, axis], 3] = image.shape[1] - 1, image.shape[2] - 1, index
    name = f"{scan.name} ({('sagittal', 'coronal', 'axial')[axis]} slice {index})"
    affine = None if scan.affine is None else scan.affine @ step
    spacing = None if scan.spacing is None else (scan.spacing[rows], scan.spacing[columns])
    return checked(dataclasses.replace(scan, image=image, affine=affine, spacing=spacing, name=name))


def prepare(scan: Scan, input_shape: Sequence[int], window: Window | None = None) -> np.ndarray:
    """The scan as a network takes it: float32 (C, *spatial) of `input_shape`, in [0, 1], in true proportions.

    window: (low, high) in the scan's units that become 0 and 1; by default the scan's own, else its percentiles 0.5 and 99.5.
    Colour becomes grey by the luma of ITU-R BT.601 and grey is repeated; an image of the right size is not resampled, another
    is resized by an antialiasing linear filter and padded with its minimum. Raises InputError for a volume where the network
    takes images or the other way round, a wrong window, and channels that cannot be converted.
    """
    channels, *target = input_shape
    if scan.image.ndim != len(input_shape):
        what, way = ("an image", "load a volume") if scan.image.ndim == 3 else ("a volume", "choose a slice")
        raise InputError(
            f"{scan.name} is {what} ({sides(scan.image.shape[1:])}), but the network takes {len(target)}-D scans: {way}."
        )
    low, high = window or scan.window or _percentiles(scan.image)
    with np.errstate(over="ignore", invalid="ignore"):
        span = np.float32(high) - np.float32(low)
        if not 0 < span < math.inf:
            raise InputError(
                f"The window of {scan.name} must be two finite numbers, low < high; got {low:g} to {high:g}."
            )
        x = np.clip((scan.image - np.float32(low)) / span, 0, 1)
    if (len(x), channels) == (3, 1):
        x = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), x, axes=1)[None]
    elif len(x) == 1:
        x = np.repeat(x, channels, axis=0)
    elif len(x) != channels:
        raise InputError(f"{scan.name} has {len(x)} channels, but the network takes {channels}: convert it to grey.")
    extent = np.multiply(x.shape[1:], scan.spacing or 1.0)
    sizes = np.maximum(1, np.rint(extent / np.max(extent / target))).astype(int)
    for axis, size in enumerate(sizes, start=1):
        if x.shape[axis] != size:
            x = np.moveaxis(np.tensordot(x, _filter(x.shape[axis], size), axes=(axis, 1)), -1, axis)
    margins = [((side - size) // 2, (side - size + 1) // 2) for side, size in zip(target, sizes, strict=True)]
    x = np.pad(x, [(0, 0), *margins], constant_values=x.min())
    return np.ascontiguousarray(np.clip(x, 0, 1), dtype=np.float32)


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


def _percentiles(image: np.ndarray) -> Window:
    """Percentiles 0.5 and 99.5 of about a million values, or the extremes where nearly all are equal."""
    low, high = (float(value) for value in np.percentile(image.ravel("K")[:: image.size // 2**20 | 1], (0.5, 99.5)))
    return (low, high) if low < high else (float(image.min()), float(image.max()))


def _filter(length: int, size: int) -> np.ndarray:
    """Weights (size, length) of a linear resampling of one axis; where it shrinks, the triangle widens so that nothing aliases."""
    step = length / size
    centers = (np.arange(size) + 0.5) * step
    weights = np.clip(1 - np.abs(np.arange(length) + 0.5 - centers[:, None]) / max(step, 1.0), 0, None)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


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
