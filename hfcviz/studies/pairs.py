"""Two networks that see the same scans, perhaps on different grids."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hfcviz.scans import sides
from hfcviz.settings import InputError
from hfcviz.studies.lab import Lab


def check_pair(lab: Lab, beside: Lab) -> None:
    """InputError unless both networks know the same classes and see the same images on grids of the same proportions."""
    here, there = lab.classifier, beside.classifier
    if here.class_names != there.class_names:
        raise InputError(
            f"Both networks must know the same classes; {here.name} knows {', '.join(here.class_names)}, {there.name} "
            f"{', '.join(there.class_names)}: choose another second network."
        )
    (channels, *grid), (others, *grid_there) = here.input_shape, there.input_shape
    same_rank = len(grid) == len(grid_there)
    if not same_rank or len({a * grid_there[0] == b * grid[0] for a, b in zip(grid, grid_there, strict=True)} - {True}):
        raise InputError(
            f"Both networks must take scans of the same proportions; {here.name} takes {sides(grid)}, {there.name} "
            f"{sides(grid_there)}: choose another second network."
        )
    if channels != others and {channels, others} != {1, 3}:
        raise InputError(
            f"Both networks must take as many channels, or one grey and the other colour; {here.name} takes {channels}, "
            f"{there.name} {others}: choose another second network."
        )
    _check_images(lab, beside)


def _check_images(lab: Lab, beside: Lab) -> None:
    """InputError unless row i of both test parts is the same image, on another grid perhaps."""
    ours, theirs = lab.dataset.splits["test"], beside.dataset.splits["test"]
    same = ours.ids == theirs.ids and np.array_equal(ours.y, theirs.y)
    if same and ours.x.shape == theirs.x.shape:
        same = np.array_equal(ours.x, theirs.x)
    elif same:
        # On other grids values differ a little: so each image must resemble its own namesake most, as most of them do.
        some = np.linspace(0, len(ours) - 1, min(len(ours), 16)).astype(int)
        a, b = (_coarse(torch.from_numpy(split.images(some))) for split in (ours, theirs))
        gaps = torch.cdist(a, b)
        same = bool((gaps.diagonal() <= gaps.min(1).values + 1e-4).float().mean() >= 0.5)
    if not same:
        raise InputError(
            f"Both networks need the same test images under the same names; those of {beside.dataset.name} for "
            f"{beside.classifier.name} are others than those of {lab.dataset.name}: fit one set to both inputs."
        )


def _coarse(x: Tensor) -> Tensor:
    """(N, C, *spatial) as 4 cells a side of grey, (N, 4 ** dims)."""
    pool = (torch.nn.functional.adaptive_avg_pool2d, torch.nn.functional.adaptive_avg_pool3d)[x.ndim - 4]
    return pool(x.mean(1, keepdim=True), 4).flatten(1)


def brought_over(change: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A change (N, C, *spatial) on the grid and channels of `shape`, (C, *spatial), which no value of it outgrows.

    Made larger by linear interpolation, smaller by the mean over areas; colour becomes grey by the luma of ITU-R BT.601, and
    grey is repeated.
    """
    channels, *grid = shape
    if change.shape[1] == 3 and channels == 1:
        change = (change * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, *[1] * len(grid))).sum(1, keepdim=True)
    elif change.shape[1] != channels:
        change = change.expand(-1, channels, *change.shape[2:])
    if list(change.shape[2:]) == grid:
        return change
    if grid[0] < change.shape[2]:
        return torch.nn.functional.interpolate(change, size=grid, mode="area")
    return torch.nn.functional.interpolate(change, size=grid, mode=("bilinear", "trilinear")[len(grid) - 2])
