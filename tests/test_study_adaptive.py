"""HFC against its rivals: the rule that chooses a weight, rows that tell what was attacked, sentences and the figure's data."""

from functools import cache, partial

import numpy as np
import pytest
from bundles import case, one_thread  # noqa: F401

from hfcviz.metrics import bootstrap_interval, roc, share_interval
from hfcviz.penalties import HFC
from hfcviz.settings import InputError
from hfcviz.store import Store
from hfcviz.studies import adaptive
from hfcviz.studies.adaptive import Adaptive
from hfcviz.studies.lab import Lab
from hfcviz.studies.pieces import Budget
from hfcviz.studies.rivals import RIVALS

BUDGET = Budget(scans=40, eps=12 / 255, steps=5)
SETTINGS = Adaptive(weights=("0.5", "5"))


@pytest.fixture(scope="module", autouse=True)
def few_resamplings():
    """Intervals have tests of their own; a thousand resamplings take longer than all attacks here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hfcviz.metrics.bootstrap_interval", partial(bootstrap_interval, n=20))
        yield


def bundled(path, spatial_dims=2):
    one = case(spatial_dims)
    return Lab(one.classifier, one.dataset, BUDGET, Store(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@cache
def found_in(path):
    lab = bundled(path)
    adaptive.check(lab, SETTINGS)
    return lab, adaptive.run(lab, SETTINGS)


def test_every_penalty_meets_every_detector_at_the_same_budget(folder):
    lab, rows, *_ = found_in(folder)
    names = ["none", "HFC", "random", "closest", "KDE", "LID", "orthogonal"]
    assert [(row["penalty"], row["detector"]) for row in rows] == [(n, d) for n in names for d in lab.detector_names()]
    assert {row["attacked"] for row in rows} == {40}
    assert {row["n"] for row in rows} == {int((~lab.chosen().trains).sum())}
    assert {row["penalty"]: row["backward_passes"] for row in rows} == dict.fromkeys(names, 1) | {"orthogonal": 2}
    assert {row["penalty"] for row in rows if row["weight"] is None} == {"none", "orthogonal"}


@pytest.mark.parametrize("name", ["none", "HFC", "closest", "orthogonal"])
def test_a_row_is_of_the_attack_that_it_names_at_its_weight(folder, name):
    lab, rows, *_ = found_in(folder)
    own = [row for row in rows if row["penalty"] == name]
    penalty = {"none": None, "HFC": HFC(), "closest": RIVALS["closest"], "orthogonal": HFC()}[name]
    if own[0]["weight"] is not None:
        penalty = penalty.replace(weight=own[0]["weight"])
    how = "orthogonal" if name == "orthogonal" else "sum"
    scores = lab.scores(BUDGET.attack, BUDGET.attack, penalty, how)
    version = lab.version(BUDGET.attack, penalty, how)
    for row in own:
        assert row["auc"] == pytest.approx(roc(*scores[row["detector"]]).auc)
        assert row["tpr90"] == pytest.approx(roc(*scores[row["detector"]]).tpr_at(0.1))
        assert row["success"] == pytest.approx((version.seen.predicted == lab.chosen().targets).mean())
        ends = share_interval(round(row["success"] * row["attacked"]), row["attacked"])
        assert (row["success_low"], row["success_high"]) == pytest.approx(ends)
    at = np.arange(40)
    sure = version.seen.probabilities[at, lab.chosen().targets].mean()
    assert own[0]["confidence"] == pytest.approx(sure, abs=1e-5)


def test_a_weight_is_tried_on_the_scans_that_train_detectors(folder):
    lab, *_ = found_in(folder)
    penalty = RIVALS["closest"].replace(weight=5.0)
    success, caught = adaptive.trial(lab, penalty)
    trains = np.flatnonzero(lab.chosen().trains)
    seen = lab.version(BUDGET.attack, penalty).seen.take(trains)
    assert success == pytest.approx((seen.predicted == lab.chosen().targets[trains]).mean())
    flagged = [one.score(seen) > one.threshold for one in lab.detectors(BUDGET.attack).values()]
    assert caught == pytest.approx(np.mean(flagged))


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({0.1: (1.0, 0.5), 1.0: (0.97, 0.2), 10.0: (0.5, 0.0)}, 1.0),  # the last succeeds too seldom
        ({0.1: (1.0, 0.2), 1.0: (1.0, 0.2), 10.0: (1.0, 0.3)}, 0.1),  # of equals the smaller
        ({0.1: (0.96, 0.2), 1.0: (1.0, 0.2), 10.0: (1.0, 0.3)}, 1.0),  # before that the surer
        ({0.1: (0.95, 0.1), 1.0: (1.0, 0.2), 10.0: (0.9, 0.0)}, 0.1),  # exactly as far below as is allowed
        ({0.1: (0.0, 0.4), 1.0: (0.0, 0.3), 10.0: (0.0, 0.2)}, 10.0),
    ],
)
def test_the_weight_is_the_one_caught_least_among_those_that_succeed(monkeypatch, found, chosen):
    monkeypatch.setattr(adaptive, "trial", lambda lab, penalty, progress: found[penalty.weight])
    assert adaptive.choose(None, HFC(), tuple(found), 0.05) == chosen


def test_the_weight_of_each_row_is_the_chosen_one(folder):
    lab, rows, *_ = found_in(folder)
    for name in ("HFC", *RIVALS):
        own = {row["weight"] for row in rows if row["penalty"] == name}
        assert own == {adaptive.choose(lab, adaptive.CARRIED[name], (0.5, 5.0), SETTINGS.slack)}


def test_nothing_is_made_twice_and_all_is_found_again(folder):
    lab, rows, *_ = found_in(folder)
    assert max(lab.made.values()) == 1
    # PGD, two weights of each of five penalties, and the orthogonal projection.
    assert sum(what.startswith("attack ") for what in lab.made) == 1 + 2 * 5 + 1
    again = bundled(folder)
    assert adaptive.run(again, SETTINGS) == rows
    assert not [what for what in again.made if what.startswith(("attack", "scores", "weight", "detectors", "penalty"))]


def test_an_interrupted_study_goes_on_where_it_stopped(tmp_path):
    class Stop(Exception):
        pass

    few = Adaptive(penalties=("HFC", "random"), weights=("1",))

    def until_random(fraction, what):
        assert 0 <= fraction <= 1
        if what.startswith("PGD+random"):
            raise Stop

    first = bundled(tmp_path)
    with pytest.raises(Stop):
        adaptive.run(first, few, None, until_random)
    assert sum(what.startswith("attack ") for what in first.made) == 3  # the third had begun
    second = bundled(tmp_path)
    adaptive.run(second, few)
    assert sum(what.startswith("attack ") for what in second.made) == 1


def test_volumes_are_studied_by_the_same_line(tmp_path):
    lab, few = bundled(tmp_path, 3), Adaptive(penalties=("HFC", "KDE", "orthogonal"), weights=("1",))
    adaptive.check(lab, few)
    steps = []
    rows = adaptive.run(lab, few, None, lambda fraction, what: steps.append(fraction))
    told, untold = adaptive.shows(rows), adaptive.shows_not(rows)
    assert {row["penalty"] for row in rows} == {"none", "HFC", "KDE", "orthogonal"}
    assert steps == sorted(steps) and steps[-1] == pytest.approx(1)
    assert told.endswith(".") and "two backward passes" in untold


def made_up(values):
    """Rows from {penalty: {detector: (AUC, TPR@90)}}, all reaching their target."""
    return [
        {"penalty": penalty, "weight": None if penalty == "none" else 1.0, "backward_passes": 1, "detector": detector}
        | {"success": 0.9, "success_low": 0.8, "success_high": 1.0, "attacked": 100, "n": 30}
        | {"mean_tpr90": float(np.mean([tpr for _, tpr in line.values()]))}
        | {"auc": auc, "auc_low": auc - 0.1, "auc_high": auc + 0.1, "two_sided": max(auc, 1 - auc)}
        | {"tpr90": tpr, "tpr90_low": tpr - 0.05, "tpr90_high": tpr + 0.05}
        for penalty, line in values.items()
        for detector, (auc, tpr) in line.items()
    ]


ROWS = made_up(
    {
        "none": {"KD": (0.0, 0.0), "SVM": (1.0, 1.0), "DNN": (0.9, 0.9)},
        "HFC": {"KD": (0.1, 0.2), "SVM": (0.4, 0.3), "DNN": (0.5, 0.1)},
        "random": {"KD": (0.6, 0.2), "SVM": (0.3, 0.4), "DNN": (0.7, 0.4)},
    }
)


def test_the_sentence_counts_where_hfc_is_lowest_whatever_is_true():
    told = adaptive.shows(ROWS)
    # PGD carries no penalty: it does not compete.
    assert "Detectors catch PGD+HFC least, 20% of its scans on average (mean TPR@90 of 3 detectors)" in told
    assert "against 33% of PGD+random and 63% of PGD alone (target reached in 90%, 90% and 90%)" in told
    assert "HFC alone has the lowest TPR@90 on 2 of them" in told  # SVM and DNN; KD's is shared
    assert "and the lowest two-sided AUC on 2." in told  # SVM and DNN
    turned = [row | {"penalty": {"HFC": "random", "random": "HFC"}.get(row["penalty"], "none")} for row in ROWS]
    assert "Detectors catch PGD+random least, 20%" in adaptive.shows(turned)
    assert "against 33% of PGD+HFC and 63% of PGD alone" in adaptive.shows(turned)
    assert "the lowest TPR@90 on 0 of them" in adaptive.shows(turned)
    assert "3 of 9 AUCs lie surely below 0.5" in adaptive.shows_not(
        ROWS
    )  # 0.0, 0.1 and 0.3: of 0.4 the interval reaches 0.5


def test_the_figure_shows_auc_by_penalty_and_detector_with_success_in_a_panel_of_its_own():
    success, auc = adaptive.draw(ROWS).data
    assert list(auc.y) == list(success.y) == ["PGD", "PGD+HFC", "PGD+random"]
    assert list(auc.x) == ["KD", "SVM", "DNN"]
    assert [list(line) for line in auc.z] == [[0.0, 1.0, 0.9], [0.1, 0.4, 0.5], [0.6, 0.3, 0.7]]
    assert [line[0] for line in success.z] == [0.9] * 3
    assert "TPR@90 0.30 (0.25 to 0.35)" in auc.hovertext[1][1] and "weight 1" in auc.hovertext[1][1]
    assert (success.colorbar.title.text, auc.colorbar.title.text) == ("share", "AUC")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"penalties": ("HFC", "magic")}, r"Adaptive.penalties must be among HFC, random, .*; got magic"),
        ({"penalties": ("HFC",)}, r"must be HFC and a rival; got HFC"),
        ({"penalties": ("KDE", "LID")}, r"must be HFC and a rival; got KDE, LID"),
        ({"weights": ()}, r"Adaptive.weights must have one weight or more; got none"),
        ({"weights": ("0",)}, r"Adaptive.weights must be numbers between 1e-06 and 1000; got '0'"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_work(tmp_path, changes, text):
    lab = bundled(tmp_path)
    with pytest.raises(InputError, match=text):
        adaptive.check(lab, SETTINGS.replace(**changes))
    assert not lab.made
