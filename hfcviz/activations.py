"""Activations: all that detectors, mixtures and projections see of a network, as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hfcviz.classifiers import Classifier
from hfcviz.settings import InputError, Progress, silent


@dataclass(frozen=True, eq=False)
class Activations:
    """What a network made of N samples; row i is sample i. All arrays float32.

    logits: (N, K); layers: {layer: (N, C_l)} pooled features in order of depth, the last one penultimate; dropout:
    (T, N, K) logits of T passes with dropout on, or None where none were made.
    """

    logits: np.ndarray
    layers: dict[str, np.ndarray]
    dropout: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, z in self.layers.items():
            if z.ndim != 2 or len(z) != len(self.logits):
                raise ValueError(f"layer {name} must have shape ({len(self.logits)}, width); got {z.shape}")
        if self.dropout is not None and self.dropout.shape[1:] != self.logits.shape:
            raise ValueError(f"dropout must have shape (passes, *{self.logits.shape}); got {self.dropout.shape}")

    def __len__(self) -> int:
        return len(self.logits)

    @cached_property
    def predicted(self) -> np.ndarray:
        """The class with the largest logit, (N,) int64."""
        return self.logits.argmax(1)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, (N, K) float32."""
        shifted = np.exp(self.logits - self.logits.max(1, keepdims=True))
        return shifted / shifted.sum(1, keepdims=True)

    @cached_property
    def confidence(self) -> np.ndarray:
        """Probability of the predicted class, (N,) float32."""
        return self.probabilities.max(1)

    def take(self, index: np.ndarray | slice | Sequence[int]) -> Activations:
        """The chosen samples: a slice, a mask of length N, or a list of row numbers."""
        rows = index if isinstance(index, slice) else np.asarray(index)
        if isinstance(rows, np.ndarray) and rows.size == 0:
            rows = rows.astype(int)  # an empty list is a float array to numpy
        dropout = None if self.dropout is None else self.dropout[:, rows]
        return Activations(self.logits[rows], {name: z[rows] for name, z in self.layers.items()}, dropout)

    def to_arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Named arrays to store; the numbers in front of the layers keep their order."""
        arrays = {f"{prefix}/logits": self.logits}
        if self.dropout is not None:
            arrays[f"{prefix}/dropout"] = self.dropout
        return arrays | {f"{prefix}/layer/{place:03d}/{name}": z for place, (name, z) in enumerate(self.layers.items())}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], prefix: str) -> Activations:
        """What to_arrays gave."""
        start = f"{prefix}/layer/"
        places = sorted(name.removeprefix(start) for name in arrays if name.startswith(start))
        layers = {place.split("/", 1)[1]: arrays[start + place] for place in places}
        return cls(arrays[f"{prefix}/logits"], layers, arrays.get(f"{prefix}/dropout"))


def concatenate(parts: Sequence[Activations]) -> Activations:
    """The samples of all parts, one after the other; they must come from the same network and dropout passes."""
    first = parts[0]
    layers = {name: np.concatenate([part.layers[name] for part in parts]) for name in first.layers}
    drops = [part.dropout for part in parts if part.dropout is not None]
    if drops and len(drops) < len(parts):
        raise ValueError("some parts have dropout passes and some have none")
    logits = np.concatenate([part.logits for part in parts])
    return Activations(logits, layers, np.concatenate(drops, axis=1) if drops else None)


def extract(
    classifier: Classifier,
    x: Tensor | np.ndarray,
    *,
    dropout_passes: int = 0,
    seed: int = 0,
    batch_size: int = 64,
    progress: Progress = silent,
) -> Activations:
    """Run images through a network and keep logits and pooled features.

    x: (N, C, *spatial) floats in [0, 1]; dropout_passes: further passes with dropout on, their masks chosen by `seed`,
    the same for every sample. Memory grows with the batch and the pooled features, not with N images. Raises InputError
    for no image, for values that are not numbers in [0, 1], and for dropout passes of a network without dropout.
    """
    if len(x) == 0:
        raise InputError("The network needs at least one image; got none.")
    device = next(classifier.net.parameters()).device
    parts = []
    with torch.inference_mode():
        for start in range(0, len(x), batch_size):
            progress(start / len(x), "features")
            batch = torch.as_tensor(x[start : start + batch_size], dtype=torch.float32, device=device)
            low, high = float(batch.min()), float(batch.max())
            if not (low >= 0 and high <= 1):  # also true for NaN
                raise InputError(f"Images must be numbers between 0 and 1; got {low:g} to {high:g}: scale them first.")
            logits, features = classifier.features(batch)
            layers = {name: _array(z) for name, z in features.items()}
            drops = _array(classifier.dropout_logits(batch, dropout_passes, seed)) if dropout_passes else None
            parts.append(Activations(_array(logits), layers, drops))
    progress(1, "features")
    return concatenate(parts)


def _array(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
