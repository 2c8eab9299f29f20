"""Between a scan's own grid and a network's: the scan as the network takes it, and changes brought back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hfcviz.scans import Scan, Window, sides
from hfcviz.settings import InputError


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
