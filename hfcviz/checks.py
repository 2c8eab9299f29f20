"""Preflight checks: what about a network and its images would make attacks and verdicts meaningless.

Every check is one function of `Evidence` and one entry in CHECKS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hfcviz.classifiers import Classifier
from hfcviz.evidence import Evidence, gap
from hfcviz.settings import InputError, Progress, silent

State = Literal["ok", "warning", "problem"]

MOST = 32
"""Images that are looked at; of more, so many are drawn, always the same."""
SAME = 1e-3
"""Logits that differ by less, relative to 1 + their size, count as equal: rounding differs between batch sizes."""


@dataclass(frozen=True)
class Check:
    """The answer of one check: a sentence with the thing, the rule, the value and the way out."""

    name: str
    state: State
    sentence: str


def preflight(
    classifier: Classifier, x: np.ndarray | Tensor, labels: np.ndarray | None = None, *, progress: Progress = silent
) -> list[Check]:
    """Run all checks on a sample of images, x (N, C, *spatial) as the network would get them, some tens at best.

    labels: (N,) true classes, without which accuracy is not judged. What follows a problem in the images or in the outputs
    themselves is left out, since it would be judged on nonsense. Raises InputError when x or labels do not fit the network.
    """
    images = torch.as_tensor(x, dtype=torch.float32)
    classes = len(classifier.class_names)
    if len(images) == 0:
        raise InputError("The checks need at least one image; got none.")
    if labels is not None:
        labels = np.asarray(labels)
        if len(labels) != len(images):
            raise InputError(f"There must be one label an image; got {len(labels)} labels for {len(images)} images.")
        if not (labels.min() >= 0 and labels.max() < classes):
            raise InputError(f"Labels must be between 0 and {classes - 1}; got {labels.min()} to {labels.max()}.")
    # By chance, as every n-th image of a set whose classes alternate may be of one class.
    chosen = np.sort(np.random.default_rng(0).permutation(len(images))[:MOST])
    evidence = Evidence(classifier, images[chosen], None if labels is None else labels[chosen])
    found = []
    for place, (name, judge) in enumerate(CHECKS.items()):
        progress(place / len(CHECKS), name)
        answer = judge(evidence)
        if answer is None:
            continue
        found.append(Check(name, *answer))
        if answer[0] == "problem" and name in FIRST:
            break
    progress(1, "checks")
    return found


Answer = tuple[State, str]


def value_range(e: Evidence) -> Answer:
    """Images must be numbers in [0, 1] and use more than a sliver of that range."""
    low, high = float(e.x.min()), float(e.x.max())
    if not (low >= 0 and high <= 1):  # also true for NaN
        return (
            "problem",
            f"Images must be numbers in [0, 1], but theirs lie in [{low:.4g}, {high:.4g}]: window or scale them first.",
        )
    pixels = e.x.flatten(1)
    flat = int((pixels.amax(1) - pixels.amin(1) < 0.05).sum())
    if flat:
        return (
            "warning",
            f"Images should use more than 5 % of the range [0, 1], but {flat} of {len(e.x)} do not: choose another window.",
        )
    return "ok", f"Images are numbers in [{low:.4g}, {high:.4g}]."


def finite_outputs(e: Evidence) -> Answer:
    """Logits must be finite."""
    bad = int((~e.logits.isfinite()).any(1).sum())
    if bad:
        return (
            "problem",
            f"Outputs must be finite numbers, but {bad} of {len(e.x)} images give NaN or infinity: mend the weights.",
        )
    return "ok", f"Outputs of all {len(e.x)} images are finite."


def repeatable(e: Evidence) -> Answer:
    """An image's output must depend on nothing but the image."""
    few = e.x[:4]
    # The negatives make sure that there are neighbours, and strange ones, even when there is only one image.
    among = e.ask(torch.cat([few, 1 - few]))[: len(few)]
    company = gap(torch.cat([e.ask(one[None]) for one in few]), among)
    training = [module for module in e.classifier.net.modules() if module.training]
    way_out = "put it into evaluation mode and fix its dropout and batch statistics."
    if e.repeat_gap > SAME:
        return (
            "problem",
            f"Outputs must be the same every time, but a second pass differs by {e.repeat_gap:.2g}: {way_out}",
        )
    if company > SAME:
        return (
            "problem",
            f"Outputs must not depend on the other images of a batch, but differ by {company:.2g}: {way_out}",
        )
    if training:
        return (
            "warning",
            f"The network should be in evaluation mode, but {len(training)} of its modules train: call eval().",
        )
    loose = sum(weight.requires_grad for weight in e.classifier.net.parameters())
    if loose:
        return (
            "warning",
            f"Weights should be frozen, but {loose} tensors are not, which costs time: call requires_grad_(False).",
        )
    return "ok", "Outputs are the same in a second pass and alone or among other images."


