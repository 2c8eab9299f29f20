"""The record of an attack: what it reached at each step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from hfcviz.scans import flat

FRAMES = 41
"""Steps of which a picture is kept, at most."""
PIXELS = 560_000
"""Pixels of all these pictures together, about: what a browser loads and draws without a wait. Large pictures are kept of fewer steps."""


@dataclass(frozen=True, eq=False)
class Trace:
    """What happened at each step; S = steps + 1 states, the first before any step, the last the result.

    Records made before pictures were kept have no `logits`, `shown` and `changes`: all three are empty.
    """

    confidence: np.ndarray
    """(S, N) probability of the target class."""
    linf: np.ndarray
    """(S, N) largest change of a pixel, fraction of the grey range."""
    terms: dict[str, np.ndarray]
    """{loss or layer: (S, N)} the parts of what is minimised."""
    features: dict[str, np.ndarray]
    """{layer: (S, N, C_l)} pooled features."""
    logits: np.ndarray
    """(S, N, K)."""
    shown: np.ndarray
    """(F,) the steps of which a picture is kept."""
    changes: np.ndarray
    """(F, N, C, rows, columns) int8, what is added to the scan at those steps, of a volume in its middle axial slice, as 127ths of that
    step's linf: as many levels as a picture of differences has.
    """

    def change(self, frame: int, sample: int = 0) -> np.ndarray:
        """What is added to the scan in a kept picture, float32 (C, rows, columns), to within a 254th of that step's largest change."""
        unit = np.float32(self.linf[self.shown[frame], sample] / 127)
        return self.changes[frame, sample].astype(np.float32) * unit

    def to_arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Named arrays to store."""
        arrays = {f"{prefix}/{name}": getattr(self, name) for name in ("confidence", "linf", *FILMED)}
        arrays |= {f"{prefix}/term/{name}": values for name, values in self.terms.items()}
        return arrays | {f"{prefix}/feature/{name}": values for name, values in self.features.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], prefix: str) -> Trace:
        """What to_arrays gave."""

        def those(kind: str) -> dict[str, np.ndarray]:
            start = f"{prefix}/{kind}/"
            return {name.removeprefix(start): values for name, values in arrays.items() if name.startswith(start)}

        filmed = [arrays.get(f"{prefix}/{name}", np.empty(0, kind)) for name, kind in FILMED.items()]
        return cls(arrays[f"{prefix}/confidence"], arrays[f"{prefix}/linf"], those("term"), those("feature"), *filmed)


FILMED = {"logits": np.float32, "shown": np.int64, "changes": np.int8}
"""Fields of a Trace that old records lack, each with its kind of number."""


def shown_steps(steps: int, pixels: int) -> np.ndarray:
    """The steps of which a picture of so many pixels is kept: every one, every second one, and so on, and always the last."""
    most = max(2, min(FRAMES, PIXELS // pixels))
    stride = max(1, -(-steps // (most - 1)))
    return np.array([*range(0, steps, stride), steps])


class Recorder:
    """An observer that keeps everything of an attack of so many steps for a Trace."""

    def __init__(self, target: Tensor, steps: int) -> None:
        self.target = target
        self.steps = steps
        self._states: dict[int, list[dict[str, np.ndarray]]] = {}

    def __call__(
        self, rows: slice, step: int, delta: Tensor, logits: Tensor, layers: dict[str, Tensor], terms: dict[str, Tensor]
    ) -> None:
        chosen = logits.softmax(1).gather(1, self.target[rows, None])[:, 0]
        linf = delta.flatten(1).abs().amax(1)
        state = {"confidence": chosen, "linf": linf, "logits": logits}
        state |= {f"term {name}": value for name, value in terms.items()}
        state |= {f"layer {name}": value for name, value in layers.items()}
        kept = {name: value.detach().cpu().numpy() for name, value in state.items()}
        pictures = [flat(change) for change in delta.detach().cpu().numpy()]
        if step in shown_steps(self.steps, pictures[0][0].size):
            units = np.maximum(kept["linf"], np.finfo(np.float32).tiny) / 127
            levels = [np.rint(picture / unit) for picture, unit in zip(pictures, units, strict=True)]
            kept["changes"] = np.stack(levels).astype(np.int8)
        self._states.setdefault(step, []).append(kept)

    def trace(self) -> Trace:
        """The record so far."""
        batches = [self._states[step] for step in sorted(self._states)]

        def series(name: str) -> np.ndarray:
            return np.stack([np.concatenate([part[name] for part in step]) for step in batches if name in step[0]])

        def those(kind: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(kind): series(name) for name in batches[0][0] if name.startswith(kind)}

        shown = np.array([step for step in sorted(self._states) if "changes" in self._states[step][0]], dtype=np.int64)
        return Trace(
            series("confidence"),
            series("linf"),
            those("term "),
            those("layer "),
            series("logits"),
            shown,
            series("changes"),
        )
