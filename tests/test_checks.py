"""Every check, on a network that is broken in just that way, and all of them on sound ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from networks import images, linear, tiny_cnn
from torch import Tensor, nn

from hfcviz import evidence
from hfcviz.attacks import run
from hfcviz.checks import CHECKS, preflight
from hfcviz.classifiers import Classifier
from hfcviz.settings import InputError

Twist = Callable[[Tensor], Tensor]


def balanced(classifier: Classifier, x: Tensor) -> Classifier:
    """The same random network, its bias shifted so that half of x falls into each class."""
    with torch.no_grad():
        logits = classifier(x)
        head = classifier.net.get_submodule(classifier.head)
        (head[-1] if isinstance(head, nn.Sequential) else head).bias[0] -= (logits[:, 0] - logits[:, 1]).median() + 1e-4
    return classifier


class Twisted(nn.Module):
    """The linear network with something done to its input or its output."""

    def __init__(self, before: Twist, after: Twist) -> None:
        super().__init__()
        self.inner = sound().net
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.inner(self.before(x)))


X = images(linear(), 24)


def sound() -> Classifier:
    return balanced(linear(), X)


LABELS = sound()(X).argmax(1).numpy()
"""True classes, by definition: what the sound linear network says."""


def twisted(before: Twist = lambda x: x, after: Twist = lambda logits: logits) -> Classifier:
    return Classifier(Twisted(before, after), "twisted", ("a", "b"), ("inner.flat",), "inner.fc", (1, 4, 4))


def complaints(found) -> dict[str, str]:
    return {check.name: check.state for check in found if check.state != "ok"}


@pytest.mark.parametrize("make", [linear, twisted, tiny_cnn, lambda: tiny_cnn(3), lambda: linear(classes=3)])
def test_a_sound_network_passes_every_check(make):
    classifier = make()
    x = images(classifier, 24)
    if not isinstance(classifier.net, Twisted):
        balanced(classifier, x)
    found = preflight(classifier, x, classifier(x).argmax(1).numpy())
    assert complaints(found) == {}
    assert [check.name for check in found] == list(CHECKS)


BROKEN: dict[str, tuple[Classifier, str, str]] = {
    "not finite": (twisted(after=lambda z: z.where(z > z.median(), torch.nan)), "finite outputs", "problem"),
    "infinite": (twisted(after=lambda z: z / 0), "finite outputs", "problem"),
    "noise": (twisted(after=lambda z: z + 0.02 * torch.rand_like(z)), "repeatable", "problem"),
    "batch statistics": (twisted(after=lambda z: z - 0.1 * z.mean(0)), "repeatable", "problem"),
    "softmax": (twisted(after=lambda z: z.softmax(1)), "logits", "problem"),
    "rounded pixels": (twisted(before=lambda x: (x * 16).round() / 16), "gradient", "problem"),
    "detached": (twisted(before=lambda x: x.detach()), "gradient", "problem"),
    "gradient not a number": (twisted(after=lambda z: z + (z * 0).abs().sqrt()), "gradient", "problem"),
    "other with gradient": (twisted(after=lambda z: z + 0.1 * torch.is_grad_enabled()), "eps 0", "problem"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_network_is_told_what_is_wrong_with_it_and_nothing_else(case):
    classifier, name, state = BROKEN[case]
    labels = None if case in ("not finite", "infinite") else classifier(X).argmax(1).numpy()
    found = preflight(classifier, X, labels)
    assert complaints(found) == {name: state}


def test_outputs_between_0_and_1_alone_are_not_taken_for_probabilities():
    squeezed = twisted(after=lambda z: 0.1 + 0.3 * z.sigmoid())
    assert complaints(preflight(squeezed, X, LABELS)) == {}


def test_unrepeatable_outputs_are_told_from_those_that_depend_on_neighbours():
    for case, words in {"noise": "a second pass", "batch statistics": "the other images of a batch"}.items():
        (found,) = [check for check in preflight(BROKEN[case][0], X) if check.name == "repeatable"]
        assert words in found.sentence


def test_dropout_left_in_train_mode_is_a_problem():
    classifier = tiny_cnn()
    x = images(classifier, 12)
    classifier.net.get_submodule("fc").train()
    assert complaints(preflight(classifier, x))["repeatable"] == "problem"


def test_batch_normalisation_left_in_train_mode_is_a_problem():
    classifier = tiny_cnn()
    x = images(classifier, 12)
    classifier.net.get_submodule("block1").train()
    assert complaints(preflight(classifier, x))["repeatable"] == "problem"


def test_harmless_train_mode_and_loose_weights_are_warnings():
    classifier = twisted()
    classifier.net.train()
    assert complaints(preflight(classifier, X, LABELS)) == {"repeatable": "warning"}
    classifier.net.eval().requires_grad_(True)
    assert complaints(preflight(classifier, X, LABELS)) == {"repeatable": "warning"}


def test_a_dead_gradient_of_few_images_is_a_warning():
    dim = X.clone()
    dim[:3] = X[:3] * 0.4

    def bright_only(x: Tensor) -> Tensor:
        return torch.where(x.amax((1, 2, 3), keepdim=True) > 0.5, x, x.detach())

    classifier = twisted(before=bright_only)
    found = preflight(classifier, dim, classifier(dim).argmax(1).numpy())
    assert complaints(found) == {"gradient": "warning"}
    assert "3 of 24" in next(check.sentence for check in found if check.name == "gradient")


def test_one_class_everywhere():
    blind = twisted(after=lambda z: z + torch.tensor([100.0, 0.0]))
    assert complaints(preflight(blind, X)) == {"predictions": "warning"}
    # With labels it is certain, and then accuracy is at chance as well.
    assert complaints(preflight(blind, X, LABELS)) == {"predictions": "problem", "accuracy": "problem"}
    assert complaints(preflight(blind, X[:3])) == {}, "three images of one class prove nothing"


@pytest.mark.parametrize(
    ("wrong", "state"),
    [(24, "problem"), (12, "problem"), (8, "warning"), (7, "ok"), (0, "ok")],
)
def test_accuracy_is_compared_with_guessing(wrong, state):
    # By hand, 24 coins: P(at least 16 heads) = 0.0758, P(at least 17) = 0.0320.
    labels = LABELS.copy()
    labels[:wrong] = 1 - labels[:wrong]
    assert complaints(preflight(sound(), X, labels)) == ({} if state == "ok" else {"accuracy": state})


def test_guessing_is_harder_with_more_classes():
    # By hand, three classes, 24 images: P(at least 12 right) = 0.0677, P(at least 13) = 0.0284.
    classifier = linear(classes=3)
    labels = classifier(X).argmax(1).numpy()
    for wrong, expected in ((11, {}), (12, {"accuracy": "warning"})):
        mixed = labels.copy()
        mixed[:wrong] = (mixed[:wrong] + 1) % 3
        assert complaints(preflight(classifier, X, mixed)) == expected


def test_accuracy_needs_labels_and_enough_of_them():
    assert "accuracy" not in [check.name for check in preflight(sound(), X)]
    two = [int(np.flatnonzero(LABELS == label)[0]) for label in (0, 1)]
    assert complaints(preflight(sound(), X[two], LABELS[two])) == {"accuracy": "warning"}


@pytest.mark.parametrize(
    ("x", "state"),
    [
        (X * 255, "problem"),
        (X - 0.1, "problem"),
        (X.where(X < 0.9, torch.nan), "problem"),
        (torch.cat([X, X[:3] * 0.04]), "warning"),
    ],
    ids=["8 bit", "negative", "not a number", "flat"],
)
def test_images_must_use_the_range(x, state):
    assert complaints(preflight(sound(), x)) == {"value range": state}


def test_sentences_name_the_value_and_the_way_out():
    sentence = preflight(sound(), X * 255)[0].sentence
    assert "[0, 1]" in sentence and f"{float(X.max()) * 255:.4g}" in sentence and "scale" in sentence


def test_an_attack_that_moves_at_eps_0_is_a_problem(monkeypatch):
    def drifting(attack, classifier, x, target, **rest):
        return run(attack, classifier, x, target, **rest) + 1e-6

    monkeypatch.setattr(evidence, "run", drifting)
    assert complaints(preflight(sound(), X, LABELS)) == {"eps 0": "problem"}


def test_of_many_images_some_of_every_class_are_drawn():
    # Classes alternate, and 32 goes into 320 evenly: every tenth image would be of one class.
    pairs = np.stack([np.flatnonzero(LABELS == label)[:10] for label in (0, 1)], axis=1).ravel()
    many, labels = X[pairs].repeat(16, 1, 1, 1), np.tile(LABELS[pairs], 16)
    assert len(many) == 320 and len(set(labels[::10])) == 1
    found = {check.name: check for check in preflight(sound(), many, labels)}
    assert list(found) == list(CHECKS) and {check.state for check in found.values()} == {"ok"}
    assert "32 of 32" in found["accuracy"].sentence


def test_a_sample_that_does_not_fit_is_an_input_error():
    with pytest.raises(InputError, match="at least one image"):
        preflight(sound(), X[:0])
    with pytest.raises(InputError, match="23 labels for 24 images"):
        preflight(sound(), X, LABELS[1:])
    with pytest.raises(InputError, match="between 0 and 1"):
        preflight(sound(), X, LABELS + 1)
    with pytest.raises(InputError, match="shape"):
        preflight(sound(), torch.zeros(2, 1, 5, 5))


def test_numpy_images_and_the_callers_own_are_left_alone():
    before = X.clone()
    greedy = twisted(before=lambda x: x.mul_(0.5))
    preflight(greedy, X.numpy(), LABELS)
    assert torch.equal(X, before)


def test_progress_is_told():
    seen = []
    preflight(sound(), X, progress=lambda fraction, what: seen.append((fraction, what)))
    assert [what for _, what in seen] == [*CHECKS, "checks"]
    assert seen[0][0] == 0 and seen[-1][0] == 1
