"""What clean scans do not hold: occlusions and pasted tissue, each at one place of the body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

DARK = 0.1
"""Up to this grey, of a range from 0 to 1, a pixel may be air around the body."""
SMALLEST = 0.01
"""Share of the pixels below which what is brighter is taken for no body, and everything is the body."""


@dataclass(frozen=True)
class Place:
    """Where one scan changes: within `radius` pixels of the centre, and only in the body."""

    gap: Tensor
    """(*spatial) distance of each pixel from the centre, in pixels; infinite outside the body."""
    radius: float

    @property
    def ball(self) -> Tensor:
        """(*spatial) 1 inside and 0 elsewhere; nothing at radius 0."""
        return (self.gap < self.radius).float()

    @property
    def soft(self) -> Tensor:
        """(*spatial) 1 in the inner half, from there straight down to 0 at the edge."""
        return (2 * (self.radius - self.gap)).clamp(min=0).div(max(self.radius, 1e-6)).clamp(max=1)


def grey_ball(image: Tensor, other: Tensor, place: Place) -> Tensor:
    """Everything within the ball becomes middle grey."""
    return image + place.ball * (0.5 - image)


def black_ball(image: Tensor, other: Tensor, place: Place) -> Tensor:
    """Everything within the ball becomes black."""
    return image * (1 - place.ball)


def pasted(image: Tensor, other: Tensor, place: Place) -> Tensor:
    """A part of another scan, with a soft edge."""
    return image + place.soft * (other - image)


def bright_ball(image: Tensor, other: Tensor, place: Place) -> Tensor:
    """A soft ball, brighter by three tenths of the range."""
    return (image + 0.3 * place.soft).clamp(max=1)


CHANGES: dict[str, Callable[[Tensor, Tensor, Place], Tensor]] = {
    "grey ball": grey_ball,
    "black ball": black_ball,
    "pasted tissue": pasted,
    "bright ball": bright_ball,
}
"""`change(image, other, place)` of an image (C, *spatial) in [0, 1]; other: a scan of another class, moved so that a place
in its body lies at the centre. Two hide what is there, two add what is not.
"""


def body_of(image: Tensor) -> Tensor:
    """(*spatial) bool of an image (C, *spatial): what is brighter than air, holes filled; everything where that is next to
    nothing.
    """
    from scipy.ndimage import binary_fill_holes

    body = torch.from_numpy(binary_fill_holes(image.mean(0).numpy() > DARK))
    return body if body.float().mean() >= SMALLEST else torch.ones_like(body)


def centre_of(body: Tensor, rng: np.random.Generator) -> Tensor:
    """A pixel of the body by chance, (dims,)."""
    inside = body.nonzero()
    return inside[int(rng.integers(len(inside)))]


def place_of(body: Tensor, centre: Tensor, percent: float) -> Place:
    """The ball about a centre (dims,) whose diameter is so many percent of the shortest side."""
    axes = [torch.arange(side) - int(at) for side, at in zip(body.shape, centre, strict=True)]
    squares = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0)
    gap = torch.where(body, squares.float().sqrt(), torch.inf)
    return Place(gap, percent / 100 * min(body.shape) / 2)


def moved(other: Tensor, there: Tensor, here: Tensor) -> Tensor:
    """The image (C, *spatial), shifted so that the pixel `there` comes to lie `here`; its edge is continued."""
    for axis, (a, b) in enumerate(zip(there.tolist(), here.tolist(), strict=True), 1):
        side = other.shape[axis]
        other = other.index_select(axis, (torch.arange(side) - b + a).clamp(0, side - 1))
    return other
