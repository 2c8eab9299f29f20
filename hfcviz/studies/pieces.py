"""What studies are given and what they make of it, each piece once and kept in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from hfcviz import __version__
from hfcviz.activations import Activations
from hfcviz.attacks import Attack, Penalty
from hfcviz.classifiers import Classifier
from hfcviz.datasets import Dataset
from hfcviz.protocol import LEAST
from hfcviz.settings import Progress, Settings, setting, silent
from hfcviz.store import Arrays, Store, digest


class PenaltySettings(Protocol):
    """Settings of a penalty: HFC and its rivals."""

    def as_dict(self) -> dict[str, Any]: ...

    def fit(self, clean: Activations, labels: np.ndarray, *, seed: int = 0, progress: Progress = silent) -> Penalty: ...


@dataclass(frozen=True)
class Budget(Settings):
    """What every study is given: which scans, and what all its attacks may spend."""

    scans: int = setting(
        100, "Attacked scans, drawn by chance from the correctly classified test scans.", label="Scans", least=LEAST
    )
    eps: float = setting(
        8 / 255,
        "Largest change of any pixel, as n/255 of the full grey range.",
        label="eps",
        least=1e-6,
        most=1,
        unit=1 / 255,
        unit_name="/255",
    )
    steps: int = setting(20, "Gradient steps of every attack.", label="Steps", least=1, most=1000)
    seed: int = setting(0, "Same seed, same result.", label="Seed", least=0, most=2**31 - 1)

    @property
    def attack(self) -> Attack:
        """PGD at this eps and number of steps."""
        return Attack(eps=self.eps, steps=self.steps)


@dataclass(frozen=True, eq=False)
class Chosen:
    """The attacked scans; row i of everything is one scan."""

    rows: np.ndarray
    """(N,) places in the test part."""
    x: Tensor
    """(N, C, *spatial) in [0, 1]."""
    labels: np.ndarray
    targets: np.ndarray
    """(N,) the most likely other class of each, which attacks aim at."""
    seeds: list[int]
    trains: np.ndarray
    """(N,) bool: the scans that train detectors; the others judge them. No patient is in both."""
    clean: Activations


@dataclass(frozen=True, eq=False)
class Version:
    """The chosen scans as an attack left them: features and the largest change of a pixel (N,), a fraction of the range."""

    seen: Activations
    linf: np.ndarray


@dataclass(frozen=True, eq=False)
class Pieces:
    """A network, labelled images and what may be spent on them; and whatever is made of these, each piece once."""

    classifier: Classifier
    dataset: Dataset
    budget: Budget
    store: Store
    made: Counter[str] = field(default_factory=Counter)
    """How often each piece was computed and not found; more than once is work done twice."""
    _known: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def base(self) -> str:
        """Digest of what every piece depends on: images, network and versions."""
        splits = sorted(self.dataset.splits.items())
        packages = ("torch", "monai", "scikit-learn", "numpy")
        data = [[part, split.x, split.y, list(split.ids)] for part, split in splits]
        return digest(data, self.classifier.digest, __version__, [version(name) for name in packages])

    def kept(self, what: str, parts: Any, make: Callable[[], Arrays]) -> Arrays:
        """The arrays that `make` gives, from memory or the store if they were made before.

        what: a word for people; parts: plain values on which the arrays depend, beside images, network and versions.
        """
        key = digest(self.base, what, parts)
        if key in self._known:
            return dict(self._known[key])
        found, on_disk = self.store.get(key), True
        if found is None:
            self.made[f"{what} {key[:12]}"] += 1
            arrays = make()
            on_disk = self.store.put(key, arrays, {"what": what})
        else:
            arrays = found[0]
        if what != "images" or not on_disk:  # images are large, and asked for once or twice
            self._known[key] = arrays
        return arrays

    def once(self, what: str, parts: Any, make: Callable[[], Any]) -> Any:
        """The same for what is no array and lives in memory alone: fitted mixtures, fitted detectors."""
        key = digest(what, parts)
        if key not in self._known:
            self.made[f"{what} {key[:12]}"] += 1
            self._known[key] = make()
        return self._known[key]
