"""One scan's experiment: who is attacked how, what is recorded, kept and told of it, and what a Stop leaves behind."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import ATTACK, CONSTRAINT, case, one_thread  # noqa: F401

from hfcviz import experiment
from hfcviz.activations import extract
from hfcviz.attacks import ATTACKS, run
from hfcviz.experiment import choose_target, run_experiment
from hfcviz.jobs import Cancelled
from hfcviz.outcome import Plan, load_outcome, report, save_outcome, to_arrays
from hfcviz.reference import save_reference
from hfcviz.settings import InputError
from hfcviz.store import Store

both_ranks = pytest.mark.parametrize("dims", [2, 3], ids=["2-D", "3-D"])
QUICK = Plan(attack=ATTACK.replace(steps=2), penalty=CONSTRAINT)


def perform(dims=2, plan=QUICK, **rest):
    one = case(dims)
    return run_experiment(one.classifier, one.reference, rest.pop("x", one.scan), plan, **rest)


def content(outcome):
    """Everything in an outcome, as bytes and text."""
    arrays, about = to_arrays(outcome)
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}, json.dumps(about)


# Versions of the scan


@both_ranks
def test_the_rows_are_scan_noise_plain_attack_and_constrained_attack(dims):
    one, o = case(dims), case(dims).outcome
    assert o.roles == ("clean", "noise", "attack", "hidden")
    assert [o.row(role) for role in o.roles] == [0, 1, 2, 3]
    assert o.x.shape == (4, *one.classifier.input_shape)
    assert np.array_equal(o.x[0], one.scan)
    start = torch.rand(one.classifier.input_shape, generator=torch.Generator().manual_seed(0)).numpy() * 2 - 1
    np.testing.assert_allclose(o.x[1], np.clip(one.scan + ATTACK.eps * start, 0, 1), atol=1e-6)
    clean, target = torch.from_numpy(one.scan)[None], torch.tensor([o.target])
    constraint = CONSTRAINT.fit(one.reference.train, one.reference.train_labels)
    for row, penalty in ((2, None), (3, constraint)):
        expected = run(ATTACK, one.classifier, clean, target, penalty=penalty, seeds=0)
        assert np.abs(o.x[row] - expected[0].numpy()).max() < 1e-6


def test_without_a_penalty_there_is_no_constrained_version_and_the_others_stay_as_they_are():
    o, plain = perform(), perform(plan=replace(QUICK, penalty_name="none", penalty=None))
    assert plain.roles == ("clean", "noise", "attack")
    assert set(plain.traces) == {"attack"}
    assert np.array_equal(plain.x, o.x[:3])
    for name, scores in plain.scores.items():
        np.testing.assert_allclose(scores, o.scores[name][:3], rtol=1e-5, atol=1e-6)


def test_a_constraint_without_weight_is_the_plain_attack():
    o = perform(plan=replace(QUICK, penalty=CONSTRAINT.replace(weight=0)))
    assert np.array_equal(o.x[2], o.x[3])
    assert not np.array_equal(case().outcome.x[2], case().outcome.x[3])


@both_ranks
@pytest.mark.parametrize("name", ATTACKS)
def test_with_eps_zero_every_version_is_the_scan_bit_by_bit(dims, name):
    o = perform(dims, replace(QUICK, attack_name=name, attack=ATTACKS[name].replace(eps=0, steps=2)))
    for version in o.x:
        assert version.tobytes() == case(dims).scan.tobytes()
    assert o.linf.tolist() == [0, 0, 0, 0]
    for scores in o.scores.values():
        np.testing.assert_allclose(scores, scores[0], rtol=1e-5, atol=1e-6)


@both_ranks
def test_linf_is_the_largest_change_of_a_pixel(dims):
    o = case(dims).outcome
    for row, version in enumerate(o.x):
        by_hand = max(abs(float(a) - float(b)) for a, b in zip(version.flat, o.x[0].flat, strict=True))
        assert o.linf[row] == pytest.approx(by_hand, abs=1e-7)
    assert o.linf[0] == 0
    assert o.linf.max() <= ATTACK.eps + 1e-6
    assert o.linf[1:].min() > 0.9 * ATTACK.eps
    moved = o.x.copy()
    moved[2].flat[7] = 5.0
    assert replace(o, x=moved).linf[2] == pytest.approx(5.0 - o.x[0].flat[7])


@both_ranks
def test_activations_are_those_of_the_versions_in_their_order(dims):
    one, o = case(dims), case(dims).outcome
    for row, version in enumerate(o.x):
        logits, layers = one.classifier.features(torch.from_numpy(version)[None])
        np.testing.assert_allclose(o.activations.logits[row], logits[0], rtol=1e-4, atol=1e-4)
        for name, z in layers.items():
            np.testing.assert_allclose(o.activations.layers[name][row], z[0], rtol=1e-4, atol=1e-4)
    assert list(o.activations.layers) == list(one.classifier.layer_names)


@both_ranks
def test_a_trace_begins_where_the_other_begins_and_ends_at_its_version(dims):
    o = case(dims).outcome
    plain, hidden = o.traces["attack"], o.traces["hidden"]
    for role, trace in o.traces.items():
        row = o.row(role)
        assert trace.confidence.shape == (ATTACK.steps + 1, 1)
        assert trace.confidence[-1, 0] == pytest.approx(o.activations.probabilities[row, o.target], abs=1e-4)
        assert trace.linf[-1, 0] == pytest.approx(o.linf[row], abs=1e-6)
        for layer, z in trace.features.items():
            np.testing.assert_allclose(z[-1, 0], o.activations.layers[layer][row], rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(z[0, 0], o.activations.layers[layer][o.row("noise")], rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(z[0, 0], plain.features[layer][0, 0], rtol=1e-6)
    assert plain.confidence[0] == hidden.confidence[0]
    assert plain.confidence[-1] > hidden.confidence[-1] > hidden.confidence[0]
    assert set(hidden.terms) == {"cross-entropy", *o.activations.layers}
    assert set(plain.terms) == {"cross-entropy"}


@both_ranks
def test_the_constraint_brings_the_scan_closer_to_clean_data_at_the_same_budget(dims):
    o = case(dims).outcome
    assert o.scores["GMM"][o.row("hidden")] < o.scores["GMM"][o.row("attack")]
    assert o.recipe["plan"]["attack"]["eps"] == ATTACK.eps


# Target

NAMES = ("cat", "dog", "owl")


@pytest.mark.parametrize(("logits", "target"), [([3, 1, 2], 2), ([1, 3, 2], 2), ([0, 2, 1], 2), ([2, 1, -9], 1)])
def test_by_default_the_target_is_the_runner_up(logits, target):
    assert choose_target(np.array(logits, dtype=np.float32), NAMES, None) == target


def test_a_class_can_be_named_as_target():
    assert choose_target(np.array([3.0, 1.0, 2.0]), NAMES, "dog") == 1
    one = case()
    predicted = one.reference.labels[one.held_out]
    for index, name in enumerate(one.classifier.class_names):
        if index != predicted:
            assert perform(plan=replace(QUICK, target=name)).target == index


def test_a_target_that_is_predicted_already_or_unknown_is_refused_in_a_sentence():
    predicted = case().classifier.class_names[case().reference.labels[case().held_out]]
    with pytest.raises(InputError, match=rf"^target must differ .* \({predicted}\); choose [abc], [abc]\.$"):
        perform(plan=replace(QUICK, target=predicted))
    with pytest.raises(InputError, match=r"^target must be one of a, b, c; got 'lesion'\.$"):
        perform(plan=replace(QUICK, target="lesion"))
    with pytest.raises(InputError, match=r"\(dog\); choose cat, owl\.$"):
        choose_target(np.array([1.0, 3.0, 2.0]), NAMES, "dog")


def test_a_scan_that_does_not_fit_is_refused_before_any_step(monkeypatch):
    monkeypatch.setattr(experiment, "run", lambda *rest, **more: pytest.fail("attacked"))
    scan = case().scan
    for unfit in (scan[:, :5], scan * np.nan, scan * 255, scan - 1):
        with pytest.raises(InputError):
            perform(x=unfit)


# Verdicts


@both_ranks
def test_a_rank_is_the_share_of_clean_calibration_scans_below(dims):
    one, o = case(dims), case(dims).outcome
    for name, ranks in o.ranks.items():
        clean = one.reference.detectors()[name].score(one.reference.calibration)
        for score, rank in zip(o.scores[name], ranks, strict=True):
            below, equal = sum(value < score for value in clean), sum(value == score for value in clean)
            assert rank == pytest.approx(100 * (below + equal / 2) / len(clean))


@both_ranks
def test_caught_means_a_score_above_the_threshold(dims):
    o = case(dims).outcome
    for name, scores in o.scores.items():
        assert o.caught(name).tolist() == [score > o.thresholds[name] for score in scores.tolist()]
        assert (o.ranks[name][o.caught(name)] >= 90).all()
        assert (o.ranks[name][~o.caught(name)] <= 90).all()
        exactly = replace(o, thresholds=o.thresholds | {name: float(scores[2])})
        assert not exactly.caught(name)[2]


@both_ranks
def test_scores_and_thresholds_are_those_of_the_references_detectors(dims):
    one, o = case(dims), case(dims).outcome
    r = one.reference
    assert set(o.scores) == {"KD", "BU", "KD+BU", "LID", "MAHA", "SVM", "DNN", "GMM"}
    assert set(o.layer_scores) == set(o.layer_thresholds) == set(o.scores) - {"BU", "KD+BU"}
    for name, detector in r.detectors().items():
        assert o.thresholds[name] == pytest.approx(np.quantile(detector.score(r.calibration), 0.9))
        np.testing.assert_allclose(o.scores[name], detector.score(o.activations))
        for place, layer in enumerate(r.train.layers) if "BU" not in name else ():
            np.testing.assert_allclose(o.layer_scores[name][place], detector.layer_scores(o.activations)[layer])
            clean = detector.layer_scores(r.calibration)[layer]
            assert o.layer_thresholds[name][place] == pytest.approx(np.quantile(clean, 0.9))


@both_ranks
def test_depth_quantiles_are_the_mixture_scores_of_clean_scans_layer_by_layer(dims):
    one, o = case(dims), case(dims).outcome
    clean = one.reference.detectors()["GMM"].layer_scores(one.reference.calibration)
    for row, layer in zip(o.depth_quantiles, one.classifier.layer_names, strict=True):
        for quantile, share in zip(row, (0.05, 0.5, 0.95), strict=True):
            assert np.mean(clean[layer] <= quantile) == pytest.approx(share, abs=0.03)


@both_ranks
def test_a_scan_of_the_cohort_scores_alone_as_it_does_among_the_others(dims):
    one = case(dims)
    r = one.reference
    for name, detector in r.detectors().items():
        among = detector.score(r.cohort["clean"])[one.held_out]
        assert one.outcome.scores[name][0] == pytest.approx(among, rel=1e-3, abs=1e-4)


def test_the_scan_itself_scores_the_same_whatever_the_seed_of_the_attack():
    one, other = perform(), perform(plan=replace(QUICK, seed=1))
    for name, scores in one.scores.items():
        assert scores[0] == pytest.approx(other.scores[name][0], rel=1e-5, abs=1e-6)


# Seeds and the store


def test_the_same_seed_gives_the_same_outcome_whatever_the_global_random_state():
    torch.manual_seed(1)
    np.random.seed(1)
    one = perform()
    torch.manual_seed(2)
    np.random.seed(2)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    assert content(perform()) == content(one)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]


def test_another_seed_gives_other_noise_and_another_start():
    one, other = perform(), perform(plan=replace(QUICK, seed=1))
    assert np.array_equal(one.x[0], other.x[0])
    for row in (1, 2, 3):
        assert not np.array_equal(one.x[row], other.x[row])
    assert one.traces["hidden"].confidence[0] != other.traces["hidden"].confidence[0]


@both_ranks
def test_a_stored_outcome_comes_back_the_same_without_a_pass_through_the_network(dims, tmp_path, monkeypatch):
    store = Store(tmp_path)
    first = perform(dims, store=store)
    passes = []
    hook = case(dims).classifier.net.register_forward_pre_hook(lambda module, inputs: passes.append(1))
    try:
        second = perform(dims, store=store)
        assert (store.hits, passes) == (1, [])
        assert content(second) == content(first)
        perform(dims)
        assert passes
    finally:
        hook.remove()


OTHERS = {
    "seed": {"plan": replace(QUICK, seed=1)},
    "eps": {"plan": replace(QUICK, attack=QUICK.attack.replace(eps=11 / 255))},
    "steps": {"plan": replace(QUICK, attack=QUICK.attack.replace(steps=1))},
    "weight": {"plan": replace(QUICK, penalty=CONSTRAINT.replace(weight=3))},
    "layers": {"plan": replace(QUICK, penalty=CONSTRAINT.replace(layers=("block1",)))},
    "penalty": {"plan": replace(QUICK, penalty_name="none", penalty=None)},
    "scan": {"x": case().image(1)},
}


def test_another_plan_or_scan_or_cohort_is_not_taken_from_the_store(tmp_path):
    store = Store(tmp_path)
    perform(store=store)
    for number, (what, changes) in enumerate(OTHERS.items(), 2):
        perform(store=store, **changes)
        assert (store.hits, store.misses) == (0, number), what
    one = case()
    turned = replace(one.reference, train_labels=np.roll(one.reference.train_labels, 1))
    run_experiment(one.classifier, turned, one.scan, QUICK, store=store)
    assert store.hits == 0
    perform(store=store)
    assert store.hits == 1


@both_ranks
def test_saving_and_loading_an_outcome_changes_nothing(dims, tmp_path):
    o = case(dims).outcome
    save_outcome(o, tmp_path / "first.npz")
    back = load_outcome(tmp_path / "first.npz")
    assert content(back) == content(o)
    assert back.roles == o.roles
    assert list(back.traces) == ["attack", "hidden"]
    assert list(back.traces["hidden"].features) == list(o.activations.layers)
    assert list(back.activations.layers) == list(o.activations.layers)
    assert report(back, case(dims).classifier.class_names) == json.loads(
        json.dumps(report(o, case(dims).classifier.class_names))
    )


def test_a_file_that_holds_no_outcome_is_refused_in_a_sentence(tmp_path):
    save_reference(case().reference, tmp_path / "reference.npz")
    with pytest.raises(InputError, match=r"^reference\.npz holds no outcome .* make it again\.$"):
        load_outcome(tmp_path / "reference.npz")


# The report


@both_ranks
def test_the_report_says_what_the_outcome_holds(dims):
    one, o = case(dims), case(dims).outcome
    names, told = one.classifier.class_names, report(case(dims).outcome, case(dims).classifier.class_names)
    assert set(told) == {
        *("purpose", "clean", "adversarial", "target", "success", "linf", "linf_255", "detectors", "digests", "recipe"),
    }
    for part, row in (("clean", 0), ("adversarial", 3)):
        odds = np.exp(o.activations.logits[row].astype(float))
        chances = dict(zip(names, (odds / odds.sum()).tolist(), strict=True))
        assert told[part]["probabilities"] == pytest.approx(chances, abs=1e-5)
        assert told[part]["predicted"] == max(chances, key=chances.get)
        assert told[part]["confidence"] == pytest.approx(max(chances.values()), abs=1e-5)
    assert told["target"] == names[o.target] != told["clean"]["predicted"]
    assert told["success"] == (told["adversarial"]["predicted"] == told["target"])
    assert told["linf_255"] == pytest.approx(12, abs=1e-3)
    assert told["linf"] == pytest.approx(12 / 255, abs=1e-6)
    for name, verdict in told["detectors"].items():
        assert verdict["clean"] == o.scores[name][0]
        assert verdict["adversarial"] == o.scores[name][3]
        assert verdict["caught"] == (verdict["adversarial"] > verdict["threshold"])
    assert set(told["detectors"]) == set(o.scores)


def test_success_is_told_of_the_target_alone():
    o = case().outcome
    names = case().classifier.class_names
    reached = names[int(o.activations.logits[3].argmax())]
    for index, name in enumerate(names):
        assert report(replace(o, target=index), names)["success"] == (name == reached)


def test_without_a_penalty_the_report_tells_of_the_plain_attack():
    o = perform(plan=replace(QUICK, penalty_name="none", penalty=None))
    told = report(o, case().classifier.class_names)
    assert told["recipe"]["plan"]["penalty"] is None
    assert told["detectors"]["MAHA"]["adversarial"] == o.scores["MAHA"][2]


@both_ranks
def test_the_report_is_plain_json_without_nan_or_a_path_of_this_machine(dims):
    text = json.dumps(report(case(dims).outcome, case(dims).classifier.class_names), allow_nan=False)
    assert str(Path.home()) not in text or str(Path.home()) == "/"
    assert str(Path.cwd()) not in text
    recipe = json.loads(text)["recipe"]
    assert set(recipe) == {"scan", "model", "detectors", "plan", "versions"}
    assert recipe["model"]["sha256"] == case(dims).classifier.digest
    assert recipe["detectors"]["sha256"] == case(dims).reference.digest
    assert recipe["plan"]["attack"]["step_size"] == pytest.approx(2.5 / 255)
    assert recipe["plan"]["seed"] == 0


def test_the_recipe_suffices_to_make_the_result_again():
    told = json.loads(json.dumps(case().outcome.recipe))["plan"]
    plan = Plan(
        told["attack_name"],
        type(ATTACK)(**told["attack"]),
        told["penalty_name"],
        type(CONSTRAINT)(**told["penalty"]),
        told["target"],
        told["seed"],
    )
    assert np.array_equal(perform(plan=plan).x, case().outcome.x)


def test_people_read_the_attacks_own_name():
    plan = Plan("MIM", ATTACKS["MIM"])
    assert [plan.label(role) for role in ("clean", "noise", "attack", "hidden")] == ["clean", "noise", "MIM", "MIM+HFC"]


# Progress and Stop


def test_the_bar_gives_many_steps_the_room_that_they_take_and_fitted_detectors_none():
    one = case(3)
    one.reference.detectors()

    def begins(steps: int, reference) -> dict[str, float]:
        heard: dict[str, float] = {}
        plan = replace(QUICK, attack=QUICK.attack.replace(steps=steps), penalty=CONSTRAINT)
        told = lambda share, what: heard.setdefault(what.partition(":")[0].partition(" ")[0], share)  # noqa: E731
        run_experiment(one.classifier, reference, one.scan, plan, progress=told)
        return heard

    few, many = begins(2, one.reference), begins(60, one.reference)
    assert few["detectors"] < 0.5 and many["PGD"] < 0.15, "what is known already takes no room"
    assert many["detectors"] > 0.7, "nearly all of it are steps"
    assert begins(2, replace(one.reference))["PGD"] > 0.6, "the first run fits the detectors"


@pytest.mark.parametrize("penalty", [None, CONSTRAINT], ids=["plain", "HFC"])
def test_progress_never_goes_back_and_ends_at_one(penalty):
    one, heard = case(3), []
    fresh = replace(one.reference)
    plan = replace(QUICK, penalty=penalty)
    run_experiment(one.classifier, fresh, one.scan, plan, progress=lambda *told: heard.append(told))
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= 0.1
    assert shares[-1] == pytest.approx(1)
    assert max(shares) <= 1
    words = " ".join(what for _, what in heard)
    for expected in (
        "detector KD",
        "PGD: step 1 of 2",
        "detectors judge",
        *(["mixtures of", "PGD+HFC: step"] if penalty else []),
    ):
        assert expected in words


@both_ranks
@pytest.mark.parametrize("moment", ["detector MAHA", "mixtures of block2", "PGD: step 1", "PGD+HFC: step 1", "judge"])
def test_a_stop_at_any_moment_leaves_nothing_half_done(dims, moment, tmp_path):
    one, store = case(dims), Store(tmp_path)
    fresh = replace(one.reference)
    if "step" in moment or moment == "judge":
        fresh._fitted.update(one.reference._fitted)

    def stop(share, what):
        if moment in what:
            raise Cancelled

    with pytest.raises(Cancelled):
        run_experiment(one.classifier, fresh, one.scan, QUICK, store=store, progress=stop)
    assert list(tmp_path.iterdir()) == []
    for module in one.classifier.net.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
        assert not module.training
    assert all(not p.requires_grad and p.grad is None for p in one.classifier.net.parameters())
    again = perform(dims, store=store)
    assert content(again) == content(perform(dims))
    assert len(list(tmp_path.iterdir())) == 1


def test_two_scans_in_turn_do_not_disturb_each_other():
    first = perform()
    perform(x=case().image(2))
    assert content(perform()) == content(first)
    np.testing.assert_allclose(extract(case().classifier, first.x).logits, first.activations.logits, rtol=1e-5)
