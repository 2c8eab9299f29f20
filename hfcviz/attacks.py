"""Targeted L-inf attacks: FGSM, BIM, PGD, MIM, DIM, TIM and C&W are settings of one loop, for images and volumes alike.

A penalty on the pooled features (the hierarchical feature constraint, say) is an argument of the loop, so it combines
with all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hfcviz.classifiers import Classifier
from hfcviz.gradients import Combine, smoothed, summed
from hfcviz.settings import InputError, Progress, Settings, setting, silent

Penalty = Callable[[dict[str, Tensor], Tensor, Sequence[int]], dict[str, Tensor]]
"""`penalty(layers, target, seeds)` with layers {name: (N, C_l)}, target (N,) and one seed a sample, for what a sample
draws, gives weighted terms {name: (N,)} to minimise.
"""


class Observer(Protocol):
    """Told the state before each step and after the last one; `rows` are the samples of the batch within x.

    With input diversity, the state before a step is that of the copy which the step looks at.
    """

    def __call__(
        self, rows: slice, step: int, delta: Tensor, logits: Tensor, layers: dict[str, Tensor], terms: dict[str, Tensor]
    ) -> None: ...


@dataclass(frozen=True)
class Attack(Settings):
    """A targeted attack within the L-inf ball of radius eps, by steps along the sign of the gradient.

    Sources: FGSM, Goodfellow et al. 2015, arxiv.org/abs/1412.6572; BIM, Kurakin et al. 2017,
    arxiv.org/abs/1607.02533; PGD, Madry et al. 2018, arxiv.org/abs/1706.06083; MIM, Dong et al. 2018,
    arxiv.org/abs/1710.06081; DIM, Xie et al. 2019, arxiv.org/abs/1803.06978; TIM, Dong et al. 2019,
    arxiv.org/abs/1904.02884; margin loss, Carlini & Wagner 2017, arxiv.org/abs/1608.04644.
    Where we differ: C&W takes L-inf steps in place of its L2 search, as in the HFC paper; DIM shrinks the copy by up to
    a tenth and pads it to its old size; DIM and TIM are BIM with one change, without momentum.
    """

    eps: float = setting(
        8 / 255,
        "Largest change of any pixel, as n/255 of the full grey range.",
        label="eps",
        least=0,
        most=1,
        unit=1 / 255,
        unit_name="/255",
    )
    steps: int = setting(40, "Number of gradient steps.", label="Steps", least=1, most=1000)
    step_size: float | None = setting(
        None,
        "Change of a pixel per step, as n/255. Automatic: 2.5 x eps / steps, never more than eps.",
        label="Step size",
        least=0,
        most=1,
        unit=1 / 255,
        unit_name="/255",
    )
    momentum: float = setting(
        0.0, "Share of the past gradients that is kept; 0 is plain PGD or BIM.", least=0, most=2, advanced=True
    )
    random_start: bool = setting(True, "Start anywhere in the ball instead of at the scan itself.", advanced=True)
    diversity: float = setting(
        0.0,
        "Chance that a step looks at a slightly shrunken, shifted copy (DIM uses one half).",
        label="Input diversity",
        least=0,
        most=1,
        advanced=True,
    )
    smoothing: float = setting(
        0.0,
        "Standard deviation, in pixels, of the Gaussian that smooths the gradient (TIM uses 3).",
        label="Gradient smoothing",
        least=0,
        most=20,
        advanced=True,
    )
    loss: str = setting(
        "cross-entropy",
        "What the attack minimises: cross-entropy toward the target, or the margin of the best other class (C&W).",
        choices=("cross-entropy", "margin"),
        advanced=True,
    )

    @property
    def step(self) -> float:
        """The step size in use, a fraction of the grey range."""
        return min(self.eps, 2.5 * self.eps / self.steps) if self.step_size is None else self.step_size


ATTACKS: dict[str, Attack] = {
    "PGD": Attack(),
    "BIM": Attack(random_start=False),
    "FGSM": Attack(steps=1, random_start=False),
    "MIM": Attack(momentum=1.0, random_start=False),
    "DIM": Attack(diversity=0.5, random_start=False),
    "TIM": Attack(smoothing=3.0, random_start=False),
    "C&W": Attack(loss="margin", random_start=False),
}


def run(
    attack: Attack,
    classifier: Classifier,
    x: Tensor,
    target: Tensor,
    *,
    penalty: Penalty | None = None,
    combine: Combine = summed,
    seeds: int | Sequence[int] = 0,
    batch_size: int = 32,
    observe: Observer | None = None,
    progress: Progress = silent,
) -> Tensor:
    """Adversarial versions of x.

    x: (N, C, *spatial) in [0, 1]; target: (N,) class indices; combine: how the attack's own loss and the terms of the
    penalty make one direction; seeds: of the random start and of what a penalty draws, one for all or one a sample.
    Returns a tensor like x, within eps of x (L-inf) and within [0, 1]. A sample's result does not depend on the others in
    x. Raises InputError when shapes, values, targets or seeds do not fit.
    """
    x, count, classes = x.detach(), len(x), len(classifier.class_names)
    seeds = [seeds] * count if isinstance(seeds, int) else list(seeds)
    for what, given in (("target", target), ("seed", seeds)):
        if len(given) != count:
            raise InputError(f"There must be one {what} a scan; got {len(given)} {what}s for {count} scans.")
    if count and not (0 <= float(x.min()) and float(x.max()) <= 1):  # also true for NaN
        low, high = float(x.min()), float(x.max())
        raise InputError(f"Images must be numbers between 0 and 1; got {low:g} to {high:g}: scale them first.")
    if count and not (0 <= int(target.min()) and int(target.max()) < classes):
        raise InputError(f"target must be between 0 and {classes - 1}; got {sorted(set(target.tolist()))}.")
    done, classifier = torch.empty_like(x), classifier.merged
    for first in range(0, count, batch_size):
        rows = slice(first, min(first + batch_size, count))

        def report(step: int, rows: slice = rows) -> None:
            share = (rows.start + (rows.stop - rows.start) * step / attack.steps) / count
            progress(share, f"step {step} of {attack.steps}" + (f", scan {rows.stop} of {count}" if count > 1 else ""))

        some = x[rows], target[rows], penalty, combine, seeds[rows]
        done[rows] = _descend(attack, classifier, *some, rows, observe, report)
    return done


def _descend(
    attack: Attack,
    classifier: Classifier,
    x: Tensor,
    target: Tensor,
    penalty: Penalty | None,
    combine: Combine,
    seeds: Sequence[int],
    rows: slice,
    observe: Observer | None,
    report: Callable[[int], None],
) -> Tensor:
    lowest, highest = (x - attack.eps).clamp(min=0), (x + attack.eps).clamp(max=1)
    moved = x
    if attack.random_start:
        moved = torch.clamp(x + uniform_noise(x.shape[1:], attack.eps, seeds).to(x), lowest, highest)
    velocity = torch.zeros_like(x)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds] if attack.diversity else []
    features_wanted = penalty is not None or observe is not None

    def forward(images: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        logits, layers = classifier.features(images) if features_wanted else (classifier(images), {})
        terms = {attack.loss: LOSSES[attack.loss](logits, target)}
        if penalty is not None:
            terms |= penalty(layers, target, seeds)
        return logits, layers, terms

    for step in range(attack.steps):
        report(step)
        moved = moved.detach().requires_grad_()
        logits, layers, terms = forward(diversified(moved, attack.diversity, generators))
        gradient = combine(terms, logits.argmax(1) == target, moved)
        with torch.no_grad():
            if observe is not None:
                observe(rows, step, moved - x, logits, layers, terms)
            gradient = smoothed(gradient, attack.smoothing)
            if attack.momentum:
                size = gradient.flatten(1).abs().sum(1).clamp_min(1e-30).view(-1, *[1] * (x.ndim - 1))
                gradient = velocity = attack.momentum * velocity + gradient / size
            moved = torch.sub(moved, gradient.sign(), alpha=attack.step).clamp_(lowest, highest)
    report(attack.steps)
    if observe is not None:
        with torch.no_grad():
            observe(rows, attack.steps, moved - x, *forward(moved))
    return moved.detach()


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy toward the target, (N, K), (N,) -> (N,)."""
    return torch.nn.functional.cross_entropy(logits, target, reduction="none")


