"""The protocol: equal budget, nothing leaks into the test part, an interrupted run equals an uninterrupted one."""

import json
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import case, one_thread  # noqa: F401

from hfcviz import cells
from hfcviz import protocol as protocols
from hfcviz.attacks import run, uniform_noise
from hfcviz.datasets import Dataset, Split
from hfcviz.detection import fit_detectors
from hfcviz.evaluation import KEPT, all_rows, evaluate, judged_cohort, one_cohort
from hfcviz.ledger import claim, write_text
from hfcviz.metrics import roc
from hfcviz.penalties import HFC
from hfcviz.protocol import Protocol, Task
from hfcviz.reference import scan_seeds
from hfcviz.settings import InputError

PROTOCOL = Protocol(
    ("PGD", "FGSM"), ("none", "HFC"), (8 / 255, 16 / 255), limit=40, steps=4, constraint=HFC(weight=2.0)
)
both_ranks = pytest.mark.parametrize("dims", [2, 3], ids=["2-D", "3-D"])


def rows_of(folder, protocol=PROTOCOL, dims=2, **changes):
    one = case(dims)
    dataset = replace(one.dataset, **changes)
    return [row for found in evaluate(Task(one.classifier, dataset, protocol, folder)) for row in found]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An evaluation: its folder and rows, every attack that was run and every training that detectors got."""
    case(2)  # made here, so that its own training is not watched
    attacks, trainings, folder = [], [], tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "run", lambda *a, **k: attacks.append((a, k, run(*a, **k))) or attacks[-1][2])
        patch.setattr(
            "hfcviz.reference.fit_detectors", lambda t, *a, **k: trainings.append(t) or fit_detectors(t, *a, **k)
        )
        rows = rows_of(folder)
    return folder, rows, attacks, trainings


@pytest.fixture(scope="module")
def done(finished):
    return finished[:2]


@pytest.fixture(scope="module")
def watched(finished):
    return finished[2:]


def test_there_is_a_row_for_each_attack_penalty_eps_and_detector(done):
    _, rows = done
    keys = [(row["eps_255"], row["attack"], row["detector"], row["penalty"]) for row in rows]
    detectors = list(case().reference.detectors())
    assert len(set(keys)) == len(keys)
    assert set(keys) == {
        (eps, attack, name, penalty)
        for eps in (8, 16)
        for attack in ("PGD", "FGSM")
        for name in detectors
        for penalty in ("none", "HFC")
    }


def test_numbers_are_within_their_ranges_and_their_intervals(done):
    for row in done[1]:
        for name in ("auc", "tpr90"):
            assert 0 <= row[f"{name}_low"] <= row[f"{name}_high"] <= 1
            assert row[f"{name}_low"] - 0.05 <= row[name] <= row[f"{name}_high"] + 0.05
        assert row["two_sided"] == max(row["auc"], 1 - row["auc"])
        assert (row["attacked"], row["n"], row["negatives"]) == (40, 12, 24)
        assert row["linf_255"] == pytest.approx(row["eps_255"], abs=1e-3), "some pixel uses the whole budget"
        assert set(row["layers"]) == (set() if "BU" in row["detector"] else set(case().classifier.layer_names))


@both_ranks
def test_with_and_without_the_constraint_the_budget_is_the_same(tmp_path, dims, monkeypatch):
    seen = []
    monkeypatch.setattr(cells, "run", lambda *a, **k: seen.append((a, k)) or run(*a, **k))
    rows_of(tmp_path, replace(PROTOCOL, attacks=("PGD",), eps=(8 / 255,)), dims)
    plain = [(a, k) for a, k in seen if k["penalty"] is None]
    bound = [(a, k) for a, k in seen if k["penalty"] is not None]
    assert len(plain) == len(bound) == 2, "40 images are two batches"
    for (one, k1), (other, k2) in zip(plain, bound, strict=True):
        assert one[0] == other[0] and k1["seeds"] == k2["seeds"]
        assert torch.equal(one[2], other[2]) and torch.equal(one[3], other[3])


@both_ranks
def test_a_cell_holds_what_one_attack_on_all_images_at_once_gives(tmp_path, dims):
    one, protocol = case(dims), replace(PROTOCOL, attacks=("PGD",), eps=(8 / 255,))
    cohort = one_cohort(Task(one.classifier, one.dataset, protocol, tmp_path))
    rows = [one.test.ids.index(name) for name in cohort.ids]
    x, targets = torch.from_numpy(one.test.images(rows)), torch.from_numpy(cohort.targets)
    noise = (x + uniform_noise(x.shape[1:], 8 / 255, scan_seeds(0, len(rows)))).clamp(0, 1)
    expected = one.classifier.features(noise)[1]["block3"].detach().numpy()
    np.testing.assert_allclose(cohort.cohort["noise"].layers["block3"], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(cohort.linf["noise"], (noise - x).abs().flatten(1).amax(1), rtol=1e-4)
    carried = protocol.constraint.fit(cohort.train, cohort.train_labels)
    for role, penalty in (("attack", None), ("hidden", carried)):
        attack = protocol.attack("PGD", 8 / 255)
        found = run(attack, one.classifier, x, targets, penalty=penalty, seeds=scan_seeds(0, len(rows)))
        expected = one.classifier.features(found)[1]["block3"].detach().numpy()
        np.testing.assert_allclose(cohort.cohort[role].layers["block3"], expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(cohort.linf[role], (found - x).abs().flatten(1).amax(1), rtol=1e-4)


def test_no_scan_trains_the_detectors_that_judge_it(watched):
    _, trainings = watched
    assert len(trainings) == 4
    for training in trainings:
        for part, share in ((training.negatives, 56), (training.adversarial, 28)):
            assert len(part) == share
    one = case()
    test = {tuple(z) for z in one.reference.cohort["clean"].layers["block3"].round(5).tolist()}
    clean = {tuple(z) for z in trainings[0].negatives.layers["block3"][:28].round(5).tolist()}
    assert len(test & clean) == 28, "of 40 scans, 28 train"
    seen = {tuple(z) for z in trainings[0].clean.layers["block3"].round(5).tolist()}
    assert not seen & test


def test_detectors_never_see_the_constrained_attack(watched):
    attacks, trainings = watched
    last = [(k, found) for a, k, found in attacks if k["penalty"] is not None]
    assert last
    adversarial = {tuple(z) for t in trainings for z in t.adversarial.layers["block3"].round(5).tolist()}
    for _, found in last:
        features = case().classifier.features(found)[1]["block3"].numpy().round(5)
        assert not adversarial & {tuple(z) for z in features.tolist()}


def test_a_planted_leak_is_visible(tmp_path):
    """Detectors trained on the very samples that they judge do better: what the split protects from."""
    one = case()
    protocol = replace(PROTOCOL, attacks=("PGD",), eps=(8 / 255,))
    rows_of(tmp_path, protocol)
    reference = one_cohort(Task(one.classifier, one.dataset, protocol, tmp_path))
    leaking = replace(reference, trains=~reference.trains)

    def auc(judge):
        part = {role: reference.part(role, trains=False) for role in reference.cohort}
        scores = {role: judge.detectors(("SVM",))["SVM"].score(a) for role, a in part.items()}
        return roc(np.concatenate([scores["clean"], scores["noise"]]), scores["attack"]).auc

    assert auc(leaking) > auc(reference) + 0.05


def test_an_interrupted_evaluation_goes_on_and_ends_the_same(tmp_path, done, monkeypatch):
    whole, rows = done
    calls = []

    def breaking(*a, **k):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return run(*a, **k)

    monkeypatch.setattr(cells, "run", breaking)
    with pytest.raises(KeyboardInterrupt):
        rows_of(tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    before = len(calls)
    assert rows_of(tmp_path) == rows
    batches = 2 * 2 * 2 * 2  # attacks, eps, penalties and batches
    assert len(calls) - before < batches, "what was finished is not done again"
    for path in (whole / "cells").iterdir():
        assert (tmp_path / "cells" / path.name).read_bytes() == path.read_bytes()


def test_more_attacks_later_leave_what_is_there(tmp_path):
    small = replace(PROTOCOL, attacks=("PGD",), eps=(8 / 255,))
    first = rows_of(tmp_path, small)
    more = rows_of(tmp_path, replace(small, attacks=("PGD", "BIM")))
    assert more[: len(first)] == first and {row["attack"] for row in more} == {"PGD", "BIM"}


def test_memory_follows_the_batch_since_no_attack_sees_more_than_one(watched):
    assert max(len(a[2]) for a, _, _ in watched[0]) == cells.BATCH


def test_the_chosen_images_are_drawn_by_chance_from_all_classes(done):
    folder, _ = done
    with np.load(folder / "cells" / "clean.npz") as archive:
        rows = archive["rows"]
    assert len(rows) == 40 and (np.diff(rows) > 0).all()
    assert not np.array_equal(rows, np.arange(40))


# What cannot be used


def short(dataset: Dataset, part: str, keep: np.ndarray) -> dict:
    split = dataset.splits[part]
    rows = np.flatnonzero(keep)
    changed = Split(split.x[rows], split.y[rows], tuple(split.ids[row] for row in rows))
    return {"splits": {**dataset.splits, part: changed}}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"attacks": ("XYZ",)}, "must be one of PGD, .*; got XYZ"),
        ({"penalties": ()}, "must be one of none, HFC; got none"),
        ({"eps": (0.0,)}, "eps must be above 0 and at most 255/255; got 0"),
        ({"limit": 5}, "limit must be at least 20 images.*; got 5"),
        ({"constraint": HFC(components=200)}, "K must be smaller than the training images of each class; got 200 for"),
    ],
)
def test_a_protocol_that_cannot_be_done_is_refused_before_anything_is_written(tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence):
        rows_of(tmp_path / "out", replace(PROTOCOL, **change))
    assert not (tmp_path / "out").exists()


def test_a_set_that_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    one, out = case(), tmp_path / "out"
    data = one.dataset
    y = data.splits["train"].y
    with pytest.raises(InputError, match="train part of random must hold images of every class; it has none of b"):
        rows_of(out, **short(data, "train", y != 1))
    with pytest.raises(InputError, match="must have the parts train, val and test; it lacks val"):
        rows_of(out, splits={name: split for name, split in data.splits.items() if name != "val"})
    with pytest.raises(InputError, match=r"must know the classes of random \(x, y, z\), but knows a, b, c"):
        rows_of(out, class_names=("x", "y", "z"))
    with pytest.raises(InputError, match="must know the classes"):
        rows_of(out, class_names=("a", "b"))
    assert not out.exists()
    with pytest.raises(InputError, match=r"at least 20 correctly classified test images; .* gets 12 of 12 right"):
        rows_of(out, **short(data, "test", np.arange(len(data.splits["test"])) >= 58))


def test_numbered_classes_fit_any_model_with_as_many(tmp_path):
    protocol = replace(PROTOCOL, attacks=("FGSM",), eps=(8 / 255,))
    assert rows_of(tmp_path, protocol, class_names=("class 0", "class 1", "class 2"))


def test_a_folder_of_another_evaluation_is_left_alone(tmp_path, done):
    folder, _ = done
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    with pytest.raises(InputError, match="holds an evaluation with another protocol"):
        rows_of(folder, replace(PROTOCOL, seed=1))
    with pytest.raises(InputError, match="another dataset and model"):
        rows_of(folder, dims=3)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def test_damaged_files_are_named(tmp_path, done):
    protocol = replace(PROTOCOL, attacks=("FGSM",), eps=(8 / 255,))
    rows = rows_of(tmp_path, protocol)
    finished = next((tmp_path / "judged").iterdir())
    finished.write_text("{half")
    with pytest.raises(InputError, match=r"FGSM 8\.npz is not readable .* remove it and make it again"):
        rows_of(tmp_path, protocol)
    finished.unlink()
    cell = tmp_path / "cells" / "FGSM HFC 8.npz"
    cell.write_bytes(cell.read_bytes()[:500])
    with pytest.raises(InputError, match=r"FGSM HFC 8\.npz is not readable"):
        rows_of(tmp_path, protocol)
    cell.unlink()
    assert rows_of(tmp_path, protocol) == rows
    (tmp_path / "recipe.json").write_text("[1")
    with pytest.raises(InputError, match=r"recipe\.json is damaged"):
        claim(tmp_path, {"protocol": 1})


def test_the_recipe_says_what_was_evaluated(done):
    recipe = json.loads((done[0] / "recipe.json").read_text())
    assert recipe["model"]["sha256"] == case().classifier.digest
    assert recipe["protocol"]["seed"] == 0 and recipe["protocol"]["constraint"]["weight"] == 2.0


def test_a_patients_images_do_not_train_and_judge(tmp_path):
    one = case()
    split = one.test
    ids = tuple(f"test/x/person{row // 3}_scan_{row}.png" for row in range(len(split)))
    dataset = replace(one.dataset, splits={**one.dataset.splits, "test": Split(split.x, split.y, ids)})
    protocol = replace(PROTOCOL, attacks=("FGSM",), limit=None)
    cohort = one_cohort(Task(one.classifier, dataset, protocol, tmp_path))
    where: dict[str, set[bool]] = {}
    for name, trains in zip(cohort.ids, cohort.trains, strict=True):
        where.setdefault(name.split("_")[0], set()).add(bool(trains))
    assert len(where) > 20 and all(len(found) == 1 for found in where.values())
    assert cohort.trains.mean() == pytest.approx(0.7, abs=0.05)


def test_a_cohort_of_few_patients_is_split_by_patient_all_the_same(tmp_path):
    one = case()
    split = one.test
    ids = tuple(f"test/x/person{row // 3}_scan_{row}.png" for row in range(len(split)))
    dataset = replace(one.dataset, splits={**one.dataset.splits, "test": Split(split.x, split.y, ids)})
    together = 0
    for seed in range(4):
        protocol = replace(PROTOCOL, attacks=("FGSM",), limit=20, seed=seed, penalties=("none",))
        cohort = one_cohort(Task(one.classifier, dataset, protocol, tmp_path / str(seed)))
        where: dict[str, set[bool]] = {}
        for name, trains in zip(cohort.ids, cohort.trains, strict=True):
            where.setdefault(name.split("_")[0], set()).add(bool(trains))
        assert all(len(found) == 1 for found in where.values())
        together += len(where) < 20
    assert together, "else nothing was tested"


def test_rows_of_several_commands_in_a_folder_are_all_there_once(tmp_path):
    small = replace(PROTOCOL, attacks=("PGD",), eps=(8 / 255,))
    first = rows_of(tmp_path, small)
    second = rows_of(tmp_path, replace(small, attacks=("FGSM",)))
    assert {row["penalty"] for row in rows_of(tmp_path, replace(small, penalties=("none",)))} == {"none"}
    assert {row["penalty"] for row in rows_of(tmp_path, replace(small, penalties=("HFC",)))} == {"HFC"}

    def ordered(rows):
        return sorted(rows, key=lambda row: (row["attack"], row["detector"], row["penalty"]))

    assert ordered(all_rows(tmp_path)) == ordered([*first, *second])


def test_other_versions_or_attack_settings_make_another_evaluation(tmp_path, monkeypatch):
    protocol = replace(PROTOCOL, attacks=("FGSM",), eps=(8 / 255,))
    rows_of(tmp_path, protocol)
    with monkeypatch.context() as patch:
        patch.setitem(protocols.ATTACKS, "TIM", protocols.ATTACKS["TIM"].replace(smoothing=5.0))
        with pytest.raises(InputError, match="another attacks"):
            rows_of(tmp_path, protocol)
    monkeypatch.setattr(protocols, "version", lambda package: "0")
    with pytest.raises(InputError, match="another versions"):
        rows_of(tmp_path, protocol)


def test_texts_are_whole_whoever_writes_them(tmp_path):
    path, wrong = tmp_path / "text", []

    def write(letter: str) -> None:
        for _ in range(60):
            write_text(path, letter * 5000)
            if len(set(path.read_text())) != 1:
                wrong.append(letter)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and [one.name for one in tmp_path.iterdir()] == ["text"]


def test_a_set_too_small_for_the_detectors_is_refused_before_any_attack(tmp_path):
    data = case().dataset
    few = np.zeros(len(data.splits["train"]), dtype=bool)
    for label in range(3):
        few[np.flatnonzero(data.splits["train"].y == label)[:6]] = True
    with pytest.raises(InputError, match=r"more than 20 in all \(LID's k\); it holds 18"):
        rows_of(tmp_path / "out", **short(data, "train", few))
    assert not (tmp_path / "out").exists()


ONE = replace(PROTOCOL, attacks=("FGSM",), eps=(8 / 255,), limit=20)


def test_a_judged_cohort_is_kept_to_the_last_bit_and_is_what_the_detectors_say(tmp_path, monkeypatch):
    one = case()
    cohort = one_cohort(Task(one.classifier, one.dataset, ONE, tmp_path / "apart"))
    first = judged_cohort(one.classifier, one.dataset, ONE, tmp_path / "base")
    for name, detector in cohort.detectors().items():
        np.testing.assert_allclose(first.scores[name]["hidden"], detector.score(cohort.part("hidden", trains=False)))
    np.testing.assert_allclose(
        first.features["hidden"]["block3"], cohort.part("hidden", trains=False).layers["block3"], rtol=1e-3, atol=1e-3
    )
    monkeypatch.setattr(cells, "run", lambda *a, **k: pytest.fail("attacked again"))
    monkeypatch.setattr("hfcviz.reference.fit_detectors", lambda *a, **k: pytest.fail("trained again"))
    again = judged_cohort(one.classifier, one.dataset, ONE, tmp_path / "base")
    for role, by_layer in first.features.items():
        for name, values in by_layer.items():
            assert np.array_equal(values, again.features[role][name])
    assert all(np.array_equal(view.xy, again.views[layer].xy) for layer, view in first.views.items())
    assert first.rows == again.rows and first.recipe == again.recipe


def test_only_the_newest_judged_cohorts_stay_on_disk(tmp_path, monkeypatch):
    one = case()
    for number in range(KEPT + 2):
        (tmp_path / f"old {number}").mkdir()
        os.utime(tmp_path / f"old {number}", (number, number))
    judged_cohort(one.classifier, one.dataset, ONE, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == KEPT and {f"old {number}" for number in range(3, KEPT + 2)} < names


def test_a_cohort_is_judged_where_nothing_can_be_kept(tmp_path):
    one = case()
    (tmp_path / "base").write_text("a file in the way")
    found = judged_cohort(one.classifier, one.dataset, ONE, tmp_path / "base")
    assert found.overall["attack"]["attacked"] == 20 and (tmp_path / "base").is_file()


def test_a_cohort_that_cannot_be_judged_leaves_no_folder(tmp_path):
    one = case()
    with pytest.raises(InputError, match="limit must be at least 20"):
        judged_cohort(one.classifier, one.dataset, replace(ONE, limit=5), tmp_path / "base")
    assert not (tmp_path / "base").exists()
