"""The stress test, against linear layers whose largest change within eps and [0, 1] is known exactly."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import case, one_thread  # noqa: F401
from networks import linear
from test_study_direction import data_for, even
from torch import nn

from hfcviz.classifiers import Classifier
from hfcviz.jobs import Cancelled
from hfcviz.reference import noisy
from hfcviz.settings import InputError
from hfcviz.store import Store
from hfcviz.studies.catalogue import perform
from hfcviz.studies.lab import Lab
from hfcviz.studies.pieces import Budget
from hfcviz.studies.stress import FLOOR, Drive, Stress, draw

BUDGET = Budget(scans=24, eps=30 / 255, steps=8, seed=2)


def two_linear(shift: float = 0.0, seed: int = 0) -> Classifier:
    """Layers "flat" (the pixels) and "mixed" (six weighted sums of them, raised by `shift`), then the logits."""
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(OrderedDict(flat=nn.Flatten(), mixed=nn.Linear(16, 6), fc=nn.Linear(6, 2)))
    with torch.no_grad():
        for module in (net.mixed, net.fc):
            module.weight.normal_(0, 0.5, generator=generator)
            module.bias.zero_()
        net.mixed.bias += shift
    return Classifier(net, f"two-linear-{seed}-{shift:g}", ("a", "b"), ("flat", "mixed"), "fc", (1, 4, 4))


def lab_of(network: Classifier, folder, budget: Budget = BUDGET) -> Lab:
    return Lab(network, data_for(even(network)), budget, Store(folder))


def reach(lab: Lab, layer: str, way: str) -> tuple[np.ndarray, np.ndarray]:
    """A layer's clean means (n,) and the furthest ones within eps: each pixel goes to the end of its range that helps."""
    x = lab.chosen().x.double().flatten(1).numpy()
    mixed = lab.classifier.net.mixed
    weight = np.full(16, 1 / 16) if layer == "flat" else mixed.weight.double().mean(0).numpy()
    bias = 0.0 if layer == "flat" else float(mixed.bias.double().mean())
    low, high = np.maximum(x - lab.budget.eps, 0), np.minimum(x + lab.budget.eps, 1)
    helps = weight > 0 if way == "up" else weight < 0
    return x @ weight + bias, np.where(helps, high, low) @ weight + bias


def value(rows, layer: str, way: str) -> dict:
    (row,) = [row for row in rows if row["layer"] == layer and row["way"] == way]
    return row


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("layer", ["flat", "mixed"])
def test_a_linear_layer_is_driven_exactly_as_far_as_eps_and_the_grey_range_allow(tmp_path, layer, way):
    lab = lab_of(two_linear(shift=4.0), tmp_path)
    row = value(perform("stress", lab).rows, layer, way)
    before, after = reach(lab, layer, way)
    expected = (after - before) / np.abs(before)
    assert np.abs(before).min() > FLOOR * np.abs(before).mean(), "the floor must not matter here"
    assert row["change"] == pytest.approx(expected.mean(), rel=1e-4)
    assert row["change_low"] < row["change"] < row["change_high"] and row["n"] == BUDGET.scans
    assert np.sign(row["change"]) == {"up": 1, "down": -1}[way]
    assert row["clean"] == pytest.approx(before.mean(), rel=1e-4)


def test_a_clean_mean_near_0_does_not_blow_the_change_up(tmp_path):
    """Each scan's change is measured against a tenth of what training images have, at least."""
    network = two_linear(shift=0.0)
    with torch.no_grad():
        network.net.mixed.bias -= network.features(_train(network))[1]["mixed"].mean()
    lab = lab_of(network, tmp_path)
    row = value(perform("stress", lab).rows, "mixed", "up")
    before, after = reach(lab, "mixed", "up")
    usual = np.abs(_train(network).double().flatten(1).numpy() @ _weight(network) + _bias(network)).mean()
    assert np.abs(before).min() < FLOOR * usual, "some scan must lie near 0"
    expected = (after - before) / np.maximum(np.abs(before), FLOOR * usual)
    assert row["change"] == pytest.approx(expected.mean(), rel=1e-3)


def _train(network: Classifier) -> torch.Tensor:
    return torch.from_numpy(data_for(network).splits["train"].images())


def _weight(network: Classifier) -> np.ndarray:
    return network.net.mixed.weight.double().mean(0).numpy()


def _bias(network: Classifier) -> float:
    return float(network.net.mixed.bias.double().mean())


def test_noise_of_the_same_size_stands_beside_and_changes_less(tmp_path):
    lab = lab_of(two_linear(shift=4.0), tmp_path)
    rows, x = perform("stress", lab).rows, lab.chosen().x
    before, after = (images.double().flatten(1).mean(1) for images in (x, noisy(x, BUDGET.eps, lab.chosen().seeds)))
    assert value(rows, "flat", "noise")["change"] == pytest.approx(float(((after - before) / before).mean()), abs=1e-6)
    for layer in ("flat", "mixed"):
        noise, up, down = (value(rows, layer, way)["change"] for way in ("noise", "up", "down"))
        assert down < noise < up and abs(noise) < 0.3 * min(up, -down)


