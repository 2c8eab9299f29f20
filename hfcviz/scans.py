"""Scans of people as arrays: take a slice of a volume, prepare the pixels for a network and bring its changes back, write an image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True)
class Placement:
    """How `prepare` brings a scan onto a network's grid.

    shape: of the scan, input_shape: of the network, both (C, *spatial). sizes: what the scan's sides become; what is left of the
    input is margin. window: (low, high) in the scan's units that become 0 and 1.
    """

    shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    sizes: tuple[int, ...]
    window: Window

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """(before, after) along each axis of the network's grid."""
        spare = (side - size for side, size in zip(self.input_shape[1:], self.sizes, strict=True))
        return tuple((one // 2, (one + 1) // 2) for one in spare)

    @property
    def span(self) -> float:
        """What 1 on the network's grid is in the scan's units."""
        return self.window[1] - self.window[0]


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


def prepare(scan: Scan, input_shape: Sequence[int], window: Window | None = None) -> np.ndarray:
    """The scan as a network takes it: float32 (C, *spatial) of `input_shape`, in [0, 1], in true proportions.

    window: (low, high) in the scan's units that become 0 and 1; by default the scan's own, else its percentiles 0.5 and 99.5.
    Colour becomes grey by the luma of ITU-R BT.601 and grey is repeated; an image of the right size is not resampled, another
    is resized by an antialiasing linear filter and padded with its minimum. Raises InputError for a volume where the network
    takes images or the other way round, a wrong window, and channels that cannot be converted.
    """
    placement = place(scan, input_shape, window)
    low, high = placement.window
    with np.errstate(over="ignore", invalid="ignore"):
        x = np.clip((scan.image - np.float32(low)) / (np.float32(high) - np.float32(low)), 0, 1)
    if (len(x), input_shape[0]) == (3, 1):
        x = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), x, axes=1)[None]
    elif len(x) == 1:
        x = np.repeat(x, input_shape[0], axis=0)
    for axis, size in enumerate(placement.sizes, start=1):
        if x.shape[axis] != size:
            x = np.moveaxis(np.tensordot(x, _filter(x.shape[axis], size), axes=(axis, 1)), -1, axis)
    x = np.pad(x, [(0, 0), *placement.margins], constant_values=x.min())
    return np.ascontiguousarray(np.clip(x, 0, 1), dtype=np.float32)


def place(scan: Scan, input_shape: Sequence[int], window: Window | None = None) -> Placement:
    """How `prepare` brings this scan onto this network's grid; raises the same InputErrors."""
    channels, *target = input_shape
    if scan.image.ndim != len(input_shape):
        what, way = ("an image", "load a volume") if scan.image.ndim == 3 else ("a volume", "choose a slice")
        raise InputError(
            f"{scan.name} is {what} ({sides(scan.image.shape[1:])}), but the network takes {len(target)}-D scans: {way}."
        )
    low, high = window or scan.window or percentiles(scan.image)
    with np.errstate(over="ignore", invalid="ignore"):
        span = np.float32(high) - np.float32(low)
    if not 0 < span < math.inf:
        raise InputError(f"The window of {scan.name} must be two finite numbers, low < high; got {low:g} to {high:g}.")
    given = len(scan.image)
    if given not in (1, channels) and (given, channels) != (3, 1):
        raise InputError(f"{scan.name} has {given} channels, but the network takes {channels}: convert it to grey.")
    extent = np.multiply(scan.image.shape[1:], scan.spacing or 1.0)
    sizes = np.maximum(1, np.rint(extent / np.max(extent / target))).astype(int)
    return Placement(scan.image.shape, tuple(input_shape), tuple(sizes.tolist()), (float(low), float(high)))


def on_own_grid(change: np.ndarray, placement: Placement, at: Mapping[int, int] | None = None) -> np.ndarray:
    """A change (C, *network's spatial) in [0, 1] units, brought back to the scan's own grid and units: float32 (C, *scan's spatial).

    The margins are dropped, and what is left is interpolated linearly between pixel centres, where `prepare` puts them; beyond the
    outermost centres the value stays. So no value grows, and |change| <= eps becomes <= eps * span. What was averaged away when
    the scan was made smaller cannot come back: preparing the changed scan again gives a similar change, not the same.
    at: {spatial axis: index on the scan's grid} gives only that slice, with side 1 there.
    Of a colour scan that the network takes as grey, all three channels change alike, which changes its luma by just that. Of a grey
    scan that the network takes three times, the result keeps three channels: they may differ, and one grey picture cannot hold them.
    Raises InputError for a change that is not of the network's shape.
    """
    if change.shape != placement.input_shape:
        raise InputError(
            f"A change must have the shape of the network's input, {sides(placement.input_shape)}; got {sides(change.shape)}."
        )
    inside = [
        slice(before, before + size) for (before, _), size in zip(placement.margins, placement.sizes, strict=True)
    ]
    x, at = change[:, *inside].astype(np.float32), at or {}
    axes = range(len(placement.sizes))
    for axis in sorted(axes, key=lambda one: one not in at):  # what leaves least to do comes first
        size, length = placement.sizes[axis], placement.shape[axis + 1]
        wanted = np.array([at[axis]]) if axis in at else np.arange(length)
        if size == length:
            x = x if axis not in at else np.take(x, wanted, axis + 1)
            continue
        spot = np.clip((wanted + 0.5) * (size / length) - 0.5, 0, size - 1)
        before = np.minimum(spot.astype(int), max(size - 2, 0))
        share = (spot - before).astype(np.float32).reshape(-1, *[1] * (x.ndim - axis - 2))
        after = np.minimum(before + 1, size - 1)
        x = np.take(x, before, axis + 1) * (1 - share) + np.take(x, after, axis + 1) * share
    x = x * np.float32(placement.span)
    return np.repeat(x, placement.shape[0], axis=0) if len(x) == 1 else x


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


def percentiles(image: np.ndarray, least: float = 0.5, most: float = 99.5) -> Window:
    """Two percentiles of about a million values, or the extremes where nearly all are equal."""
    low, high = (float(value) for value in np.percentile(image.ravel("K")[:: image.size // 2**20 | 1], (least, most)))
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
