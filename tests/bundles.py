"""Small finished experiments that tests share: a hand-made network, synthetic images, a cohort and the outcome of one scan.

Each is made once a session, on first use. Nobody may change them; `dataclasses.replace` gives a changed copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from networks import images, tiny_cnn

from hfcviz.activations import extract
from hfcviz.attacks import ATTACKS
from hfcviz.classifiers import Classifier
from hfcviz.datasets import Dataset, Split
from hfcviz.experiment import run_experiment
from hfcviz.outcome import Outcome, Plan
from hfcviz.penalties import HFC
from hfcviz.reference import Reference, build_reference

ATTACK = ATTACKS["PGD"].replace(eps=12 / 255, steps=12)
CONSTRAINT = HFC(weight=2.0)
SIZES = {"train": 90, "val": 50, "test": 70}
MISLABELLED = (3, 17, 40)
"""Test images whose label is not what the network predicts; it predicts all others rightly."""


@dataclass(frozen=True, eq=False)
class Case:
    """All that the tests need; plan is what made the outcome, of the first scan that no detector was trained on."""

    classifier: Classifier
    dataset: Dataset
    reference: Reference
    plan: Plan
    outcome: Outcome

    @property
    def test(self) -> Split:
        return self.dataset.splits["test"]

    @property
    def held_out(self) -> int:
        """The row of the outcome's scan in the cohort."""
        return int(np.flatnonzero(~self.reference.trains)[0])

    @property
    def scan(self) -> np.ndarray:
        return self.image(self.held_out)

    def image(self, row: int) -> np.ndarray:
        """The clean scan of a row of the cohort."""
        return self.test.images(self.test.ids.index(self.reference.ids[row]))[0]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks are several times faster on one thread; a module that imports this has it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def case(spatial_dims: int = 2) -> Case:
    """A random convolutional network (2-D has three classes, 3-D two), and random images labelled as it predicts them."""
    return _case(spatial_dims)  # the cache would take case() and case(2) for two


@cache
def _case(spatial_dims: int) -> Case:
    classifier = even_classes(tiny_cnn(spatial_dims, classes=5 - spatial_dims, seed=3))
    splits = {part: _split(classifier, part, count, seed) for seed, (part, count) in enumerate(SIZES.items())}
    dataset = Dataset("random", classifier.class_names, splits, "random images")
    reference = build_reference(classifier, dataset, "PGD", ATTACK, CONSTRAINT, seed=0)
    plan = Plan(attack=ATTACK, penalty=CONSTRAINT)
    unseen = Case(classifier, dataset, reference, plan, None)  # type: ignore[arg-type]
    return Case(classifier, dataset, reference, plan, run_experiment(classifier, reference, unseen.scan, plan))


def even_classes(classifier: Classifier) -> Classifier:
    """Logits of mean 0 and standard deviation 3 over random images, so that the classes are about equally frequent."""
    logits = classifier(textures(classifier, 200, seed=9))
    last = classifier.net.fc[1]
    last.bias.copy_((last.bias - logits.mean(0)) * 3 / logits.std(0))
    last.weight.copy_(last.weight * 3 / logits.std(0)[:, None])
    return classifier


def textures(classifier: Classifier, count: int, seed: int) -> torch.Tensor:
    """Random images of varied brightness and contrast, as whole 255ths."""
    noise = images(classifier, count, seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    low, high = torch.rand(2, count, *[1] * (noise.ndim - 1), generator=generator) * 0.5
    return ((low + (0.5 + high - low) * noise) * 255).round() / 255


def _split(classifier: Classifier, part: str, count: int, seed: int) -> Split:
    x = textures(classifier, count, seed)
    y = extract(classifier, x).predicted
    if part == "test":
        y[list(MISLABELLED)] = (y[list(MISLABELLED)] + 1) % len(classifier.class_names)
    ids = tuple(f"{part}-{index:04d}" for index in range(count))
    return Split((x.numpy() * 255).round().astype(np.uint8), y, ids)
