"""From losses to a direction: hand-made losses whose answer is known, and that the attack's loop asks."""

import numpy as np
import pytest
import torch
from networks import images, linear, tiny_cnn

from hfcviz.activations import extract
from hfcviz.attacks import Attack, run
from hfcviz.gradients import COMBINE, orthogonal, penalty_alone, summed
from hfcviz.penalties import HFC

BALL = Attack(eps=0.1, steps=4, step_size=0.1, random_start=False)


def hand_made(slopes, count=1):
    """Losses slope @ pixels of `count` images of two pixels, and the images."""
    moved = torch.zeros(count, 1, 1, 2, requires_grad=True)
    return {name: moved.flatten(1) @ torch.tensor(slope) for name, slope in slopes.items()}, moved


SLOPES = {"loss": [1.0, 0.0], "penalty": [1.0, 1.0]}


@pytest.mark.parametrize(
    ("combine", "reached", "expected"),
    [
        (summed, False, [2.0, 1.0]),
        (summed, True, [2.0, 1.0]),
        (penalty_alone, False, [1.0, 1.0]),
        (penalty_alone, True, [1.0, 1.0]),
        (orthogonal, False, [0.5, -0.5]),  # (1, 0) less its half along (1, 1)
        (orthogonal, True, [0.0, 1.0]),  # (1, 1) less all that is along (1, 0)
    ],
)
def test_two_slopes_make_the_direction_computed_by_hand(combine, reached, expected):
    terms, moved = hand_made(SLOPES)
    direction = combine(terms, torch.tensor([reached]), moved)
    torch.testing.assert_close(direction.flatten(), torch.tensor(expected))


def test_a_penalty_of_several_layers_counts_as_their_sum():
    terms, moved = hand_made({"loss": [1.0, 0.0], "early": [1.0, 0.25], "late": [0.0, 0.75]})
    torch.testing.assert_close(penalty_alone(terms, torch.tensor([False]), moved).flatten(), torch.tensor([1.0, 1.0]))
    terms, moved = hand_made({"loss": [1.0, 0.0], "early": [1.0, 0.25], "late": [0.0, 0.75]})
    torch.testing.assert_close(orthogonal(terms, torch.tensor([False]), moved).flatten(), torch.tensor([0.5, -0.5]))


def test_each_sample_takes_its_own_turn():
    terms, moved = hand_made(SLOPES, count=3)
    direction = orthogonal(terms, torch.tensor([True, False, True]), moved).flatten(1)
    torch.testing.assert_close(direction, torch.tensor([[0.0, 1.0], [0.5, -0.5], [0.0, 1.0]]))


def test_gradients_along_one_line_leave_no_direction_and_no_nan():
    for slopes in ({"loss": [1.0, 1.0], "penalty": [2.0, 2.0]}, {"loss": [0.0, 0.0], "penalty": [0.0, 0.0]}):
        terms, moved = hand_made(slopes)
        assert (orthogonal(terms, torch.tensor([False]), moved) == 0).all()


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_projected_direction_stands_at_right_angles_to_the_other_gradient(spatial_dims):
    classifier = tiny_cnn(spatial_dims)
    x, target = images(classifier, 8, seed=2).requires_grad_(), torch.arange(8) % 2
    fitted = HFC().fit(extract(classifier, images(classifier, 40, seed=9)), np.arange(40) % 2)

    def parts():
        logits, layers = classifier.features(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, target, reduction="none")} | fitted(layers, target)

    reached = torch.tensor([True, False] * 4)
    found = orthogonal(parts(), reached, x).flatten(1).double()
    (loss,) = torch.autograd.grad(parts()["loss"].sum(), x)
    (penalty,) = torch.autograd.grad(sum(term.sum() for name, term in parts().items() if name != "loss"), x)
    loss, penalty = loss.flatten(1).double(), penalty.flatten(1).double()
    other = torch.where(reached[:, None], loss, penalty)
    own = torch.where(reached[:, None], penalty, loss)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(found, other).abs().max() < 1e-3
    assert cosine(own, other).abs().max() > 0.05  # or there was nothing to project
    assert ((found * own).sum(1) > 0).all()  # it still goes down its own loss


def brighter(layers, target, seeds):
    """A penalty that wants every pixel brighter."""
    return {"dark": -layers["flat"].sum(1)}


def test_the_attack_goes_where_the_combination_says():
    classifier = linear()
    x, target = images(classifier, 3, low=0.3, high=0.7), torch.tensor([0, 1, 0])
    bright = run(BALL, classifier, x, target, penalty=brighter, combine=COMBINE["penalty"])
    torch.testing.assert_close(bright, x + 0.1)
    asked = []

    def down(terms, reached, moved):
        asked.append((list(terms), reached.tolist(), moved.shape))
        return torch.ones_like(moved)

    torch.testing.assert_close(run(BALL, classifier, x, target, penalty=brighter, combine=down), x - 0.1)
    assert len(asked) == BALL.steps
    names, reached, shape = asked[0]
    assert names == ["cross-entropy", "dark"] and shape == x.shape
    assert reached == (classifier(x).argmax(1) == target).tolist()


def test_the_orthogonal_attack_first_reaches_the_target_and_then_lowers_the_penalty():
    classifier = linear()
    x = images(classifier, 12, seed=3, low=0.3, high=0.7)
    target = 1 - classifier(x).argmax(1)
    attack = BALL.replace(steps=60, step_size=0.01, eps=0.3)
    plain = run(attack, classifier, x, target)
    found = run(attack, classifier, x, target, penalty=brighter, combine=orthogonal)
    assert (classifier(plain).argmax(1) == target).all()
    assert (found.flatten(1).sum(1) > plain.flatten(1).sum(1)).all()
