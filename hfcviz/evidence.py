"""What preflight checks ask of a network, each answer made once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hfcviz.attacks import Attack, cross_entropy, run, runner_up
from hfcviz.classifiers import Classifier


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the checks look at: x (N, C, *spatial), labels (N,) or None, and the network's answers, each made once."""

    classifier: Classifier
    x: Tensor
    labels: np.ndarray | None

    def ask(self, x: Tensor) -> Tensor:
        """Logits as a judge gets them, without gradient."""
        with torch.no_grad():
            return self.classifier(x)

    @cached_property
    def logits(self) -> Tensor:
        """(N, K)"""
        return self.ask(self.x)

    @cached_property
    def repeat_gap(self) -> float:
        """How much the logits differ when the same images are asked again."""
        return gap(self.logits, self.ask(self.x))

    @cached_property
    def targets(self) -> Tensor:
        """(N,) the class that an attack would aim at: the second most likely."""
        return torch.from_numpy(runner_up(self.logits.numpy()))

    @cached_property
    def gradient(self) -> Tensor | None:
        """Gradient of the attack's loss at each image, shape of x; None where the network is cut off from its input."""
        moved = self.x.clone().requires_grad_()
        loss = cross_entropy(self.classifier(moved), self.targets).sum()
        return torch.autograd.grad(loss, moved, allow_unused=True)[0] if loss.requires_grad else None

    @cached_property
    def standing_still(self) -> tuple[Tensor, Tensor]:
        """What an attack with eps 0 gives: its image, shape of x, and the logits it saw on its way, (N, K)."""
        seen: list[Tensor] = []
        images = run(
            Attack(eps=0, steps=1),
            self.classifier,
            self.x,
            self.targets,
            batch_size=len(self.x),
            observe=lambda rows, step, delta, logits, layers, terms: seen.append(logits.detach()),
        )
        return images, seen[0]


def gap(one: Tensor, other: Tensor) -> float:
    """Largest difference of two sets of logits, relative to 1 + their size."""
    return float(((one - other).abs() / (1 + one.abs())).max())
