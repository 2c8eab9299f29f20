"""Two-dimensional views of one layer's features: PCA, t-SNE, UMAP.

PCA is fitted on the clean samples alone and is an exact linear view, so points may be added later and paths drawn.
t-SNE and UMAP are fitted jointly on everything shown: a clean map that others are placed into afterwards puts
outliers next to the clean cloud.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hfcviz.settings import InputError, Progress, Settings, setting, silent

NEIGHBOURS = 15
"""Nearest neighbours that `trust` asks about, as many as UMAP looks at."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """xy: (N, 2) positions; axes: what each axis is; note: method, parameters, seed and what it was fitted on; exact: linear,
    distances keep a meaning; trustworthiness: see `trust`, NaN where the features were not kept.
    """

    xy: np.ndarray
    axes: tuple[str, str]
    note: str
    exact: bool
    trustworthiness: float = math.nan

    @property
    def about(self) -> dict[str, Any]:
        """Plain values to store beside the positions."""
        known = {} if math.isnan(self.trustworthiness) else {"trustworthiness": self.trustworthiness}
        return {"axes": list(self.axes), "note": self.note} | known

    @classmethod
    def of(cls, xy: np.ndarray, about: Mapping[str, Any], *, exact: bool) -> Embedding:
        """From positions and what `about` gave."""
        return cls(
            xy, (about["axes"][0], about["axes"][1]), about["note"], exact, about.get("trustworthiness", math.nan)
        )

    @property
    def statement(self) -> str:
        """What has to stand below the picture, as one line."""
        if math.isnan(self.trustworthiness):
            return f"{self.note}; its trustworthiness is not known, as the features of this run were not kept."
        return f"{self.note}; trustworthiness {self.trustworthiness:.2f} of 1 ({NEIGHBOURS} neighbours)."


@dataclass(frozen=True)
class PCA(Settings):
    """Principal components of the clean samples (Pearson 1901; Jolliffe 2002)."""

    def embed(self, z: np.ndarray, clean: np.ndarray, seed: int) -> Embedding:
        """z: (N, C); clean: (N,) bool, the rows that are fitted on."""
        from sklearn.decomposition import PCA as Model

        model = Model(2, svd_solver="full").fit(z[clean])
        shares = model.explained_variance_ratio_
        axes = (f"PC 1 ({shares[0]:.0%} of clean variance)", f"PC 2 ({shares[1]:.0%})")
        return Embedding(
            model.transform(z), axes, f"PCA fitted on {int(clean.sum())} clean scans, the others are projected", True
        )


@dataclass(frozen=True)
class TSNE(Settings):
    """t-distributed stochastic neighbour embedding (van der Maaten & Hinton 2008,
    jmlr.org/papers/v9/vandermaaten08a.html).
    """

    perplexity: float = setting(30.0, "Effective number of neighbours of each point.", least=2, most=200)

    def embed(self, z: np.ndarray, clean: np.ndarray, seed: int) -> Embedding:
        """z: (N, C), all rows fitted jointly."""
        from sklearn.manifold import TSNE as Model

        if self.perplexity >= len(z):
            raise InputError(
                f"TSNE.perplexity must be less than the number of points ({len(z)}); got {self.perplexity:g}."
            )
        xy = Model(2, perplexity=self.perplexity, init="pca", random_state=seed).fit_transform(_reduced(z))
        return Embedding(
            xy,
            ("t-SNE 1", "t-SNE 2"),
            f"t-SNE fitted jointly on {len(z)} points, perplexity {self.perplexity:g}, seed {seed}",
            False,
        )


@dataclass(frozen=True)
class UMAP(Settings):
    """Uniform manifold approximation and projection (McInnes et al. 2018, arxiv.org/abs/1802.03426)."""

    neighbours: int = setting(15, "Neighbours that make up a point's local neighbourhood.", least=2, most=200)
    min_dist: float = setting(
        0.1, "How close points may lie in the picture.", label="Minimum distance", least=0, most=1
    )

    def embed(self, z: np.ndarray, clean: np.ndarray, seed: int) -> Embedding:
        """z: (N, C), all rows fitted jointly."""
        from sklearn.neighbors import NearestNeighbors

        if self.neighbours >= len(z):
            raise InputError(
                f"UMAP.neighbours must be less than the number of points ({len(z)}); got {self.neighbours}."
            )
        with _umap_turn, warnings.catch_warnings():
            # Of no concern to the reader: a seed makes UMAP run on one thread, and it warns about given neighbours
            # without an index.
            warnings.simplefilter("ignore")
            from umap import UMAP as Model

            reduced = _reduced(z)
            # Exact neighbours given beforehand spare umap-learn its slow path for small sets.
            distances, places = (
                NearestNeighbors(n_neighbors=self.neighbours, algorithm="brute").fit(reduced).kneighbors(reduced)
            )
            model = Model(
                n_neighbors=self.neighbours,
                min_dist=self.min_dist,
                random_state=seed,
                n_jobs=1,
                n_epochs=250,
                precomputed_knn=(places, distances.astype(np.float32), None),
                force_approximation_algorithm=True,
            )
            xy = model.fit_transform(reduced)
        note = (
            f"UMAP fitted jointly on {len(z)} points, {self.neighbours} neighbours, minimum distance {self.min_dist:g}, "
            f"seed {seed}"
        )
        return Embedding(xy, ("UMAP 1", "UMAP 2"), note, False)


_umap_turn = threading.Lock()
"""umap-learn's compiled code ends the process where two threads enter it at once."""

