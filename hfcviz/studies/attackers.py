"""The attacks that defences are put to: the ones they may learn from, the ones they never saw, and attackers who know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hfcviz.activations import Activations
from hfcviz.attacks import ATTACKS, Attack, Penalty
from hfcviz.penalties import HFC
from hfcviz.settings import Progress, Settings, setting, silent


@dataclass(frozen=True)
class Typical(Settings):
    """HFC that goes no closer to the class than clean images lie: |distance - its median over the class's clean images|.

    Ours, as the answer of an attacker who knows that scores too close to the centre are flagged; the distance is that of
    Yao et al. 2024, arxiv.org/abs/2312.01679.
    """

    weight: float = setting(1.0, "Weight of the constraint against the attack's own loss.", least=0, most=1000)

    def fit(self, clean: Activations, labels: np.ndarray, *, seed: int = 0, progress: Progress = silent) -> Penalty:
        """The penalty as an attack calls it, from clean training features and their true classes (N,)."""
        distances = HFC().fit(clean, labels, seed=seed, progress=progress)
        features = {name: torch.from_numpy(z) for name, z in clean.layers.items()}
        classes = range(clean.logits.shape[1])
        own = distances(features, torch.from_numpy(np.asarray(labels)))
        medians = {name: torch.stack([own[name][labels == c].median() for c in classes]) for name in own}

        def penalty(layers: dict[str, Tensor], target: Tensor, seeds: Sequence[int]) -> dict[str, Tensor]:
            found = distances(layers, target)
            return {name: self.weight * (z - medians[name].to(z)[target]).abs() for name, z in found.items()}

        return penalty


@dataclass(frozen=True)
class Attacker:
    """An attack of the study: which one of ATTACKS, at which share of the budget's eps, carrying which penalty."""

    group: str
    """Known: defences may learn from it; held out: none does; adaptive: it knows what a defence looks at."""
    about: str
    """For people, what it is."""
    base: str = "PGD"
    penalty: HFC | Typical | None = None
    share: float = 1.0
    deep: bool = False
    """Only the deeper half of the layers is constrained."""
    free: bool = False
    """The statistics that HFC leaves free are constrained as well."""

    def attack(self, eps: float, steps: int) -> Attack:
        """Its settings, for the eps and steps of a budget."""
        return ATTACKS[self.base].replace(eps=min(1.0, self.share * eps), steps=steps)

    def carried(self, layers: Sequence[str]) -> HFC | Typical | None:
        """Its penalty on a network with these layers, in order of depth."""
        if self.deep and isinstance(self.penalty, HFC):
            return self.penalty.replace(layers=tuple(layers[len(layers) // 2 :]))
        return self.penalty

    def as_dict(self, eps: float, steps: int, layers: Sequence[str]) -> dict[str, Any]:
        """All that its images depend on, beside images, network and seeds, as plain values."""
        carried = self.carried(layers)
        penalty = None if carried is None else {"kind": type(carried).__name__} | carried.as_dict()
        return {"attack": self.attack(eps, steps).as_dict(), "penalty": penalty, "free": self.free}


ATTACKERS: dict[str, Attacker] = {
    "PGD": Attacker("known", "PGD without a constraint"),
    "PGD+HFC": Attacker("known", "PGD with HFC as published", penalty=HFC()),
    "C&W": Attacker("held out", "the loss of Carlini and Wagner without a constraint", base="C&W"),
    "C&W+HFC": Attacker("held out", "the same with HFC", base="C&W", penalty=HFC()),
    "MIM+HFC": Attacker("held out", "HFC with momentum", base="MIM", penalty=HFC()),
    "HFC K 8": Attacker("held out", "HFC with 8 components a class", penalty=HFC(components=8)),
    "HFC weight 10": Attacker("held out", "HFC with ten times the weight", penalty=HFC(weight=10.0)),
    "HFC deep layers": Attacker("held out", "HFC on the deeper half of the layers", penalty=HFC(), deep=True),
    "HFC half eps": Attacker("held out", "HFC within half the eps", penalty=HFC(), share=0.5),
    "HFC twice eps": Attacker("held out", "HFC within twice the eps", penalty=HFC(), share=2.0),
    "HFC free statistics": Attacker(
        "adaptive", "HFC that holds spread and maximum of each layer too", penalty=HFC(), free=True
    ),
    # Blurring takes away less of a change that is smooth itself.
    "TIM+HFC": Attacker(
        "adaptive", "HFC with a smooth change, which outlasts image transforms", base="TIM", penalty=HFC()
    ),
    "typical distance": Attacker(
        "adaptive", "HFC that stops where clean scans lie, not at the centre", penalty=Typical()
    ),
    "typical + free": Attacker(
        "adaptive", "the same, for spread and maximum of each layer too", penalty=Typical(), free=True
    ),
}
"""By name, group by group."""
