"""From losses to the direction of a step: their sum, or one loss that leaves another alone; and smoothing.

Every function keeps samples apart: each one's direction depends on its own terms only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Combine = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]
"""`combine(terms, reached, moved)`: terms {name: (N,)}, the attack's own loss first and those of its penalty after it;
reached (N,) bool, the network sees the target; moved (N, C, *spatial), what the terms were computed from. Gives the
gradient that a step goes down, like moved.
"""


def summed(terms: dict[str, Tensor], reached: Tensor, moved: Tensor) -> Tensor:
    """The gradient of the sum of all terms: loss and penalty are minimised together."""
    return _gradient(list(terms.values()), moved)


def penalty_alone(terms: dict[str, Tensor], reached: Tensor, moved: Tensor) -> Tensor:
    """The gradient of the penalty's terms: what the network predicts does not matter."""
    return _gradient(list(terms.values())[1:], moved)


def orthogonal(terms: dict[str, Tensor], reached: Tensor, moved: Tensor) -> Tensor:
    """Until the target is reached, down the attack's loss without changing the penalty; from then on, down the penalty
    without changing the loss: each gradient is freed of its part along the other.

    Bryniarski et al. 2022, "Evading Adversarial Example Detection Defenses with Orthogonal Projected Gradient Descent",
    arxiv.org/abs/2106.15023. Where we differ: the loop takes the sign of what comes out, as for all attacks here, and a
    step costs two backward passes. Needs a penalty.
    """
    own, *others = terms.values()
    (loss,) = torch.autograd.grad(own.sum(), moved, retain_graph=True)
    penalty = _gradient(others, moved)
    shape = (-1, *[1] * (moved.ndim - 1))
    dot = (loss * penalty).flatten(1).sum(1).view(shape)

    def freed(gradient: Tensor, of: Tensor) -> Tensor:
        size = of.flatten(1).square().sum(1).view(shape)
        return gradient - dot / size.clamp_min(1e-30) * of

    return torch.where(reached.view(shape), freed(penalty, loss), freed(loss, penalty))


COMBINE: dict[str, Combine] = {"sum": summed, "orthogonal": orthogonal, "penalty": penalty_alone}
"""By name."""


def _gradient(losses: list[Tensor], moved: Tensor) -> Tensor:
    # Summing over samples keeps them apart: each one's gradient is that of its own terms.
    total = losses[0].sum() if len(losses) == 1 else torch.stack(losses).sum()
    (gradient,) = torch.autograd.grad(total, moved)
    return gradient


def smoothed(gradient: Tensor, sigma: float) -> Tensor:
    """The gradient (N, C, *spatial) filtered by a Gaussian of `sigma` pixels, cut at 2.5 sigma, along each spatial axis."""
    if sigma == 0:
        return gradient
    reach = max(1, round(2.5 * sigma))
    weights = torch.exp(-((torch.arange(-reach, reach + 1) / sigma) ** 2) / 2).to(gradient)
    weights = (weights / weights.sum()).view(1, 1, -1)
    for axis in range(2, gradient.ndim):
        lines = gradient.movedim(axis, -1)
        rows = torch.nn.functional.conv1d(lines.reshape(-1, 1, lines.shape[-1]), weights, padding=reach)
        gradient = rows.reshape(lines.shape).movedim(-1, axis)
    return gradient