def margin(logits: Tensor, target: Tensor) -> Tensor:
    """Best other logit minus the target's, (N, K), (N,) -> (N,); negative once the target wins."""
    aim = logits.gather(1, target[:, None])[:, 0]
    return logits.scatter(1, target[:, None], -torch.inf).max(1).values - aim


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross-entropy": cross_entropy, "margin": margin}


def diversified(images: Tensor, chance: float, generators: Sequence[torch.Generator]) -> Tensor:
    """Images (N, C, *spatial), each with this chance shrunk to 90 to 100 % by nearest neighbours and put at a random
    place in black of the old size; every sample draws from its own generator.
    """
    if chance == 0:
        return images
    copies = []
    for image, generator in zip(images, generators, strict=True):
        sides = torch.tensor(image.shape[1:])
        # Always as many draws, so that one step's luck does not shift the next one's.
        luck, shrink, *places = torch.rand(2 + len(sides), generator=generator).tolist()
        if luck < chance:
            inner = ((1 - 0.1 * shrink) * sides).round().long()
            before = (torch.tensor(places) * (sides - inner + 1)).long()
            margins = torch.stack([before, sides - inner - before], 1).flip(0).flatten().tolist()
            shrunk = torch.nn.functional.interpolate(image[None], size=inner.tolist(), mode="nearest")[0]
            image = torch.nn.functional.pad(shrunk, margins)
        copies.append(image)
    return torch.stack(copies)


def runner_up(logits: np.ndarray) -> np.ndarray:
    """The most likely class but the predicted one, (N, K) -> (N,), also where logits are equal."""
    others = logits.copy()
    others[np.arange(len(logits)), logits.argmax(1)] = -np.inf
    return others.argmax(1)


def uniform_noise(shape: Sequence[int], eps: float, seeds: Sequence[int]) -> Tensor:
    """Noise uniform in [-eps, eps], (len(seeds), *shape): each sample drawn from its own seed, so that batches do not
    matter.
    """
    fields = [torch.rand(tuple(shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(fields).mul_(2).sub_(1).mul_(eps) if fields else torch.empty(0, *shape)