PROJECTIONS: dict[str, PCA | TSNE | UMAP] = {"PCA": PCA(), "t-SNE": TSNE(), "UMAP": UMAP()}


def project(
    method: PCA | TSNE | UMAP, z: np.ndarray, clean: np.ndarray, *, seed: int = 0, progress: Progress = silent
) -> Embedding:
    """Positions of z, (N, C), in the plane; clean, (N,) bool, marks the rows that PCA is fitted on.

    Raises InputError when there are too few points, or the features are not finite or all alike.
    """
    z, clean = np.asarray(z, dtype=np.float64), np.asarray(clean, dtype=bool)
    if len(z) < 4 or int(np.sum(clean)) < 3 or z.shape[1] < 2:
        raise InputError(
            f"A projection needs at least 4 points, 3 of them clean, and 2 features; got {z.shape}, {np.sum(clean)} "
            "clean."
        )
    if not np.isfinite(z).all():
        raise InputError("A projection needs finite features; some are NaN or infinite. Check the model.")
    if not np.ptp(z[clean], axis=0).any():
        raise InputError("A projection needs features that vary; all clean scans have the same. Choose another layer.")
    progress(0, type(method).__name__)
    embedding = method.embed(z, clean, seed)
    progress(0.95, "trustworthiness")
    embedding = replace(embedding, trustworthiness=trust(z, embedding.xy))
    progress(1, type(method).__name__)
    return embedding


def trust(z: np.ndarray, xy: np.ndarray) -> float:
    """How far neighbours in the picture, xy (N, 2), are neighbours among the features, z (N, C): 1 if all are.

    Trustworthiness (Venna & Kaski 2001, doi.org/10.1007/3-540-44668-0_68) over NEIGHBOURS nearest ones, fewer where
    there are fewer than twice as many points; it does not tell whether neighbours among the features were torn apart.
    """
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(z, xy, n_neighbors=max(1, min(NEIGHBOURS, (len(z) - 1) // 2))))


def aligned(positions: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pictures of the same points, each (N, 2), centred, and rotated or mirrored to lie as much like the one before as they can.

    Orthogonal Procrustes (Schönemann 1966, doi.org/10.1007/BF02289451) on positions of equal size; nothing is stretched, so
    that distances within each picture stay what they were.
    """
    from scipy.linalg import orthogonal_procrustes

    found: list[np.ndarray] = []
    for xy in positions:
        own = np.asarray(xy, dtype=np.float64)
        own = own - own.mean(0)
        if found:
            turn, _ = orthogonal_procrustes(_unit(own), _unit(found[-1]))
            own = own @ turn
        found.append(own)
    return found


def _unit(xy: np.ndarray) -> np.ndarray:
    return xy / (float(np.linalg.norm(xy)) or 1.0)


def _reduced(z: np.ndarray) -> np.ndarray:
    """At most 50 principal components of all rows: the customary first step, and several times faster."""
    from sklearn.decomposition import PCA as Model

    z = (z - z.mean(0)) / (z.std() or 1.0)
    width = min(50, *z.shape)
    reduced = Model(width, svd_solver="full").fit_transform(z) if z.shape[1] > width else z
    return reduced.astype(np.float32)
