"""Competing penalties that an attack can carry in place of HFC, to see whether HFC hides better than simpler ideas.

All are brought to HFC's scale, so that one list of weights suits them all: of a clean scan, the term of a layer is about
the weight. Each sample's terms depend on its own features, target and seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hfcviz.activations import Activations
from hfcviz.attacks import Penalty
from hfcviz.settings import InputError, Progress, Settings, setting, silent

_FEW = 500
"""Clean images that are enough to find a bandwidth or a mean."""


@dataclass(frozen=True)
class RandomImage(Settings):
    """Pull each scan, in every layer, to the features of one clean training image of the target class, drawn by its seed.

    A feature-space attack in the manner of Sabour et al. 2016, arxiv.org/abs/1511.05122, which the HFC paper compares
    with. The squared distance is divided by the layer's width and by the mean variance of its channels in that class.
    """

    weight: float = setting(1.0, "Weight of the pull against the attack's own loss.", least=0, most=1000)

    def fit(self, clean: Activations, labels: np.ndarray, *, seed: int = 0, progress: Progress = silent) -> Penalty:
        known = {name: _Layer.of(z, labels, clean.logits.shape[1]) for name, z in clean.layers.items()}

        def terms(layers: dict[str, Tensor], target: Tensor, seeds: Sequence[int]) -> dict[str, Tensor]:
            drawn = torch.tensor(list(seeds), dtype=torch.long)
            return {
                name: self.weight * one.gap(layers[name], one.drawn(target, drawn), target)
                for name, one in known.items()
            }

        return terms


@dataclass(frozen=True)
class Closest(Settings):
    """Pull each scan, in every layer, to the nearest clean training feature of the target class.

    Which one that is, is chosen anew at each step and layer, without gradient. Scaled as in RandomImage.
    """

    weight: float = setting(1.0, "Weight of the pull against the attack's own loss.", least=0, most=1000)

    def fit(self, clean: Activations, labels: np.ndarray, *, seed: int = 0, progress: Progress = silent) -> Penalty:
        known = {name: _Layer.of(z, labels, clean.logits.shape[1]) for name, z in clean.layers.items()}

        def terms(layers: dict[str, Tensor], target: Tensor, seeds: Sequence[int]) -> dict[str, Tensor]:
            return {
                name: self.weight * one.gap(layers[name], one.nearest(layers[name], target), target)
                for name, one in known.items()
            }

        return terms


@dataclass(frozen=True)
class Density(Settings):
    """Raise the kernel density of the target class's clean training images at the penultimate feature.

    Carlini & Wagner 2017, arxiv.org/abs/1705.07263. Where we differ: the term is -2 log density / width, without a
    threshold; for a Gaussian density that is HFC's term up to a constant. The bandwidth is found as the KD detector finds
    its own, but by leaving one image out: the likeliest of 21 between a hundredth of the median distance and the whole.
    """

    weight: float = setting(1.0, "Weight of the density against the attack's own loss.", least=0, most=1000)

    def fit(self, clean: Activations, labels: np.ndarray, *, seed: int = 0, progress: Progress = silent) -> Penalty:
        name, z = list(clean.layers.items())[-1]
        known = _Layer.of(z, labels, clean.logits.shape[1])
        width, channels = bandwidth(z, labels, seed), z.shape[1]
        norm = channels * math.log(width * math.sqrt(2 * math.pi))

        def terms(layers: dict[str, Tensor], target: Tensor, seeds: Sequence[int]) -> dict[str, Tensor]:
            exponents = known.squares(layers[name]) / (-2 * width**2)
            inside = torch.where(known.of_class(target), exponents, -torch.inf).logsumexp(1)
            density = inside - known.counts[target].log() - norm
            return {name: -2 * self.weight / channels * density}

        return terms


@dataclass(frozen=True)
class Dimension(Settings):
    """Lower the local intrinsic dimensionality among clean training images of all classes, in every layer.

    Athalye et al. 2018, arxiv.org/abs/1802.00420; the estimate is that of the LID detector (Ma et al. 2018,
    arxiv.org/abs/1801.02613). The neighbours are chosen anew at each step, without gradient. The estimate is divided by
    its mean over clean training images (500 at most), each without its own copy.
    """

    weight: float = setting(1.0, "Weight of the dimensionality against the attack's own loss.", least=0, most=1000)
    k: int = setting(20, "Number of nearest clean images.", label="Neighbours k", least=2, most=1000)

    def fit(self, clean: Activations, labels: np.ndarray, *, seed: int = 0, progress: Progress = silent) -> Penalty:
        if len(labels) <= self.k:
            raise InputError(
                f"Dimension.k must be smaller than the number of clean training images; got {self.k} for {len(labels)}: "
                "lower k or add images."
            )
        few = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels))[:_FEW])
        known = {name: _Layer.of(z, labels, clean.logits.shape[1]) for name, z in clean.layers.items()}
        usual = {}
        for place, (name, one) in enumerate(known.items()):
            progress(place / len(known), f"dimensionality of {name}")
            usual[name] = float(dimensionality(one.rows[few], one, self.k, itself=True).mean())
        progress(1, "dimensionality")

        def terms(layers: dict[str, Tensor], target: Tensor, seeds: Sequence[int]) -> dict[str, Tensor]:
            return {
                name: self.weight / usual[name] * dimensionality(layers[name], one, self.k)
                for name, one in known.items()
            }

        return terms


Rival = RandomImage | Closest | Density | Dimension

RIVALS: dict[str, Rival] = {"random": RandomImage(), "closest": Closest(), "KDE": Density(), "LID": Dimension()}
"""By the names under which the HFC paper compares them."""


@dataclass(frozen=True, eq=False)
class _Layer:
    """Clean training features of one layer, ordered by class."""

    rows: Tensor
    """(M, C) float32."""
    labels: Tensor
    """(M,)"""
    counts: Tensor
    """(classes,) images of each class, which stand side by side from `firsts` on."""
    firsts: Tensor
    variances: Tensor
    """(classes,) mean over channels of the variance within the class."""

    @classmethod
    def of(cls, z: np.ndarray, labels: np.ndarray, classes: int) -> _Layer:
        order = np.argsort(labels, kind="stable")
        counts = np.bincount(labels, minlength=classes)
        variances = [float(z[labels == c].astype(np.float64).var(0).mean()) or 1.0 for c in range(classes)]
        return cls(
            torch.as_tensor(z[order], dtype=torch.float32),
            torch.from_numpy(labels[order].astype(np.int64)),
            torch.from_numpy(counts),
            torch.from_numpy(np.cumsum(counts) - counts),
            torch.tensor(variances, dtype=torch.float32),
        )

    def of_class(self, target: Tensor) -> Tensor:
        """(N, M) bool: the rows of each sample's target class."""
        return self.labels[None] == target[:, None]

    def squares(self, z: Tensor) -> Tensor:
        """Squared distances (N, M), differentiable in z (N, C)."""
        centre = self.rows.mean(0)  # the sums cancel less
        z, rows = z - centre, self.rows - centre
        return (z.square().sum(1)[:, None] + rows.square().sum(1) - 2 * z @ rows.T).clamp_min(0)

    def drawn(self, target: Tensor, seeds: Tensor) -> Tensor:
        """(N, C): each sample's own image of its target class."""
        return self.rows[self.firsts[target] + seeds % self.counts[target]]

    @torch.no_grad()
    def nearest(self, z: Tensor, target: Tensor) -> Tensor:
        """(N, C): the nearest of the target class."""
        return self.rows[torch.where(self.of_class(target), self.squares(z), torch.inf).argmin(1)]

    def gap(self, z: Tensor, aim: Tensor, target: Tensor) -> Tensor:
        """Squared distance (N,) over width and variance of the target class."""
        return (z - aim).square().mean(1) / self.variances[target]