@pytest.mark.parametrize("dims", [2, 3])
def test_every_layer_of_a_convolutional_network_goes_the_way_it_is_driven(tmp_path, dims):
    lab = Lab(case(dims).classifier, case(dims).dataset, BUDGET, Store(tmp_path))
    rows = perform("stress", lab).rows
    assert [row["depth"] for row in rows[::3]] == pytest.approx([1 / 3, 2 / 3, 1])
    for layer in lab.classifier.layer_names:
        assert value(rows, layer, "down")["change_high"] < 0 < value(rows, layer, "up")["change_low"]


def test_chosen_layers_alone_are_driven_at_their_depth_in_the_whole_network(tmp_path):
    lab = Lab(case().classifier, case().dataset, BUDGET, Store(tmp_path))
    rows = perform("stress", lab, Stress(layers=("block3", "block2"))).rows
    assert {(row["layer"], round(row["depth"], 3)) for row in rows} == {("block2", 0.667), ("block3", 1.0)}


def test_a_layer_that_is_never_active_is_left_out(tmp_path):
    network = two_linear(shift=4.0)
    silent_network = Classifier(
        nn.Sequential(OrderedDict(flat=nn.Flatten(), mixed=network.net.mixed, side=Beside(), fc=network.net.fc)),
        "with-a-dead-layer", ("a", "b"), ("flat", "side.dead", "mixed"), "fc", (1, 4, 4),
    )  # fmt: skip
    rows = perform("stress", lab_of(silent_network, tmp_path)).rows
    assert {row["layer"] for row in rows} == {"flat", "mixed"}


class Beside(nn.Module):
    """Gives its input on; its part `dead` gives 0 whatever comes."""

    def __init__(self) -> None:
        super().__init__()
        self.dead = nn.Hardtanh(0.0, 1e-30)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0 * self.dead(-x.abs())


def test_two_networks_share_the_figure_and_no_attack_is_made_twice(tmp_path):
    labs = [lab_of(two_linear(4.0), tmp_path), lab_of(two_linear(5.0, seed=1), tmp_path)]
    found = perform("stress", labs[0], None, labs[1])
    assert all(name in found.shows for name in ("two-linear-0-4", "two-linear-1-5"))
    for way in ("up", "down"):
        first, second = ([abs(r["change"]) for r in found.rows if r["way"] == way and n in r["network"]] for n in "01")
        more = sum(a > b for a, b in zip(first, second, strict=True))
        assert f"{more} of 2 layers when driven {way}" in found.shows
    assert all(count == 1 for lab in labs for count in lab.made.values())
    assert [sum("attack" in name for name in lab.made) for lab in labs] == [4, 4]
    again = [replace(lab, made=type(lab.made)(), _known={}) for lab in labs]
    assert perform("stress", again[0], None, again[1]).rows == found.rows
    assert not any("attack" in name for lab in again for name in lab.made)

    figure = draw(found.rows)
    assert [note.text for note in figure.layout.annotations] == ["Driven up", "Driven down"]
    lines = {(t.name, t.xaxis): t for t in figure.data if t.mode == "lines+markers"}
    for place, lab in enumerate(labs):
        own = [row for row in found.rows if row["network"] == lab.classifier.name]
        for axis, way in (("x", "up"), ("x2", "down")):
            line = lines[f"driven, {lab.classifier.name} on random", axis]
            assert list(line.y) == [row["change"] for row in own if row["way"] == way]
            assert list(line.x) == [0.5, 1.0] and line.line.dash == ("solid", "dash")[place]
            noise = lines[f"uniform noise, {lab.classifier.name} on random", axis]
            assert list(noise.y) == [row["change"] for row in own if row["way"] == "noise"]


def test_progress_rises_and_may_stop_the_study(tmp_path):
    seen: list[float] = []
    perform("stress", lab_of(two_linear(4.0), tmp_path), progress=lambda fraction, what: seen.append(fraction))
    assert seen == sorted(seen) and seen[-1] == 1

    def stop(fraction: float, what: str) -> None:
        if fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        perform("stress", lab_of(two_linear(4.0), tmp_path / "other"), progress=stop)


def test_what_cannot_be_run_is_refused_before_any_work(tmp_path):
    one, two = lab_of(linear(), tmp_path), lab_of(two_linear(4.0), tmp_path)
    for lab, settings, beside, words in (
        (one, Stress(), None, "two or more"),
        (two, Stress(), one, "two or more"),
        (two, Stress(layers=("flat",)), None, "two or more"),
        (two, Stress(layers=("flat", "deep")), None, "among flat, mixed, the layers of two-linear-0-4; got deep"),
        (two, Stress(), two, "twice"),
    ):
        with pytest.raises(InputError, match=words):
            perform("stress", lab, settings, beside)
    assert not one.made and not two.made
    with pytest.raises(InputError, match="up, down"):
        Drive("flat", "sideways")
