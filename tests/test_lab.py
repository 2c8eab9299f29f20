"""The laboratory that studies share: nothing is made twice, what is interrupted goes on, and its numbers are the protocol's."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import ATTACK, CONSTRAINT, case, one_thread  # noqa: F401
from torch import nn

from hfcviz.cohort import compare
from hfcviz.jobs import Cancelled
from hfcviz.penalties import HFC
from hfcviz.settings import InputError
from hfcviz.store import Store
from hfcviz.studies import lab as module
from hfcviz.studies.lab import Lab
from hfcviz.studies.pieces import Budget

BUDGET = Budget(scans=1000, eps=ATTACK.eps, steps=ATTACK.steps)
"""All scans that are classified correctly, as in the cohort of `case`."""


def lab_of(store: Store, dims: int = 2, budget: Budget = BUDGET) -> Lab:
    return Lab(case(dims).classifier, case(dims).dataset, budget, store)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def everything(lab: Lab) -> dict[str, np.ndarray]:
    """What a study may ask for, each piece twice and in two orders."""
    attack, found = lab.budget.attack, {}
    for _ in range(2):
        for penalty in (CONSTRAINT, None):
            name = "hidden" if penalty else "attack"
            version = lab.version(attack, penalty)
            found |= {f"{name} {layer}": z for layer, z in version.seen.layers.items()} | {f"{name} linf": version.linf}
            for detector, (negatives, attacked) in lab.scores(attack, attack, penalty).items():
                found |= {f"{detector} negatives": negatives, f"{detector} {name}": attacked}
        found["images"] = lab.images(attack, CONSTRAINT).numpy()
        found["noise"] = lab.noise(attack.eps).linf
    return found


def test_nothing_is_made_twice_and_a_second_lab_on_the_same_store_attacks_no_more(tmp_path, monkeypatch):
    first = lab_of(Store(tmp_path))
    found = everything(first)
    assert set(first.made.values()) == {1}
    store = Store(tmp_path)
    second = lab_of(store)
    monkeypatch.setattr(module, "run", lambda *rest, **named: pytest.fail("an attack was made again"))
    monkeypatch.setattr(module, "extract", lambda *rest, **named: pytest.fail("features were made again"))
    again = everything(second)
    kinds = {name.split(" ")[0] for name in second.made}
    assert kinds <= {"chosen"} and store.misses == 0 and store.hits > 5
    assert again.keys() == found.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)


def test_where_the_store_cannot_be_written_all_is_made_once_and_equal(tmp_path, monkeypatch):
    attacks, attacked = [], module.run
    monkeypatch.setattr(module, "run", lambda *given, **more: attacks.append(given) or attacked(*given, **more))
    (tmp_path / "file").write_text("no folder can be made below a file")
    budget = Budget(scans=20, eps=4 / 255, steps=2)
    lost, kept = (lab_of(Store(tmp_path / place), budget=budget) for place in ("file/store", "store"))
    for lab in (lost, kept):
        lab.images(budget.attack, CONSTRAINT)  # first, as studies do that need them
    found, wanted = everything(lost), everything(kept)
    assert found.keys() == wanted.keys() and not lost.store.hits
    assert len(attacks) == 2 * 2, "PGD and PGD+HFC, once in each laboratory"
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert max(lost.made.values()) == 1


@pytest.mark.parametrize("change", ["eps", "steps", "seed", "scans"])
def test_another_budget_shares_no_attack(tmp_path, change):
    budget = Budget(scans=20, eps=4 / 255, steps=2)
    other = budget.replace(**{change: {"eps": 5 / 255, "steps": 3, "seed": 1, "scans": 21}[change]})
    one, two = lab_of(Store(tmp_path), budget=budget), lab_of(Store(tmp_path), budget=other)
    a, b = one.version(one.budget.attack), two.version(two.budget.attack)
    assert sum(name.startswith("attack ") for name in two.made) == 1
    assert len(a.linf) == one.budget.scans and len(b.linf) == two.budget.scans
    last = case().classifier.layer_names[-1]
    assert not np.array_equal(a.seen.layers[last][:20], b.seen.layers[last][:20])


def test_another_network_or_other_images_share_nothing(tmp_path):
    store, c = Store(tmp_path), case()
    names = {lab_of(store).base}
    split = c.dataset.splits["test"]
    brighter = split.x.copy()
    brighter[0, 0, 0] ^= 1
    changed = replace(c.dataset, splits=dict(c.dataset.splits) | {"test": replace(split, x=brighter)})
    names.add(Lab(c.classifier, changed, BUDGET, store).base)
    weaker = replace(c.classifier, mean=c.classifier.mean + 0.01)
    names.add(Lab(weaker, c.dataset, BUDGET, store).base)
    assert len(names) == 3


def test_what_is_interrupted_goes_on_with_what_was_finished(tmp_path):
    budget = Budget(scans=20, eps=4 / 255, steps=3)
    whole = everything(lab_of(Store(tmp_path / "whole"), budget=budget))
    halted = lab_of(Store(tmp_path / "halves"), budget=budget)
    halted.version(budget.attack)
    calls = []

    def stop(fraction: float, what: str) -> None:
        calls.append(what)
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        halted.version(budget.attack, CONSTRAINT, progress=stop)
    resumed = lab_of(Store(tmp_path / "halves"), budget=budget)
    found = everything(resumed)
    assert sum(name.startswith("attack ") for name in resumed.made) == 1, "the one that was interrupted"
    for name, values in whole.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_the_same_lab_goes_on_after_an_interruption_too(tmp_path):
    lab = lab_of(Store(tmp_path), budget=Budget(scans=20, eps=4 / 255, steps=3))

    def stop(fraction: float, what: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        lab.scores(lab.budget.attack, lab.budget.attack, CONSTRAINT, progress=stop)
    found = lab.scores(lab.budget.attack, lab.budget.attack, CONSTRAINT)
    other = lab_of(Store(tmp_path / "other"), budget=lab.budget)
    for name, (_, attacked) in other.scores(lab.budget.attack, lab.budget.attack, CONSTRAINT).items():
        np.testing.assert_array_equal(found[name][1], attacked)


def test_detectors_never_see_the_scans_that_judge(store, monkeypatch):
    seen = []
    real = module.fit_detectors
    monkeypatch.setattr(
        module,
        "fit_detectors",
        lambda training, *rest, **named: seen.append(training) or real(training, *rest, **named),
    )
    lab = lab_of(store)
    lab.detectors(lab.budget.attack)
    (training,) = seen
    chosen, attack = lab.chosen(), lab.version(lab.budget.attack).seen
    judges, trains = np.flatnonzero(~chosen.trains), np.flatnonzero(chosen.trains)
    assert len(judges) and len(trains)
    last = lab.classifier.layer_names[-1]

    def rows(z: np.ndarray) -> set[bytes]:
        return {row.tobytes() for row in z}

    assert rows(training.adversarial.layers[last]) == rows(attack.layers[last][trains])
    for role in (chosen.clean, attack, lab.noise(lab.budget.eps).seen):
        for part in (training.adversarial, training.negatives):
            assert not rows(role.layers[last][judges]) & rows(part.layers[last])


@pytest.mark.parametrize("dims", [2, 3])
def test_its_numbers_are_those_of_the_cohort_of_the_same_scans(dims, tmp_path):
    lab, cohort = lab_of(Store(tmp_path), dims), case(dims).reference
    assert lab.budget.attack == ATTACK, "the cohort was attacked with this"
    rows = {(row["detector"], row["role"]): row["auc"] for row in compare(cohort)}
    chosen = lab.chosen()
    assert [lab.dataset.splits["test"].ids[row] for row in chosen.rows] == list(cohort.ids)
    np.testing.assert_array_equal(chosen.trains, cohort.trains)
    np.testing.assert_array_equal(chosen.targets, cohort.targets)
    for role, penalty in (("attack", None), ("hidden", CONSTRAINT)):
        for name, (negatives, attacked) in lab.scores(ATTACK, ATTACK, penalty).items():
            pairs = (attacked[:, None] > negatives).mean() + (attacked[:, None] == negatives).mean() / 2
            assert pairs == pytest.approx(rows[name, role], abs=1e-9), (name, role)
        version = lab.version(ATTACK, penalty)
        np.testing.assert_array_equal(lab.success(version), cohort.cohort[role].predicted == cohort.targets)
        np.testing.assert_allclose(version.linf, cohort.linf[role], atol=1e-7)


def test_mixtures_are_fitted_once_for_all_weights_and_layers_and_are_those_of_a_direct_fit(store):
    lab, names = lab_of(store), case().classifier.layer_names
    settings = [HFC(weight=w, layers=layers) for w in (0.5, 2.0) for layers in ((), names[:1], names[1:])]
    found = [lab.fitted(one) for one in settings]
    assert sum(name.startswith("penalty ") for name in lab.made) == 1
    assert lab.fitted(HFC(components=2)) is not None
    assert sum(name.startswith("penalty ") for name in lab.made) == 2, "other mixtures are others"
    for one, fitted in zip(settings, found, strict=True):
        direct = one.fit(lab.features("train"), lab.labels, seed=lab.budget.seed)
        assert fitted.settings == one and list(fitted.mixtures) == list(direct.mixtures) == list(one.layers or names)
        for layer, of_class in direct.mixtures.items():
            z = torch.from_numpy(lab.features("train").layers[layer][:7])
            for ours, theirs in zip(fitted.mixtures[layer], of_class, strict=True):
                np.testing.assert_array_equal(ours.log_prob(z), theirs.log_prob(z))


def test_images_are_those_whose_features_were_taken_whichever_is_asked_first(tmp_path):
    budget = Budget(scans=20, eps=4 / 255, steps=2)
    after, before = lab_of(Store(tmp_path / "a"), budget=budget), lab_of(Store(tmp_path / "b"), budget=budget)
    version, later = after.version(budget.attack), after.images(budget.attack)
    earlier, same = before.images(budget.attack), before.version(budget.attack)
    np.testing.assert_array_equal(later, earlier)
    np.testing.assert_array_equal(version.linf, same.linf)
    change = (earlier - before.chosen().x).abs().flatten(1).amax(1).numpy()
    np.testing.assert_array_equal(change, version.linf)
    assert change.max() <= 4 / 255 + 1e-6 and change.max() > 2 / 255


def test_without_dropout_there_is_no_bu_and_all_else_works(tmp_path):
    c = case()
    assert "BU" in lab_of(Store(tmp_path / "with")).detector_names()
    net = copy.deepcopy(c.classifier.net)
    for module_ in net.modules():
        if isinstance(module_, nn.Dropout):
            module_.p = 0.0
    lab = Lab(replace(c.classifier, net=net), c.dataset, Budget(scans=20, eps=4 / 255, steps=1), Store(tmp_path))
    found = lab.scores(lab.budget.attack, lab.budget.attack)
    assert "BU" not in found and set(found) == set(lab.detector_names()) and len(found) > 3


def test_few_correct_scans_are_refused_with_their_number(tmp_path):
    c = case()
    split = c.dataset.splits["test"]
    seen = c.classifier(torch.from_numpy(split.images(slice(None)))).argmax(1).numpy()
    wrong = replace(split, y=np.where(np.arange(len(seen)) < 19, seen, (seen + 1) % 3))
    lab = Lab(
        c.classifier, replace(c.dataset, splits=dict(c.dataset.splits) | {"test": wrong}), BUDGET, Store(tmp_path)
    )
    with pytest.raises(InputError, match=r"at least 20 correctly classified test scans; .* gets 19 of 70 right"):
        lab.chosen()
