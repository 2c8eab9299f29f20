"""The study of Theorem 1, against gradients and displacements that are known in closed form."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import torch
from bundles import case, one_thread  # noqa: F401
from networks import images, linear, tiny_cnn
from torch import nn

from hfcviz.activations import extract
from hfcviz.attacks import LOSSES, uniform_noise
from hfcviz.classifiers import Classifier
from hfcviz.datasets import Dataset, Split
from hfcviz.jobs import Cancelled
from hfcviz.settings import InputError, silent
from hfcviz.store import Store
from hfcviz.studies.catalogue import STUDIES, perform
from hfcviz.studies.direction import Direction, draw, path
from hfcviz.studies.lab import Lab
from hfcviz.studies.pieces import Budget
from hfcviz.studies.pulls import cosines, loss_gradient

BUDGET = Budget(scans=24, eps=12 / 255, steps=5, seed=3)


def data_for(classifier: Classifier, low: float = 0.0, high: float = 1.0) -> Dataset:
    """Random images between low and high, labelled as the network sees them."""
    splits = {}
    for seed, (part, count) in enumerate({"train": 80, "val": 40, "test": 60}.items()):
        x = (images(classifier, count, seed, low, high) * 255).round()
        y = classifier(x / 255).argmax(1).numpy()
        splits[part] = Split(x.numpy().astype(np.uint8), y, tuple(f"{part}-{i:03d}" for i in range(count)))
    return Dataset("random", classifier.class_names, MappingProxyType(splits), "")


def even(classifier: Classifier, low: float = 0.0, high: float = 1.0) -> Classifier:
    """The same with logits of mean 0 over the images, so that every class is seen."""
    head = classifier.net.fc if isinstance(classifier.net.fc, nn.Linear) else classifier.net.fc[1]
    head.bias.data -= classifier(images(classifier, 200, 9, low, high)).mean(0)
    return classifier


def lab_of(classifier: Classifier, folder, budget: Budget = BUDGET, **grey: float) -> Lab:
    return Lab(classifier, data_for(even(classifier, **grey), **grey), budget, Store(folder))


@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
@pytest.mark.parametrize("network", [linear(), tiny_cnn(2), tiny_cnn(3)], ids=lambda one: one.name)
def test_with_two_classes_the_gradient_never_turns_to_numerical_precision(tmp_path, network, loss):
    """Theorem 1, through the network's own head, dropout and all, for PGD and PGD+HFC."""
    rows, shows, _ = perform_on(lab_of(network, tmp_path), loss)
    assert {row["attack"] for row in rows} == {"PGD", "PGD+HFC"} and len(rows) == 2 * (BUDGET.steps + 1)
    for row in rows:
        assert abs(row["gradient_least"] - 1) < 1e-12 and abs(row["gradient_high"] - 1) < 1e-12
    assert f"keeps its direction in {network.name} (2 classes, cosine 1.00)" in shows


def perform_on(lab: Lab, loss: str = "cross-entropy", beside: Lab | None = None):
    found = perform("direction", lab, Direction(loss=loss), beside)
    return found.rows, found.shows, found.shows_not


@pytest.mark.parametrize("far", [0.0, 200.0])
def test_the_gradient_keeps_its_direction_where_the_target_is_almost_certain(far):
    """At 200 the odds are e^800 to 1, and 1 - p_t is 0 in any precision that a network has."""
    head = nn.Linear(3, 2).double()
    head.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 1.0]], dtype=torch.float64)
    head.bias.data.zero_()
    state = torch.tensor([[far, far, 0.0]])
    direction, factor = loss_gradient(head, "cross-entropy", state, torch.tensor([0]))
    assert torch.allclose(direction, torch.tensor([[-1.0, -3.0, 1.0]], dtype=torch.float64), rtol=1e-14)
    assert float(factor) == pytest.approx(np.exp(-4 * far) / (1 + np.exp(-4 * far)), abs=1e-300)


@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_direction_times_factor_is_the_gradient_of_the_attacks_own_loss(loss, classes):
    generator = torch.Generator().manual_seed(classes)
    head = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, classes)).double()
    state = torch.randn(7, 4, generator=generator).double()
    target = torch.arange(7) % classes
    direction, factor = loss_gradient(head, loss, state, target)
    feature = state.clone().requires_grad_()
    (expected,) = torch.autograd.grad(LOSSES[loss](head(feature), target).sum(), feature)
    assert torch.allclose(factor[:, None] * direction, expected, atol=1e-12)


