"""The record of an attack: what it reached at each step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """What happened at each step; S = steps + 1 states, the first before any step, the last the result."""

    confidence: np.ndarray
    """(S, N) probability of the target class."""
    linf: np.ndarray
    """(S, N) largest change of a pixel, fraction of the grey range."""
    terms: dict[str, np.ndarray]
    """{loss or layer: (S, N)} the parts of what is minimised."""
    features: dict[str, np.ndarray]
    """{layer: (S, N, C_l)} pooled features."""

    def to_arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Named arrays to store."""
        arrays = {f"{prefix}/confidence": self.confidence, f"{prefix}/linf": self.linf}
        arrays |= {f"{prefix}/term/{name}": values for name, values in self.terms.items()}
        return arrays | {f"{prefix}/feature/{name}": values for name, values in self.features.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], prefix: str) -> Trace:
        """What to_arrays gave."""

        def those(kind: str) -> dict[str, np.ndarray]:
            start = f"{prefix}/{kind}/"
            return {name.removeprefix(start): values for name, values in arrays.items() if name.startswith(start)}

        return cls(arrays[f"{prefix}/confidence"], arrays[f"{prefix}/linf"], those("term"), those("feature"))


class Recorder:
    """An observer that keeps everything for a Trace."""

    def __init__(self, target: Tensor) -> None:
        self.target = target
        self._states: dict[int, list[dict[str, np.ndarray]]] = {}

    def __call__(
        self, rows: slice, step: int, delta: Tensor, logits: Tensor, layers: dict[str, Tensor], terms: dict[str, Tensor]
    ) -> None:
        chosen = logits.softmax(1).gather(1, self.target[rows, None])[:, 0]
        state = {"confidence": chosen, "linf": delta.flatten(1).abs().amax(1)}
        state |= {f"term {name}": value for name, value in terms.items()}
        state |= {f"layer {name}": value for name, value in layers.items()}
        self._states.setdefault(step, []).append({name: value.detach().cpu().numpy() for name, value in state.items()})

    def trace(self) -> Trace:
        """The record so far."""
        batches = [self._states[step] for step in sorted(self._states)]
        series = {
            name: np.stack([np.concatenate([part[name] for part in step]) for step in batches])
            for name in batches[0][0]
        }

        def those(kind: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(kind): values for name, values in series.items() if name.startswith(kind)}

        return Trace(series["confidence"], series["linf"], those("term "), those("layer "))
