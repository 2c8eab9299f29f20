"""Feature squeezing: how far the probabilities move when the image is simplified.

Xu, Evans and Qi 2018, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", arxiv.org/abs/1704.01155.
Where we differ: a Gaussian in place of non-local means, so that every filter works on images and volumes alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hfcviz.activations import extract
from hfcviz.classifiers import Classifier
from hfcviz.settings import Progress, silent
from hfcviz.store import Arrays

LEVELS = 16
"""Grey levels that are left."""
SIDE = 3
"""Pixels along each axis of which the median is taken."""
SIGMA = 1.0
"""Width of the Gaussian in pixels."""
LARGEST = "largest of three"
"""The score of all of them together."""


def fewer_levels(x: Tensor) -> Tensor:
    """Images in [0, 1], (N, C, *spatial), rounded to so many evenly spaced grey levels."""
    return (x * (LEVELS - 1)).round() / (LEVELS - 1)


def median(x: Tensor) -> Tensor:
    """Every pixel the median of its neighbourhood; beyond the edge the image goes on as it ends."""
    from scipy.ndimage import median_filter

    return torch.from_numpy(median_filter(x.numpy(), (1, 1, *[SIDE] * (x.ndim - 2)), mode="nearest"))


def blurred(x: Tensor) -> Tensor:
    """Smoothed by a Gaussian; beyond the edge the image goes on as it ends."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(x.numpy(), (0, 0, *[SIGMA] * (x.ndim - 2)), mode="nearest")
    return torch.from_numpy(smooth).clamp(0, 1)


SQUEEZES: dict[str, Callable[[Tensor], Tensor]] = {"16 grey levels": fewer_levels, "median": median, "blur": blurred}
"""By name."""


def distances(classifier: Classifier, x: Tensor, batch_size: int = 32, progress: Progress = silent) -> Arrays:
    """{squeeze: (N,)} L1 distance, 0 to 2, between the probabilities of images x (N, C, *spatial) and of squeezed ones, and
    the largest of them.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SQUEEZES}
    for start in range(0, len(x), batch_size):
        progress(start / len(x), "squeezed scans")
        batch = x[start : start + batch_size]
        plain = extract(classifier, batch).probabilities
        for name, squeeze in SQUEEZES.items():
            parts[name].append(np.abs(extract(classifier, squeeze(batch)).probabilities - plain).sum(1))
    found = {name: np.concatenate(part) for name, part in parts.items()}
    return found | {LARGEST: np.max(list(found.values()), axis=0)}
