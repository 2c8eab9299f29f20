"""Penalties on the features that an attack can carry; the hierarchical feature constraint (HFC) is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hfcviz.activations import Activations
from hfcviz.mixtures import Mixture, fit_mixture
from hfcviz.settings import InputError, Progress, Settings, setting, silent
from hfcviz.store import load_arrays, save_arrays


@dataclass(frozen=True)
class HFC(Settings):
    """Hierarchical feature constraint: pull every layer's feature to the target class's clean distribution.

    Yao et al., "Adversarial Medical Image with Hierarchical Feature Hiding", IEEE TMI 2024, arxiv.org/abs/2312.01679.
    Where we differ: the mixture's covariances are regularised relative to the layer's own variance, and no layer is
    left out unless asked.
    """

    components: int = setting(1, "Gaussians in each class's mixture (K).", label="Components K", least=1, most=256)
    weight: float = setting(
        1.0, "Weight of the constraint against the attack's own loss.", label="Weight", least=0, most=1000
    )
    layers: tuple[str, ...] = setting((), "Layers that are constrained; none chosen means all.", label="Layers")
    regularisation: float = setting(
        1e-3,
        "Added to each covariance's diagonal, as a share of the layer's mean variance.",
        least=1e-8,
        most=1,
        advanced=True,
    )
    widest: int | None = setting(
        None,
        "Leave out layers with more channels than this; the authors' published code leaves out those above 512.",
        label="Widest layer",
        least=1,
        advanced=True,
    )

    def choose(self, widths: dict[str, int]) -> tuple[str, ...]:
        """The layers in use, in order of depth, from {layer: width}; InputError for unknown names or none left."""
        unknown = [name for name in self.layers if name not in widths]
        if unknown:
            raise InputError(f"HFC.layers must be among {', '.join(widths)}; got {', '.join(unknown)}.")
        widths = {name: width for name, width in widths.items() if not self.layers or name in self.layers}
        narrowest = min(widths.values())
        if self.widest is not None and self.widest < narrowest:
            raise InputError(
                f"HFC.widest must leave at least one layer; got {self.widest}, the narrowest has {narrowest} channels."
            )
        return tuple(name for name, width in widths.items() if self.widest is None or width <= self.widest)

    def fit(self, clean: Activations, labels: np.ndarray, *, seed: int = 0, progress: Progress = silent) -> FittedHFC:
        """Fit one mixture for each layer and class on clean training images; labels: (N,) true classes."""
        from threadpoolctl import threadpool_limits

        names = self.choose({name: z.shape[1] for name, z in clean.layers.items()})
        classes = [np.flatnonzero(labels == label) for label in range(clean.logits.shape[1])]
        mixtures: dict[str, list[Mixture]] = {}
        for place, name in enumerate(names):
            progress(place / len(names), f"mixtures of {name}")
            z = clean.layers[name]
            # So many small matrices are several times faster on one thread.
            with threadpool_limits(1, user_api="blas"):
                mixtures[name] = [fit_mixture(z[rows], self.components, self.regularisation, seed) for rows in classes]
        progress(1, "mixtures")
        return FittedHFC(self, mixtures)


@dataclass(frozen=True, eq=False)
class FittedHFC:
    """The constraint as the attack calls it: weight * squared Mahalanobis distance / width, for each layer."""

    settings: HFC
    mixtures: dict[str, list[Mixture]]

    def __call__(self, layers: dict[str, Tensor], target: Tensor, seeds: Sequence[int] = ()) -> dict[str, Tensor]:
        """Terms {layer: (N,)} from pooled features {layer: (N, C_l)} and target classes (N,); nothing is drawn by chance."""
        labels = target.unique().tolist()
        groups = [(label, target == label) for label in labels]
        terms = {}
        for name, classes in self.mixtures.items():
            z = layers[name]
            if len(labels) == 1:  # a single scan, say: a third less time than by chosen rows
                distance = classes[labels[0]].nearest_distance(z)
            else:
                distance = z.new_zeros(len(z))
                for label, rows in groups:
                    distance[rows] = classes[label].nearest_distance(z[rows])
            terms[name] = self.settings.weight / z.shape[1] * distance
        return terms


def save_constraint(fitted: FittedHFC, path: Path, made_for: str) -> None:
    """Write the mixtures and their settings as one .npz: numbers only, no images. made_for: digest of their cohort."""
    arrays = {
        f"{name}/{label}/{part.name}": getattr(mixture, part.name).numpy()
        for name, classes in fitted.mixtures.items()
        for label, mixture in enumerate(classes)
        for part in fields(mixture)
    }
    counts = {name: len(classes) for name, classes in fitted.mixtures.items()}
    save_arrays(path, arrays, {"settings": fitted.settings.as_dict(), "classes": counts, "made_for": made_for})


def load_constraint(path: Path) -> tuple[FittedHFC, str]:
    """Read what save_constraint wrote, and what it was made for; InputError when the file is missing or damaged."""
    arrays, about = load_arrays(path)
    try:
        settings = HFC(**about["settings"] | {"layers": tuple(about["settings"]["layers"])})
        mixtures = {
            name: [
                Mixture(*(torch.from_numpy(arrays[f"{name}/{label}/{part.name}"]) for part in fields(Mixture)))
                for label in range(count)
            ]
            for name, count in about["classes"].items()
        }
        return FittedHFC(settings, mixtures), about["made_for"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path.name} holds no mixtures ({error}): make it again.") from error


PENALTIES: dict[str, HFC | None] = {"none": None, "HFC": HFC()}