def raw_scores(e: Evidence) -> Answer:
    """Outputs must be logits: behind a softmax the attack's gradient vanishes where the network is sure."""
    within = bool(((e.logits >= 0) & (e.logits <= 1)).all())
    if within and bool(((e.logits.sum(1) - 1).abs() < 1e-4).all()):
        return (
            "problem",
            "Outputs must be logits, but every row lies in [0, 1] and sums to 1: take the softmax off the end of the network.",
        )
    return "ok", f"Outputs are logits, from {float(e.logits.min()):.3g} to {float(e.logits.max()):.3g}."


def gradient_reaches_input(e: Evidence) -> Answer:
    """The attack moves along the gradient at the image; where that is zero, or not a number, it cannot move."""
    slopes = torch.zeros_like(e.x) if e.gradient is None else e.gradient
    dead = int((~slopes.isfinite().flatten(1).all(1) | (slopes == 0).flatten(1).all(1)).sum())
    if dead:
        return "problem" if 2 * dead >= len(e.x) else "warning", (
            f"The gradient at the image must be finite and not zero, but is not for {dead} of {len(e.x)} images: "
            "replace rounding, thresholds, detach() and roots of zero in the network."
        )
    return "ok", f"A gradient reaches all {len(e.x)} images."


def predictions_differ(e: Evidence) -> Answer | None:
    """A network that sees one class everywhere has learned nothing."""
    seen = e.logits.argmax(1).unique()
    if len(seen) > 1:
        return "ok", f"{len(seen)} of {len(e.classifier.class_names)} classes are predicted."
    name = e.classifier.class_names[int(seen[0])]
    text = f"Predictions should differ, but all {len(e.x)} images are called {name}: check weights, normalisation and window."
    if e.labels is not None and len(np.unique(e.labels)) > 1:
        return "problem", text
    # Without labels a sample of one class is as likely as a blind network, and a few images say nothing.
    return ("warning", text) if len(e.x) >= 10 and e.labels is None else None


def better_than_chance(e: Evidence) -> Answer | None:
    """Accuracy on labelled images must beat guessing, by the exact one-sided binomial test at 5 %."""
    if e.labels is None:
        return None
    count, chance = len(e.x), 1 / len(e.classifier.class_names)
    right = int((e.logits.argmax(1).numpy() == e.labels).sum())
    p = sum(math.comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(right, count + 1))
    share = f"{right} of {count} images are classified correctly"
    if p < 0.05:
        return "ok", f"{share}; guessing would reach {chance:.0%}."
    return "warning" if right > chance * count else "problem", (
        f"Accuracy must clearly beat guessing ({chance:.0%}), but {share} (p = {p:.2g}): "
        "check weights, order of classes and normalisation, or give more labelled images."
    )


def eps_zero(e: Evidence) -> Answer | None:
    """An attack that may change nothing must change nothing, and see the outputs that judges see."""
    if e.gradient is None:
        return None  # no attack can be run at all, which the check of the gradient has said
    images, seen = e.standing_still
    changed = int((images != e.x).flatten(1).any(1).sum())
    if changed:
        return "problem", (
            f"An attack with eps 0 must give the image back, but {changed} of {len(e.x)} differ: trust no attack, and report it."
        )
    apart = gap(e.logits, seen)
    if apart > SAME >= e.repeat_gap:  # outputs that differ anyway are the business of another check
        return "problem", (
            f"An attack with eps 0 must see the outputs of the clean image, but they differ by {apart:.2g}: "
            "let the network do the same with and without gradient."
        )
    return "ok", "An attack with eps 0 changes neither images nor outputs."


CHECKS: dict[str, Callable[[Evidence], Answer | None]] = {
    "value range": value_range,
    "finite outputs": finite_outputs,
    "repeatable": repeatable,
    "logits": raw_scores,
    "gradient": gradient_reaches_input,
    "predictions": predictions_differ,
    "accuracy": better_than_chance,
    "eps 0": eps_zero,
}
"""One entry a check, in the order in which people should mend things; None as an answer leaves the check out."""

FIRST = ("value range", "finite outputs")
"""A problem here makes the checks that follow meaningless."""
