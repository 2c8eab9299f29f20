"""The cohort: who is in it, that its rows belong together, what detectors may see of it, and the figures made from it."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from bundles import ATTACK, CONSTRAINT, MISLABELLED, case, one_thread  # noqa: F401
from networks import images, linear
from sklearn.metrics import roc_auc_score

from hfcviz import metrics
from hfcviz import reference as module
from hfcviz.activations import Activations, extract
from hfcviz.attacks import ATTACKS, run
from hfcviz.cohort import compare, overall
from hfcviz.datasets import Dataset, Split
from hfcviz.experiment import run_experiment
from hfcviz.outcome import Plan, save_outcome
from hfcviz.penalties import HFC, FittedHFC
from hfcviz.reference import (
    build_reference,
    like_cohort,
    load_reference,
    save_reference,
    scan_seeds,
)
from hfcviz.settings import InputError

both_ranks = pytest.mark.parametrize("dims", [2, 3], ids=["2-D", "3-D"])


@pytest.fixture(scope="module")
def watched():
    """The 2-D cohort once more, with every attack that was run, every batch that was looked at and every progress report."""
    attacks, looks, heard = [], [], []

    def run_and_note(attack, classifier, x, target, **rest):
        attacks.append({"attack": attack, "x": x, "target": target, **rest})
        return run(attack, classifier, x, target, **rest)

    def look_and_note(classifier, x, **rest):
        looks.append(np.asarray(x))
        return extract(classifier, x, **rest)

    def listen(fraction, what):
        heard.append(fraction)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run", run_and_note)
        patch.setattr(module, "extract", look_and_note)
        found = build_reference(case().classifier, case().dataset, "PGD", ATTACK, CONSTRAINT, seed=0, progress=listen)
    return found, attacks, looks, heard


def altered(reference, role, rows, seed=0):
    """The reference with other features and logits in these rows of a role."""
    rng, old = np.random.default_rng(seed), reference.cohort[role]

    def shifted(values, rows):
        values = values.copy()
        values[rows] += rng.normal(0, 3, values[rows].shape).astype(np.float32)
        return values

    layers = {name: shifted(z, rows) for name, z in old.layers.items()}
    new = Activations(shifted(old.logits, rows), layers, shifted(old.dropout, (slice(None), rows)))
    return replace(reference, cohort=reference.cohort | {role: new})


def judged_as(reference, **sources):
    """The reference with the judging rows of a role taken from another role: judged_as(r, attack="clean")."""
    cohort = dict(reference.cohort)
    for role, source in sources.items():
        mine, other, trains = reference.cohort[role], reference.cohort[source], reference.trains
        cohort[role] = Activations(
            np.where(trains[:, None], mine.logits, other.logits),
            {name: np.where(trains[:, None], z, other.layers[name]) for name, z in mine.layers.items()},
            np.where(trains[:, None], mine.dropout, other.dropout),
        )
    return replace(reference, cohort=cohort)


def verdicts(reference, probe):
    """All that people see of the detectors: thresholds, and scores of a probe."""
    found = {}
    for name, one in reference.detectors().items():
        found[name] = [one.threshold, one.calibration_scores.tolist(), one.score(probe).tolist(), one.layer_thresholds]
    return found


# Who is in it


@both_ranks
def test_exactly_the_test_scans_that_the_network_classifies_correctly_enter(dims):
    one = case(dims)
    with torch.no_grad():
        predicted = one.classifier(torch.from_numpy(one.test.x / np.float32(255))).argmax(1).numpy()
    right = [index for index in range(len(one.test)) if predicted[index] == one.test.y[index]]
    assert list(one.reference.ids) == [one.test.ids[index] for index in right]
    assert one.reference.labels.tolist() == one.test.y[right].tolist()
    assert not {one.test.ids[index] for index in MISLABELLED} & set(one.reference.ids)
    assert (one.reference.recipe["correct"], one.reference.recipe["test_scans"]) == (len(right), len(one.test))


@both_ranks
@pytest.mark.parametrize("role", ["clean", "noise", "attack", "hidden"])
def test_row_i_of_every_role_is_the_same_scan_attacked_alone(dims, role):
    one, r = case(dims), case(dims).reference
    seeds, eps = scan_seeds(0, len(r.ids)), ATTACK.eps
    for row in (0, 1, len(r.ids) // 2, len(r.ids) - 1):
        x = torch.from_numpy(one.image(row))[None]
        generator = torch.Generator().manual_seed(seeds[row])
        start = torch.rand(x.shape[1:], generator=generator) * 2 - 1
        target, penalty = torch.tensor([r.targets[row]]), r.constraint(CONSTRAINT) if role == "hidden" else None
        version = {
            "clean": lambda x=x: x,
            "noise": lambda x=x, start=start: (x + eps * start).clamp(0, 1),
        }.get(
            role, lambda x=x, t=target, p=penalty, s=seeds[row]: run(ATTACK, one.classifier, x, t, penalty=p, seeds=s)
        )
        logits, layers = one.classifier.features(version())
        # Rounding may turn the sign of a vanishing gradient, so attacks agree only nearly.
        close = {"rtol": 1e-3, "atol": 1e-3} if role in ("clean", "noise") else {"rtol": 0.02, "atol": 0.05}
        np.testing.assert_allclose(r.cohort[role].logits[row], logits[0], **close)
        for name, z in layers.items():
            np.testing.assert_allclose(r.cohort[role].layers[name][row], z[0], **close)


@both_ranks
def test_the_target_is_the_likeliest_class_but_the_true_one(dims):
    r = case(dims).reference
    for logits, label, target in zip(r.cohort["clean"].logits, r.labels, r.targets, strict=True):
        others = {logit: index for index, logit in enumerate(logits) if index != label}
        assert target == others[max(others)]


def test_a_cohort_of_fewer_than_twenty_scans_is_refused():
    one = case()
    test = replace(one.test, y=(one.test.y + 1) % 3)
    wrong = replace(one.dataset, splits=dict(one.dataset.splits) | {"test": test})
    with pytest.raises(InputError, match="at least 20 correctly classified test scans; got 0"):
        build_reference(one.classifier, wrong, "PGD", ATTACK, CONSTRAINT)


# How it is made


def test_the_same_seed_gives_the_same_cohort_to_the_last_bit(watched):
    again, r = watched[0], case().reference
    assert again.digest == r.digest
    assert np.array_equal(again.cohort["hidden"].logits, r.cohort["hidden"].logits)


def test_noise_fills_the_ball_of_the_attack_and_stays_in_it(watched):
    r, attacks, looks, _ = watched
    clean, noise = attacks[0]["x"].numpy(), looks[3]
    assert len(looks) == 6  # training, validation and test images; then noise, attack, hidden
    np.testing.assert_allclose(extract(case().classifier, noise).logits, r.cohort["noise"].logits, rtol=1e-4, atol=1e-4)
    change = np.abs(noise - clean).reshape(len(clean), -1)
    assert change.max() <= ATTACK.eps + 1e-6
    assert change.max(1).min() > 0.9 * ATTACK.eps
    assert noise.min() >= 0 and noise.max() <= 1
    assert len({row.tobytes() for row in noise - clean}) == len(clean)


def test_both_attacks_have_equal_scans_targets_settings_and_seeds(watched):
    plain, hidden = watched[1]
    assert plain["penalty"] is None
    assert hidden["penalty"] is not None
    for same in ("attack", "seeds"):
        assert plain[same] == hidden[same]
    for same in ("x", "target"):
        assert torch.equal(plain[same], hidden[same])
    assert plain["attack"] == ATTACK
    assert len(set(plain["seeds"])) == len(plain["x"])


def test_both_attacks_start_at_the_same_place(watched):
    starts = []
    for call in watched[1]:
        seen = {}

        def observe(rows, step, delta, *rest, seen=seen):
            if step == 0:
                seen[rows.start] = delta.clone()

        chosen = {"penalty": call["penalty"], "seeds": call["seeds"][:5]}
        run(ATTACK.replace(steps=1), case().classifier, call["x"][:5], call["target"][:5], observe=observe, **chosen)
        starts.append(seen[0])
    assert torch.equal(*starts)
    assert starts[0].abs().max() > 0.9 * ATTACK.eps


def test_the_recipe_tells_the_budget(watched):
    recipe = watched[0].recipe
    assert (recipe["attack"]["eps"], recipe["attack"]["steps"]) == (12 / 255, 12)
    assert recipe["attack"]["step_size"] == pytest.approx(2.5 / 255)
    assert recipe["penalty"]["weight"] == 2.0
    assert recipe["weights"] == case().classifier.digest


def test_progress_never_goes_back_and_ends_at_one(watched):
    heard = watched[3]
    assert heard == sorted(heard)
    assert heard[0] == 0
    assert heard[-1] == pytest.approx(1)
    assert max(heard) <= 1


def test_seeds_of_scans_differ_and_do_not_depend_on_how_many_there_are():
    assert scan_seeds(4, 9)[:5] == scan_seeds(4, 5)
    assert len(set(scan_seeds(4, 500)) | set(scan_seeds(5, 500))) == 1000


@both_ranks
def test_the_constrained_attack_lies_closer_to_the_clean_data_than_the_plain_one(dims):
    r = case(dims).reference
    mixture = r.detectors()["GMM"]
    surprise = {role: mixture.layer_scores(a) for role, a in r.cohort.items()}
    for layer in r.train.layers:
        assert surprise["hidden"][layer].mean() < surprise["attack"][layer].mean()


def test_the_constraint_is_fitted_on_clean_training_images_of_each_class_once():
    r = case().reference
    fitted = r.constraint(HFC())
    assert r.constraint(HFC()).mixtures is fitted.mixtures
    assert r.constraint(HFC(regularisation=0.1)).mixtures is not fitted.mixtures
    heavier = r.constraint(HFC(weight=3))
    assert heavier.mixtures is fitted.mixtures and heavier.settings.weight == 3
    for layer, mixtures in fitted.mixtures.items():
        for label, mixture in enumerate(mixtures):
            expected = r.train.layers[layer][r.train_labels == label].mean(0)
            np.testing.assert_allclose(mixture.means[0], expected, rtol=1e-4, atol=1e-5)


def test_a_scan_meets_the_constraint_that_the_cohort_met_whatever_the_seed(monkeypatch):
    seeds = []
    monkeypatch.setattr(
        HFC, "fit", lambda self, clean, labels, *, seed, progress: seeds.append(seed) or FittedHFC(self, {})
    )
    r = replace(case().reference, recipe=case().reference.recipe | {"seed": 5})
    r.constraint(HFC())
    assert seeds == [5]


def test_a_network_without_dropout_has_a_cohort_without_bayesian_uncertainty():
    classifier = linear()
    x = images(classifier, 60)
    split = Split(
        (x.numpy() * 255).astype(np.uint8), extract(classifier, (x * 255).floor() / 255).predicted, ("scan",) * 60
    )
    dataset = Dataset("linear", classifier.class_names, dict.fromkeys(("train", "val", "test"), split), "")
    r = build_reference(classifier, dataset, "FGSM", ATTACKS["FGSM"], HFC())
    assert set(r.detectors()) == {"KD", "LID", "MAHA", "SVM", "DNN", "GMM"}
    outcome = run_experiment(classifier, r, x[0].numpy(), Plan(attack=ATTACKS["FGSM"]))
    assert set(outcome.scores) == set(r.detectors())


# Who may see what


@both_ranks
def test_seventy_of_a_hundred_scans_train_and_the_others_judge(dims):
    r = case(dims).reference
    numbers = np.arange(len(r.ids), dtype=np.float32)
    marked = replace(r, cohort={"clean": Activations(numbers[:, None], {"layer": numbers[:, None]})})
    trains, judges = (set(marked.part("clean", trains=part).logits[:, 0].tolist()) for part in (True, False))
    assert not trains & judges
    assert trains | judges == set(numbers.tolist())
    assert len(trains) == pytest.approx(0.7 * len(r.ids), abs=0.51)
    assert trains == set(np.flatnonzero(r.trains).tolist())
    assert sorted(trains) != list(range(len(trains)))  # drawn, not the first ones


def test_detectors_do_not_depend_on_the_judging_part_nor_on_the_hidden_attack():
    r = case().reference
    probe = r.cohort["attack"].take(np.flatnonzero(r.trains)[:8])
    expected = verdicts(r, probe)
    judges = np.flatnonzero(~r.trains)
    for role in ("clean", "noise", "attack"):
        r = altered(r, role, judges)
    r = altered(r, "hidden", np.arange(len(r.ids)))
    assert verdicts(r, probe) == expected


@pytest.mark.parametrize("role", ["clean", "noise", "attack"])
def test_detectors_are_trained_on_the_training_part_of_clean_noise_and_attack(role):
    r = case().reference
    probe = r.cohort["attack"].take(np.flatnonzero(~r.trains)[:8])
    changed = altered(r, role, np.flatnonzero(r.trains))
    scores = [one.detectors(("SVM",))["SVM"].score(probe) for one in (r, changed)]
    assert not np.allclose(*scores)


def test_negatives_and_adversarial_samples_are_told_apart_the_right_way_round():
    r = case(3).reference
    for name in ("KD", "MAHA", "SVM", "DNN", "GMM"):
        one = r.detectors()[name]
        assert one.score(r.part("attack", trains=True)).mean() > one.score(r.part("clean", trains=True)).mean()


@both_ranks
def test_thresholds_come_from_clean_validation_scans_alone(dims):
    r = case(dims).reference
    for one in r.detectors().values():
        assert one.calibration_scores.tolist() == one.score(r.calibration).tolist()
        flagged = np.mean(one.calibration_scores > one.threshold)
        assert 0.1 - 1 / len(r.calibration) <= flagged <= 0.1


def test_detectors_are_fitted_once():
    r = case().reference
    assert r.detectors() is r.detectors()


def test_a_changed_copy_is_fitted_anew():
    r = case().reference
    r.detectors(("MAHA",))
    turned = replace(r, train_labels=r.train_labels[::-1].copy())
    one, other = (reference.detectors(("MAHA",))["MAHA"].threshold for reference in (r, turned))
    assert one != other


# What is said of it


@pytest.fixture(scope="module")
def table():
    return {(row["detector"], row["role"]): row for row in compare(case().reference)}


def test_auc_is_that_of_scikit_learn_on_the_judging_part(table):
    r = case().reference
    judges = np.flatnonzero(~r.trains)
    for (name, role), row in table.items():
        score = r.detectors()[name].score
        groups = [score(r.cohort[kind].take(judges)) for kind in ("clean", "noise", role)]
        truth = np.repeat([0, 0, 1], len(judges))
        assert row["auc"] == pytest.approx(roc_auc_score(truth, np.concatenate(groups)))
        assert (row["n"], row["negatives"]) == (len(judges), 2 * len(judges))


def test_tpr90_is_the_share_caught_when_a_tenth_of_the_negatives_is_flagged(table):
    r = case().reference
    judges = np.flatnonzero(~r.trains)
    for (name, role), row in table.items():
        score = r.detectors()[name].score
        negatives = sorted(
            np.concatenate([score(r.cohort[kind].take(judges)) for kind in ("clean", "noise")]), reverse=True
        )
        allowed = int(0.1 * len(negatives) + 1e-9)
        assert row["tpr90"] == pytest.approx(np.mean(score(r.cohort[role].take(judges)) > negatives[allowed]))


def test_there_is_a_row_for_every_detector_and_both_attacks_with_an_interval_around_each_value(table):
    assert set(table) == {(name, role) for name in case().reference.detectors() for role in ("attack", "hidden")}
    for row in table.values():
        for value in ("auc", "tpr90"):
            assert 0 <= row[f"{value}_low"] <= row[value] <= row[f"{value}_high"] <= 1
            assert row[f"{value}_low"] < row[f"{value}_high"] or row[value] in (0, 1)


def test_the_plain_attack_is_easier_to_detect_than_the_constrained_one(table):
    for name in ("KD", "LID", "MAHA", "SVM", "GMM"):
        assert table[name, "attack"]["auc"] > table[name, "hidden"]["auc"]


def test_swapping_clean_and_attacked_scans_turns_an_auc_into_one_minus_it(monkeypatch):
    monkeypatch.setattr(metrics, "bootstrap_interval", partial(metrics.bootstrap_interval, n=20))
    r = case().reference
    straight, turned = judged_as(r, noise="clean"), judged_as(r, clean="attack", noise="attack", attack="clean")
    rows = [[row for row in compare(one) if row["role"] == "attack"] for one in (straight, turned)]
    for one, other in zip(*rows, strict=True):
        assert one["auc"] + other["auc"] == pytest.approx(1)
    assert any(row["auc"] > 0.7 for row in rows[0])


def test_where_there_is_nothing_to_see_the_auc_is_one_half(monkeypatch):
    monkeypatch.setattr(metrics, "bootstrap_interval", partial(metrics.bootstrap_interval, n=20))
    for row in compare(judged_as(case().reference, noise="clean", attack="clean", hidden="clean")):
        assert row["auc"] == pytest.approx(0.5)
        assert row["tpr90"] <= 0.1


def test_success_and_confidence_count_every_scan_and_are_as_by_hand():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.25, 0.25, 0.5]], dtype=np.float32))
    by_hand = Activations(logits, {"layer": logits})
    opposite = Activations(-logits, {"layer": logits})
    r = replace(
        case().reference,
        cohort={"attack": by_hand, "hidden": opposite},
        targets=np.array([0, 1, 1, 2]),
        trains=np.array([True, True, False, True]),
    )
    found = overall(replace(r, linf={"hidden": np.array([1, 3, 4, 2]) / 255}))
    assert found["attack"]["success"] == 0.75 and found["attack"]["attacked"] == 4
    ends = (found["attack"]["success_low"], found["attack"]["success_high"])
    assert ends == pytest.approx((0.3006, 0.9544), abs=1e-4), "Wilson's of 3 of 4"
    assert found["attack"]["mean_confidence"] == pytest.approx((0.7 + 0.3 + 0.5 + 0.5) / 4)
    assert math.isnan(found["attack"]["linf_255"]) and found["hidden"]["linf_255"] == pytest.approx(4)
    inverse = [1 / 0.7 / (1 / 0.7 + 1 / 0.2 + 1 / 0.1), 1 / 0.3 / (10 + 1 / 0.3 + 1 / 0.6), 2 / (5 + 2 + 1 / 0.3), 0.2]
    assert found["hidden"]["success"] == 0
    assert found["hidden"]["mean_confidence"] == pytest.approx(math.fsum(inverse) / 4)


# On disk


def renamed(a):
    """The same features under layer names whose alphabet is not their order of depth."""
    return Activations(a.logits, dict(zip(["stem", "10", "9.body"], a.layers.values(), strict=True)), a.dropout)


@both_ranks
def test_saving_and_loading_changes_no_bit_and_keeps_the_order_of_layers(dims, tmp_path):
    r = case(dims).reference
    r = replace(
        r,
        train=renamed(r.train),
        calibration=renamed(r.calibration),
        cohort={role: renamed(a) for role, a in r.cohort.items()},
    )
    save_reference(r, tmp_path / "reference.npz")
    back = load_reference(tmp_path / "reference.npz")
    pairs = [(r.train, back.train), (r.calibration, back.calibration)]
    pairs += [(r.cohort[role], back.cohort[role]) for role in ("clean", "noise", "attack", "hidden")]
    for old, new in pairs:
        assert list(new.layers) == ["stem", "10", "9.body"]
        assert (old.dropout is None) == (new.dropout is None)
        both = [(old.logits, new.logits), *((z, new.layers[name]) for name, z in old.layers.items())]
        for before, after in both if old.dropout is None else [*both, (old.dropout, new.dropout)]:
            assert before.dtype == after.dtype
            assert before.tobytes() == after.tobytes()
    assert list(back.cohort) == list(r.cohort)
    for name in ("train_labels", "labels", "targets", "trains"):
        assert getattr(back, name).tolist() == getattr(r, name).tolist()
    assert back.ids == r.ids
    assert back.digest == r.digest


def test_a_loaded_cohort_gives_the_same_verdicts(tmp_path):
    r = case(3).reference
    save_reference(r, tmp_path / "reference.npz")
    probe = r.cohort["hidden"].take(slice(5))
    assert verdicts(load_reference(tmp_path / "reference.npz"), probe) == verdicts(r, probe)


def test_half_precision_is_half_the_file_and_nearly_the_same_numbers(tmp_path):
    r = case().reference
    save_reference(r, tmp_path / "whole.npz")
    save_reference(r, tmp_path / "half.npz", half=True)
    assert (tmp_path / "half.npz").stat().st_size < 0.7 * (tmp_path / "whole.npz").stat().st_size
    back = load_reference(tmp_path / "half.npz")
    for role, a in r.cohort.items():
        for layer, z in a.layers.items():
            assert back.cohort[role].layers[layer].dtype == np.float32
            np.testing.assert_allclose(back.cohort[role].layers[layer], z, rtol=1e-3, atol=1e-4)
    assert back.ids == r.ids and back.trains.tolist() == r.trains.tolist()


def test_a_constraint_that_comes_with_the_cohort_is_not_fitted_again(monkeypatch):
    r = replace(case().reference)
    ready = CONSTRAINT.fit(r.train, r.train_labels)
    r.knowing(ready)
    monkeypatch.setattr(HFC, "fit", lambda *rest, **more: pytest.fail("fitted again"))
    assert r.constraint(CONSTRAINT).mixtures is ready.mixtures
    assert r.constraint(CONSTRAINT.replace(weight=9.0)).settings.weight == 9.0


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_like_the_cohorts_has_its_size_and_steps_and_is_else_its_own(name):
    r = case().reference
    found = like_cohort(ATTACKS[name], r)
    assert found.eps == ATTACK.eps and found.steps == (1 if name == "FGSM" else ATTACK.steps)
    assert found.replace(eps=ATTACKS[name].eps, steps=ATTACKS[name].steps) == ATTACKS[name]


CHANGES = {
    "weights": lambda r: replace(r, recipe=r.recipe | {"weights": "0" * 64}),
    "attack's settings": lambda r: replace(r, recipe=r.recipe | {"attack": r.recipe["attack"] | {"steps": 13}}),
    "training labels": lambda r: replace(r, train_labels=np.roll(r.train_labels, 1)),
    "training features": lambda r: replace(r, train=r.cohort["clean"]),
    "calibration scans": lambda r: replace(r, calibration=r.calibration.take(slice(40))),
    "who trains": lambda r: replace(r, trains=~r.trains),
    "attacked scans": lambda r: altered(r, "attack", [0]),
    "noisy scans": lambda r: altered(r, "noise", [0]),
    "clean scans": lambda r: altered(r, "clean", [0]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_digest_changes_with(what):
    r = case().reference
    assert CHANGES[what](r).digest != r.digest
    assert replace(r).digest == r.digest


def test_a_file_that_holds_something_else_is_refused_in_a_sentence(tmp_path):
    save_outcome(case().outcome, tmp_path / "first.npz")
    with pytest.raises(InputError, match=r"^first\.npz holds no cohort .* make it again\.$"):
        load_reference(tmp_path / "first.npz")
    with pytest.raises(InputError, match=r"none\.npz"):
        load_reference(tmp_path / "none.npz")
