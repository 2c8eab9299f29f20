"""Examples carried from one network to another, where what must come of it is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from bundles import case, one_thread  # noqa: F401
from networks import linear, tiny_cnn

from hfcviz import metrics
from hfcviz.classifiers import Classifier
from hfcviz.datasets import Dataset, Split
from hfcviz.metrics import roc
from hfcviz.settings import InputError
from hfcviz.store import Store
from hfcviz.studies import transfer
from hfcviz.studies.catalogue import perform
from hfcviz.studies.findings import Findings, Row
from hfcviz.studies.lab import Lab
from hfcviz.studies.pairs import brought_over
from hfcviz.studies.pieces import Budget
from hfcviz.studies.transfer import Transfer, draw

BUDGET = Budget(scans=40, eps=40 / 255, steps=4)
HALF = 8
"""Pixels of the left half of a 4 x 4 image."""


@pytest.fixture(autouse=True)
def few_bootstraps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of 20 resamplings: they are tested with the metrics."""
    monkeypatch.setattr(metrics, "bootstrap_interval", partial(metrics.bootstrap_interval, n=20))


def halves(left: bool) -> Classifier:
    """A linear network that sees one half of its 4 x 4 image: class "b" where its mean lies above 0.5."""
    classifier = linear()
    mask = np.zeros((4, 4), dtype=np.float32)
    mask[:, :2] = left
    mask[:, 2:] = not left
    with torch.no_grad():
        classifier.net.fc.weight.copy_(torch.from_numpy(np.stack([-mask.ravel(), mask.ravel()])) * 10)
        classifier.net.fc.bias.copy_(torch.tensor([0.5, -0.5]) * 10 * HALF)
    return classifier


def halves_set() -> Dataset:
    """Images both of whose halves are dark (a) or bright (b), so that both networks are right about most of them."""
    rng = np.random.default_rng(0)
    splits = {}
    for part, count in (("train", 60), ("val", 30), ("test", 80)):
        y = np.arange(count) % 2
        x = 0.5 + (y * 2 - 1)[:, None, None, None] * 0.05 + rng.normal(0, 0.12, (count, 1, 4, 4))
        ids = tuple(f"{part}-{i}" for i in range(count))
        splits[part] = Split(np.rint(x.clip(0, 1) * 255).astype(np.uint8), y, ids)
    return Dataset("halves", ("a", "b"), splits, "made up")


def labs(tmp_path: Path, here: Classifier, there: Classifier, dataset: Dataset, budget: Budget = BUDGET) -> list[Lab]:
    return [Lab(net, dataset.fitted(net.input_shape), budget, Store(tmp_path / "store")) for net in (here, there)]