def dimensionality(z: Tensor, layer: _Layer, k: int, *, itself: bool = False) -> Tensor:
    """Local intrinsic dimensionality (N,) of z (N, C) among a layer's rows: -1 / mean(log(r_i / r_k)) over the k nearest.

    itself: z are rows of the layer, whose own copies are no neighbours. Differentiable in z; the choice is not.
    """
    with torch.no_grad():
        chosen = layer.squares(z).topk(k + itself, dim=1, largest=False).indices[:, int(itself) :]
    # Plain differences: _Layer.squares is inexact near zero, where the logarithm is steep.
    squares = (z[:, None] - layer.rows[chosen]).square().sum(2)
    farthest = squares.amax(1, keepdim=True).clamp_min(1e-30)
    ratios = (squares / farthest).clamp_min(1e-8)  # r_i is at least 1e-4 r_k, as for the detector
    return -1 / (0.5 * ratios.log().mean(1)).clamp_max(-1e-4)


def bandwidth(z: np.ndarray, labels: np.ndarray, seed: int = 0) -> float:
    """The kernel width under which clean features z (M, C) are likeliest, each left out of its own class (500 at most)."""
    from scipy.special import logsumexp

    draw, held_out, counts = np.random.default_rng(seed), [], []
    for c in np.unique(labels):
        rows = z[labels == c].astype(np.float64)
        if len(rows) < 2:
            raise InputError(
                f"A kernel density needs 2 clean images of each class; class {c} has {len(rows)}: add images."
            )
        few = draw.permutation(len(rows))[: _FEW // len(np.unique(labels)) + 1]
        squares = np.square(rows).sum(1)[few, None] + np.square(rows).sum(1) - 2 * rows[few] @ rows.T
        squares[np.arange(len(few)), few] = np.inf
        held_out.append(np.maximum(squares, 0))
        counts.append(len(rows) - 1)
    finite = np.concatenate([squares[np.isfinite(squares)] for squares in held_out])
    median = math.sqrt(float(np.median(finite))) or 1.0
    channels = z.shape[1]

    def likelihood(width: float) -> float:
        return sum(
            float((logsumexp(squares / (-2 * width**2), axis=1) - math.log(count) - channels * math.log(width)).sum())
            for squares, count in zip(held_out, counts, strict=True)
        )

    return max((median * float(share) for share in np.geomspace(0.01, 1, 21)), key=likelihood)