def test_of_three_classes_the_margins_gradient_turns_when_the_runner_up_changes():
    """Logits are the feature: from e1 - e0 to e2 - e0, which have a cosine of one half, and back."""
    features = np.array([[[0, 2, 1]], [[1, 3, 1]], [[1, 2, 4]], [[5, 2, 4]], [[5, 3, 2]]], dtype=np.float32)
    found, reached = cosines(nn.Identity(), "margin", features, torch.tensor([0]))
    assert np.allclose(found["gradient"][:, 0], [1, 1, 0.5, 0.5, 1])
    assert reached[:, 0].tolist() == [False, False, False, True, True]


def test_of_three_classes_cross_entropys_gradient_turns_with_the_odds_of_the_others():
    """It goes along (-1, q, 1 - q), q being the share of class 1 among the two others."""
    logits = np.array([[[0.0, 3.0, 0.0]], [[1.0, 1.0, 1.0]], [[4.0, 0.0, 3.0]]], dtype=np.float32)
    found, _ = cosines(nn.Identity(), "cross-entropy", logits, torch.tensor([0]))
    q = np.exp([3, 1, 0]) / (np.exp([3, 1, 0]) + np.exp([0, 1, 3]))
    along = np.stack([-np.ones(3), q, 1 - q], 1)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    assert np.allclose(found["gradient"][:, 0], along @ along[0], atol=1e-12)
    assert found["gradient"][2, 0] < 0.7
    moved = logits[:, 0] - logits[0, 0]
    assert np.isnan(found["displacement"][0, 0]), "nothing has moved yet"
    expected = -(moved[1:] @ along[0]) / np.linalg.norm(moved[1:], axis=1)
    assert np.allclose(found["displacement"][1:, 0], expected, atol=1e-6)


def test_a_term_on_the_feature_turns_the_whole_gradient_by_the_angle_of_its_share():
    """Margin of two classes pulls by (-1, 1); a term of gradient (a, a) is at a right angle to it."""
    sizes = [0.0, 1.0, 3.0]
    features = np.array([[[size, 0]] for size in sizes], dtype=np.float32)
    found, _ = cosines(
        nn.Identity(), "margin", features, torch.tensor([0]), lambda f, target: f[:, :1].double().expand(-1, 2)
    )
    assert np.allclose(found["with_term"][:, 0], [1 / np.sqrt(1 + a * a) for a in sizes])
    assert np.allclose(found["gradient"], 1)


@pytest.mark.parametrize("eps", [4 / 255, 40 / 255])
def test_a_linear_networks_displacement_is_that_of_clipped_sign_steps(tmp_path, eps):
    """The feature is the image, so after s steps it has gone from its random start by s steps along sign(w_t - w_o), clipped."""
    network, budget = linear(), BUDGET.replace(eps=eps)
    lab = lab_of(network, tmp_path, budget)
    rows = [row for row in perform_on(lab)[0] if row["attack"] == "PGD"]
    chosen, attack = lab.chosen(), budget.attack
    x = chosen.x.double().numpy()
    start = x + uniform_noise(x.shape[1:], eps, chosen.seeds).numpy()
    low, high = np.maximum(x - eps, 0), np.minimum(x + eps, 1)
    start = np.clip(start, low, high)
    weight = network.net.fc.weight.double().numpy()
    toward = (weight[chosen.targets] - weight[1 - chosen.targets]).reshape(x.shape)
    for row in rows[1:]:
        gone = np.clip(start + row["step"] * attack.step * np.sign(toward), low, high) - start
        a, b = gone.reshape(len(x), -1), toward.reshape(len(x), -1)
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert row["displacement"] == pytest.approx(cosine.mean(), abs=1e-5)
        assert row["displacement_low"] <= row["displacement"] <= row["displacement_high"]
        assert row["moved"] == pytest.approx(
            np.mean(np.linalg.norm(a, axis=1) / np.linalg.norm(start.reshape(len(x), -1), axis=1)), rel=1e-4
        )
    assert "displacement" not in rows[0] and rows[0]["moved"] == 0


def test_hfcs_term_turns_the_gradient_and_plain_pgd_has_no_such_column(tmp_path):
    rows, _, shows_not = perform_on(lab_of(tiny_cnn(2), tmp_path))
    hidden = [row for row in rows if row["attack"] == "PGD+HFC"]
    assert not any("with_term" in row for row in rows if row["attack"] == "PGD")
    assert hidden[0]["with_term"] == pytest.approx(1) and hidden[-1]["with_term"] < 0.99
    assert "two classes" in shows_not


def test_with_no_weight_hfcs_term_turns_nothing_and_both_attacks_are_the_same(tmp_path):
    rows = perform("direction", lab_of(tiny_cnn(2), tmp_path), Direction(weight=0)).rows
    plain, hidden = ([row for row in rows if row["attack"] == name] for name in ("PGD", "PGD+HFC"))
    assert [row["with_term"] for row in hidden] == pytest.approx([1] * len(hidden))
    assert [row["moved"] for row in hidden] == pytest.approx([row["moved"] for row in plain], rel=1e-4)