@cache
def orthogonal() -> tuple[Lab, Lab, Findings]:
    """Two networks that see different halves, and what became of examples carried from one to the other."""
    with TemporaryDirectory() as folder:
        lab, beside = labs(Path(folder), halves(left=True), halves(left=False), halves_set())
        return lab, beside, perform("transfer", lab, beside=beside)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two quick detectors and short bootstraps, where the numbers themselves do not matter."""
    monkeypatch.setattr(Lab, "detector_names", lambda self: ("KD", "MAHA"))
    monkeypatch.setattr(
        transfer, "separation", lambda neg, pos: {"auc": roc(neg, pos).auc, "two_sided": 0.5, "n": len(pos)}
    )


def lines(rows: list[Row], itself: bool) -> dict[tuple[str, str], Row]:
    return {(r["attack"], r["detector"]): r for r in rows if "detector" in r and r["itself"] is itself}


@pytest.mark.parametrize("dims", [2, 3])
def test_examples_of_a_twin_are_the_networks_own(tmp_path: Path, dims: int, few: None) -> None:
    here = case(dims).classifier
    twin = dataclasses.replace(here, name="twin")
    lab, beside = labs(tmp_path, here, twin, case(dims).dataset)
    rows = perform("transfer", lab, beside=beside).rows
    own, carried = lines(rows, True), lines(rows, False)
    assert own and own.keys() == carried.keys()
    for key, row in own.items():
        differ = {name for name in row if row[name] != carried[key][name]}
        assert differ == {"made_on", "itself"}


def test_an_attack_on_what_a_network_does_not_see_is_noise_to_it() -> None:
    rows = orthogonal()[2].rows
    noise = next(row for row in rows if row["attack"] == "noise")
    pgd = next(row for row in rows if row["attack"] == "PGD" and not row["itself"])
    own = next(row for row in rows if row["attack"] == "PGD" and row["itself"])
    # No step touches the half that the lab's network sees, so its random start is all that reaches it.
    assert (pgd["target"], pgd["wrong"]) == (noise["target"], noise["wrong"])
    assert own["target"] == pgd["on_source"] == 1
    for row, name in ((own, "target"), (pgd, "on_source"), (own, "wrong")):
        assert row[f"{name}_low"] == pytest.approx(row["scans"] / (row["scans"] + 1.959964**2)), "Wilson's, of all"
    assert noise["target"] < 0.5


def test_success_counts_the_scans_that_both_networks_know() -> None:
    lab, beside, findings = orthogonal()
    here, there, rows = lab.classifier, beside.classifier, findings.rows
    test = lab.dataset.splits["test"]
    x = torch.from_numpy(test.images())[lab.chosen().rows]
    right = [(net(x).argmax(1).numpy() == test.y[lab.chosen().rows]) for net in (here, there)]
    both = right[0] & right[1]
    assert 20 < both.sum() < 40
    assert {row["scans"] for row in rows} == {int(both.sum())}
    assert {row["n"] for row in rows if "n" in row} == {int((both & ~lab.chosen().trains).sum())}


def test_nothing_is_made_twice_and_a_second_time_nothing_is_attacked(tmp_path: Path, few: None) -> None:
    here = case(2).classifier
    first, second = [labs(tmp_path, here, dataclasses.replace(here, name="twin"), case(2).dataset) for _ in range(2)]
    rows = perform("transfer", first[0], beside=first[1]).rows
    assert [max(lab.made.values()) for lab in first] == [1, 1]
    assert perform("transfer", second[0], beside=second[1]).rows == rows
    left = {what.rsplit(" ", 1)[0] for what in second[0].made + second[1].made}
    assert not {"attack", "attack carried over", "scores", "detectors", "penalty"} & left


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("side", [5, 12, 31])
def test_a_change_brought_over_never_grows_and_a_constant_one_stays(dims: int, side: int) -> None:
    change = torch.rand(3, 1, *[12] * dims, generator=torch.Generator().manual_seed(0)) - 0.5
    moved = brought_over(change, (1, *[side] * dims))
    assert moved.shape == (3, 1, *[side] * dims)
    assert moved.abs().max() <= change.abs().max()
    assert float((moved - brought_over(change.flip(0), (1, *[side] * dims)).flip(0)).abs().max()) == 0
    same = brought_over(torch.full_like(change, 0.1), (1, *[side] * dims))
    torch.testing.assert_close(same, torch.full_like(same, 0.1))


def test_half_the_size_is_the_mean_of_each_block() -> None:
    change = torch.rand(2, 1, 4, 4)
    blocks = change.reshape(2, 1, 2, 2, 2, 2).mean((3, 5))
    torch.testing.assert_close(brought_over(change, (1, 2, 2)), blocks)


def test_colour_becomes_grey_and_grey_is_repeated() -> None:
    change = torch.tensor([0.1, 0.2, -0.3]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    grey = brought_over(change, (1, 4, 4))
    torch.testing.assert_close(grey, torch.full((1, 1, 4, 4), 0.299 * 0.1 + 0.587 * 0.2 - 0.114 * 0.3))
    assert torch.equal(brought_over(grey, (3, 4, 4)), grey.expand(1, 3, 4, 4))


@pytest.mark.parametrize("side", [8, 18])
def test_a_network_with_another_input_serves_and_eps_holds(tmp_path: Path, side: int, few: None) -> None:
    here = case(2).classifier
    there = dataclasses.replace(here, name="other grid", input_shape=(1, side, side))
    lab, beside = labs(tmp_path, here, there, case(2).dataset)
    rows = perform("transfer", lab, beside=beside).rows
    carried = [row for row in rows if row["made_on"] == "other grid"]
    assert carried and all(0 < row["linf_255"] <= 40 + 1e-4 for row in carried)


def refusal(lab: Lab, beside: Lab | None, settings: Transfer | None = None) -> str:
    with pytest.raises(InputError) as refused:
        perform("transfer", lab, settings, beside)
    assert not lab.made and (beside is None or not beside.made)  # before any work
    return str(refused.value)


def test_what_cannot_be_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    lab, beside = labs(tmp_path, case(2).classifier, case(2).classifier, case(2).dataset)
    assert "needs a second network" in refusal(lab, None)

    def other(dataset: Dataset | None = None, **changes: object) -> Lab:
        net = dataclasses.replace(beside.classifier, **changes)  # type: ignore[arg-type]
        return Lab(net, dataset or beside.dataset, BUDGET, beside.store)

    names = ("a", "b", "d")
    renamed = dataclasses.replace(beside.dataset, class_names=names)
    assert "a, b, d" in refusal(lab, other(renamed, class_names=names))
    assert "12 x 8" in refusal(lab, other(input_shape=(1, 12, 8)))
    assert "8 x 8 x 8" in refusal(lab, labs(tmp_path, tiny_cnn(3, 3), tiny_cnn(3, 3), random_set(8, 3))[0])
    assert "takes 1" in refusal(lab, other(input_shape=(2, 12, 12)))
    assert "lower K" in refusal(lab, beside, Transfer(components=60))


def random_set(side: int, dims: int) -> Dataset:
    rng = np.random.default_rng(5)
    splits = {
        part: Split(rng.integers(0, 256, (count, 1, *[side] * dims), np.uint8), np.arange(count) % 3, ids(part, count))
        for part, count in (("train", 90), ("val", 50), ("test", 70))
    }
    return Dataset("random", ("a", "b", "c"), splits, "random")


def ids(part: str, count: int) -> tuple[str, ...]:
    return tuple(f"{part}-{index:04d}" for index in range(count))


@pytest.mark.parametrize("side", [12, 24])
def test_other_images_under_the_same_names_are_refused(tmp_path: Path, side: int) -> None:
    here, dataset = case(2).classifier, case(2).dataset
    there = dataclasses.replace(here, input_shape=(1, side, side))
    lab, same = labs(tmp_path, here, there, dataset)
    transfer.check(lab, Transfer(), same)
    test = same.dataset.splits["test"]
    turned: Mapping[str, Split] = {**same.dataset.splits, "test": dataclasses.replace(test, x=np.roll(test.x, 1, 0))}
    renamed = {**same.dataset.splits, "test": dataclasses.replace(test, ids=tuple(reversed(test.ids)))}
    relabelled = {**same.dataset.splits, "test": dataclasses.replace(test, y=np.roll(test.y, 1))}
    for splits in (turned, renamed, relabelled):
        wrong = dataclasses.replace(same, dataset=dataclasses.replace(same.dataset, splits=splits))
        assert "same test images" in refusal(lab, wrong)


def test_networks_that_share_too_few_scans_are_refused(tmp_path: Path) -> None:
    here = halves(left=True)
    opposite = dataclasses.replace(halves(left=True), name="opposite")
    opposite.net.fc.weight.neg_()
    opposite.net.fc.bias.neg_()
    lab, beside = labs(tmp_path, here, opposite, halves_set())
    with pytest.raises(InputError, match="share 0"):
        perform("transfer", lab, beside=beside)


def test_the_figure_and_the_words_say_what_the_rows_say() -> None:
    findings = orthogonal()[2]
    success, auc = draw(findings.rows).data
    assert success.colorscale != auc.colorscale
    for row in findings.rows:
        where = "itself" if row["itself"] else row["made_on"]
        line = f"{row['attack']} made on {where}" if row["made_on"] else "noise"
        at = list(success.y).index(line)
        assert success.z[at][list(success.x).index("target")] == row["target"]
        assert success.z[at][list(success.x).index("wrong class")] == row["wrong"]
        if "detector" in row:
            assert auc.z[list(auc.y).index(line)][list(auc.x).index(row["detector"])] == row["auc"]
            assert f"{row['auc']:.3f}" in auc.hovertext[list(auc.y).index(line)][list(auc.x).index(row["detector"])]
    pgd = next(row for row in findings.rows if row["attack"] == "PGD" and not row["itself"])
    hfc = next(row for row in findings.rows if row["attack"] == "PGD+HFC" and not row["itself"])
    assert f"in {pgd['target']:.0%} and {hfc['target']:.0%} of {pgd['scans']} scans" in findings.shows
    assert f"on {pgd['n']} scans" in findings.shows_not
