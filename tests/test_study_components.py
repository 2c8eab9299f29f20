"""Which setting of HFC matters: a linear network whose success is known, nothing made twice, refusals, and the figure's data."""

from functools import cache, partial

import numpy as np
import pytest
import torch
from bundles import case, one_thread  # noqa: F401
from networks import images, linear

from hfcviz.datasets import Dataset, Split
from hfcviz.metrics import bootstrap_interval, roc, share_interval
from hfcviz.penalties import HFC
from hfcviz.settings import InputError
from hfcviz.store import Store
from hfcviz.studies import components
from hfcviz.studies.components import Components
from hfcviz.studies.judging import numbers
from hfcviz.studies.lab import Lab
from hfcviz.studies.pieces import Budget

FEW = Components(components=("2",), weights=("0",), layers=("deep half",), steps=("3",), eps=("4",))
BUDGET = Budget(scans=40, eps=12 / 255, steps=6)


@pytest.fixture(scope="module", autouse=True)
def few_resamplings():
    """Intervals have tests of their own; a thousand resamplings take longer than all attacks here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hfcviz.metrics.bootstrap_interval", partial(bootstrap_interval, n=20))
        yield


def bundled(tmp_path, spatial_dims=2):
    one = case(spatial_dims)
    return Lab(one.classifier, one.dataset, BUDGET, Store(tmp_path))


def linear_lab(tmp_path, eps, steps=40):
    """A linear network of one layer, on images so grey that the ball is never cut off."""
    classifier = linear(seed=4)
    classifier.net.fc.bias.sub_(
        classifier(images(classifier, 200, 9, 0.3, 0.7)).mean(0)
    )  # both classes are as frequent
    splits = {}
    for seed, (part, count) in enumerate({"train": 60, "val": 30, "test": 50}.items()):
        x = np.round(images(classifier, count, seed, 0.3, 0.7).numpy() * 255).astype(np.uint8)
        y = classifier(torch.from_numpy(x.astype(np.float32) / 255)).argmax(1).numpy()
        splits[part] = Split(x, y, tuple(f"{part}-{i}" for i in range(count)))
    data = Dataset("grey", classifier.class_names, splits, "grey images")
    return Lab(classifier, data, Budget(scans=50, eps=eps, steps=steps), Store(tmp_path))


@cache
def found_in(path, spatial_dims=2):
    lab = bundled(path, spatial_dims)
    components.check(lab, FEW)
    return lab, components.run(lab, FEW)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def test_without_weight_a_linear_network_is_fooled_as_often_as_the_budget_allows(tmp_path):
    eps = 12 / 255
    lab = linear_lab(tmp_path, eps)
    settings = Components(components=(), weights=("0",), layers=(), steps=(), eps=())
    components.check(lab, settings)
    rows = components.run(lab, settings)
    chosen, weight = lab.chosen(), lab.classifier.net.fc.weight.numpy().astype(float)
    logits = lab.classifier(chosen.x).numpy().astype(float)
    at = np.arange(len(logits))
    lead = logits[at, chosen.labels] - logits[at, chosen.targets]
    reachable = lead < eps * np.abs(weight[0] - weight[1]).sum()
    assert 0 < reachable.mean() < 1  # or it would be no test
    free = [row for row in rows if row["factor"] == "weight" and row["value"] == "0"]
    assert [row["success"] for row in free] == pytest.approx([reachable.mean()] * len(free))
    assert not {"BU", "KD+BU"} & {row["detector"] for row in rows}  # no dropout


def test_weight_nought_is_told_as_the_plain_attack_is(folder):
    lab, rows, *_ = found_in(folder)
    plain = lab.scores(BUDGET.attack, BUDGET.attack)
    for row in rows:
        if (row["factor"], row["value"]) == ("weight", "0"):
            curve = roc(*plain[row["detector"]])
            assert row["auc"] == pytest.approx(curve.auc)
            assert row["tpr90"] == pytest.approx(curve.tpr_at(0.1))


def test_each_row_is_of_the_attack_that_it_names(folder):
    lab, rows, *_ = found_in(folder)
    names = lab.classifier.layer_names
    trials = {
        ("K", "2"): (HFC(components=2), BUDGET.attack),
        ("layers", "deep half"): (HFC(layers=names[1:]), BUDGET.attack),
        ("steps", "3"): (HFC(), BUDGET.attack.replace(steps=3)),
        ("eps", "4/255"): (HFC(), BUDGET.attack.replace(eps=4 / 255)),
        ("eps", "12/255"): (HFC(), BUDGET.attack),
    }
    for (factor, value), (penalty, attack) in trials.items():
        own = [row for row in rows if (row["factor"], row["value"]) == (factor, value)]
        scores, version = lab.scores(attack, attack, penalty), lab.version(attack, penalty)
        assert [row["detector"] for row in own] == list(lab.detector_names())
        for row in own:
            assert row["auc"] == pytest.approx(roc(*scores[row["detector"]]).auc)
            assert row["success"] == pytest.approx((version.seen.predicted == lab.chosen().targets).mean())
            ends = share_interval(round(row["success"] * row["attacked"]), row["attacked"])
            assert (row["success_low"], row["success_high"]) == pytest.approx(ends)
            assert row["mean_tpr90"] == pytest.approx(np.mean([one["tpr90"] for one in own]))
            assert row["default"] == (factor == "eps" and value == "12/255")
            assert row["n"] == (~lab.chosen().trains).sum()


@pytest.mark.parametrize(("which", "kept"), [("shallow half", 1), ("deep half", 2), ("all but the penultimate", 2)])
def test_subsets_are_of_the_networks_layers_by_depth(which, kept):
    names = ("a", "b", "c")
    chosen = components.SUBSETS[which](names)
    assert chosen == (names[1:] if which == "deep half" else names[:kept])


def test_what_values_share_is_made_once_and_found_again(folder):
    lab, rows, *_ = found_in(folder)
    assert max(lab.made.values()) == 1
    versions = sum(what.startswith("attack ") for what in lab.made)
    # 6 settings of HFC (one of them the default of all five factors) and the plain attack at 3 pairs of eps and steps.
    assert versions == 6 + 3
    again = bundled(folder)
    assert components.run(again, FEW) == rows
    assert not [what for what in again.made if what.startswith(("attack", "scores", "noise", "penalty", "detectors"))]


def test_volumes_are_studied_by_the_same_line(tmp_path):
    _, rows = found_in(tmp_path, 3)
    told, untold = components.shows(rows), components.shows_not(rows)
    assert {row["factor"] for row in rows} == {"K", "weight", "layers", "steps", "eps"}
    assert told.endswith(".") and untold.endswith(".")


def made_up(values):
    """Rows of one detector from {factor: {value: (success, TPR@90)}}."""
    return [
        {"factor": factor, "value": value, "default": False, "detector": "KD", "success": success, "mean_tpr90": caught}
        | {"tpr90": caught, "tpr90_low": caught - 0.1, "tpr90_high": caught + 0.1, "n": 30, "attacked": 100}
        | {"success_low": success, "success_high": success}
        for factor, line in values.items()
        for value, (success, caught) in line.items()
    ]


def test_the_sentence_names_the_factor_with_the_widest_range():
    rows = made_up({"K": {"1": (1.0, 0.5), "2": (0.6, 0.4)}, "weight": {"1": (1.0, 0.5), "10": (0.9, 0.1)}})
    told = components.shows(rows)
    assert "Being caught depends most on HFC's weight" in told
    assert "catch 50.0% of the scans at weight 1 and 10.0% at weight 10 (mean TPR@90)" in told
    assert "reaching the target depends most on K (Gaussians of a class): 100.0% at K 1 and 60.0% at K 2." in told
    even = components.shows(
        made_up({"steps": {"5": (1.0, 0.5), "40": (0.6, 0.1)}, "eps": {"2": (0.7, 0.6), "8": (0.9, 0.2)}})
    )
    assert "depends most on steps and equally on eps: 1 detectors catch 50.0% of the scans at steps 5 and" in even
    assert "10.0% at steps 40; 60.0% at eps 2 and 20.0% at eps 8 (mean" in even
    assert "at K 2 only 60% reached it" in components.shows_not(rows)


def test_the_figure_shows_every_value_once_with_success_beside_tpr90(folder):
    _, rows, *_ = found_in(folder)
    success, caught = components.draw(rows).data
    lines = list(dict.fromkeys((row["factor"], row["value"]) for row in rows))
    headings = [line for line in caught.y if caught.z[list(caught.y).index(line)][0] is None]
    assert len(headings) == 5 and len(success.y) == len(caught.y) == len(lines) + 5
    assert list(caught.x) == [*dict.fromkeys(row["detector"] for row in rows), "mean"]
    places = [place for place, line in enumerate(caught.y) if line not in headings]
    for place, key in zip(places, lines, strict=True):
        assert caught.y[place].startswith(" ".join(key))
        own = {row["detector"]: row for row in rows if (row["factor"], row["value"]) == key}
        assert success.z[place][0] == pytest.approx(next(iter(own.values()))["success"])
        assert list(caught.z[place][:-1]) == pytest.approx([row["tpr90"] for row in own.values()])
        assert caught.z[place][-1] == pytest.approx(next(iter(own.values()))["mean_tpr90"])
    assert sum("default" in line for line in caught.y) == 5


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"components": ("64",)}, r"must be smaller than the number of training images of each class; got 64 for"),
        ({"components": ("0",)}, r"Components.components must be whole numbers between 1 and 256; got '0'"),
        ({"components": ("1.5",)}, r"whole numbers .* got '1.5'"),
        ({"weights": ("much",)}, r"Components.weights must be numbers between 0 and 1000; got 'much'"),
        ({"weights": ("nan",)}, r"got 'nan'"),
        ({"steps": ("0",)}, r"Components.steps must be whole numbers between 1 and 1000"),
        ({"eps": ("256",)}, r"Components.eps must be numbers between 0.001 and 255"),
        ({"layers": ("middle",)}, r"Components.layers must be among all, .*; got middle"),
    ],
)
def test_values_that_cannot_be_are_refused_before_any_work(tmp_path, changes, text):
    lab = bundled(tmp_path)
    with pytest.raises(InputError, match=text):
        components.check(lab, FEW.replace(**changes))
    assert not lab.made


def test_one_layer_has_no_subsets_and_the_default_alone_is_no_study(tmp_path):
    lab = linear_lab(tmp_path, 8 / 255)
    with pytest.raises(InputError, match=r"Components.layers must be all for a network of one layer"):
        components.check(lab, FEW)
    with pytest.raises(InputError, match=r"a factor of two values or more"):
        components.check(lab, Components(components=("1",), weights=(), layers=(), steps=("40",), eps=("8",)))


def test_numbers_come_once_and_in_order():
    assert numbers("It", ("10", "2", "2.0", "1e1"), 0, 10) == (2.0, 10.0)