def test_more_classes_stand_beside_and_no_attack_is_made_twice(tmp_path):
    two, three = lab_of(tiny_cnn(2), tmp_path), Lab(case().classifier, case().dataset, BUDGET, Store(tmp_path))
    rows, shows, shows_not = perform_on(two, "margin", three)
    least = min(row["gradient"] for row in rows if row["classes"] == 3)
    assert least < 0.99 and f" and turns in {three.classifier.name} (3 classes, cosine down to {least:.2f})" in shows
    assert (
        {row["classes"] for row in rows} == {2, 3}
        and "(3 classes, cosine " in shows
        and "two classes alone" not in shows_not
    )
    assert all(count == 1 for lab in (two, three) for count in lab.made.values())
    assert sum("path" in name for name in two.made) == 2
    again = [replace(lab, made=type(lab.made)(), _known={}) for lab in (two, three)]
    assert perform_on(again[0], "margin", again[1])[0] == rows
    assert not any("path" in name for lab in again for name in lab.made)


def test_the_path_is_that_of_the_attack_with_the_chosen_loss(tmp_path):
    """It ends where the same attack, made for other studies, ends."""
    lab = Lab(case().classifier, case().dataset, BUDGET, Store(tmp_path))
    perform_on(lab, "margin")
    made = dict(lab.made)
    for constraint in (None, Direction().constraint):
        followed = path(lab, BUDGET.attack.replace(loss="margin"), constraint, silent)
        assert dict(lab.made) == made, "the study has not followed this attack"
        end = extract(lab.classifier, lab.images(BUDGET.attack.replace(loss="margin"), constraint)).layers["block3"]
        assert followed.shape == (BUDGET.steps + 1, *end.shape) and np.allclose(followed[-1], end, atol=1e-4)
        made = dict(lab.made)


def test_progress_rises_to_the_end_and_stops_the_study(tmp_path):
    seen: list[float] = []

    def follow(fraction: float, what: str) -> None:
        seen.append(fraction)

    perform("direction", lab_of(tiny_cnn(2), tmp_path), progress=follow)
    assert seen == sorted(seen) and seen[-1] == 1

    def stop(fraction: float, what: str) -> None:
        if fraction > 0.4:
            raise Cancelled

    with pytest.raises(Cancelled):
        perform("direction", lab_of(tiny_cnn(2), tmp_path / "other"), progress=stop)


def test_what_cannot_be_run_is_refused_before_any_work(tmp_path):
    two, three = lab_of(tiny_cnn(2), tmp_path), Lab(case().classifier, case().dataset, BUDGET, Store(tmp_path))
    for beside, settings, words in (
        (lab_of(linear(), tmp_path), Direction(), "three classes or more"),
        (None, Direction(components=80), "lower K"),
        (three, Direction(components=60), "lower K"),
    ):
        with pytest.raises(InputError, match=words):
            perform("direction", two, settings, beside)
    with pytest.raises(InputError, match="another one"):
        perform("direction", three, Direction(), three)
    assert not two.made and not three.made


def test_the_figure_draws_each_cosine_with_its_band_and_tells_networks_by_dashes(tmp_path):
    two, three = lab_of(tiny_cnn(2), tmp_path), Lab(case().classifier, case().dataset, BUDGET, Store(tmp_path))
    rows = perform_on(two, beside=three)[0]
    figure = draw(rows)
    assert [note.text for note in figure.layout.annotations] == [
        "Gradient of the attack's loss", "The same with HFC's term", "Displacement of the feature"
    ]  # fmt: skip
    drawn = {(t.name, t.xaxis): t for t in figure.data if t.mode == "lines+markers"}
    name = f"PGD+HFC, {two.classifier.name} (2 classes)"
    own = [row for row in rows if row["network"] == two.classifier.name and row["attack"] == "PGD+HFC"]
    assert list(drawn[name, "x"].y) == [row["gradient"] for row in own]
    assert list(drawn[name, "x2"].y) == [row["with_term"] for row in own]
    assert list(drawn[name, "x3"].y) == [row["displacement"] for row in own[1:]]
    assert list(drawn[name, "x3"].x) == list(range(1, BUDGET.steps + 1))
    assert ("PGD, " + name.split(", ")[1], "x2") not in drawn
    assert drawn[name, "x"].line.dash == "solid"
    assert drawn[f"PGD+HFC, {three.classifier.name} (3 classes)", "x"].line.dash == "dash"
    assert STUDIES["direction"].draw is draw
