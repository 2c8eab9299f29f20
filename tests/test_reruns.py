from __future__ import annotations

import copy
import json

import pytest
from bundles import case, one_thread  # noqa: F401

from hfcviz.outcome import report
from hfcviz.reruns import DIFFERS, SAME, TOLERANCE, WITHIN, bundle_of, changes, compare, plan_of, verdict
from hfcviz.settings import InputError


@pytest.fixture(scope="module")
def said() -> dict:
    """A report as it comes from its file."""
    one = case()
    return json.loads(json.dumps(report(one.outcome, one.classifier.class_names)))


def spread(report_: dict) -> dict[str, float]:
    return dict.fromkeys(report_["detectors"], 1.0)


def test_a_plan_comes_back_from_its_recipe(said):
    one = case()
    assert plan_of(said["recipe"]).as_dict() == one.plan.as_dict()


def test_equal_reports_have_the_same_bits_in_every_line(said):
    lines = compare(said, copy.deepcopy(said), spread(said))
    assert {line.verdict for line in lines} == {SAME} and verdict(lines) == SAME
    assert len([line for line in lines if line.what.endswith(": pixels")]) == len(case().outcome.roles)


@pytest.mark.parametrize(("share", "wanted"), [(0.9, WITHIN), (1.1, DIFFERS)])
def test_a_probability_and_a_score_may_differ_by_the_tolerance_and_no_more(said, share, wanted):
    name = next(iter(said["detectors"]))
    for change in ("probability", "score", "linf"):
        now = copy.deepcopy(said)
        now["digests"]["attack"] = "0" * 64
        if change == "probability":
            first = next(iter(now["adversarial"]["probabilities"]))
            now["adversarial"]["probabilities"][first] += share * TOLERANCE["probability"]
        elif change == "score":
            found = now["detectors"][name]
            found["clean"] = found["threshold"] - 3.0
            said_ = copy.deepcopy(said)
            said_["detectors"][name]["clean"] = found["clean"] - share * TOLERANCE["score"] * (1.0 + 3.0)
            lines = compare(said_, now, spread(said))
            assert verdict(lines) == wanted
            continue
        else:
            now["linf"] += share * TOLERANCE["linf"]
        lines = compare(said, now, spread(said))
        assert verdict(lines) == wanted, change
        pixels = {line.what: line.verdict for line in lines if line.what.endswith(": pixels")}
        assert pixels["attack: pixels"] == wanted and pixels["clean: pixels"] == SAME


@pytest.mark.parametrize("what", ["predicted", "caught"])
def test_another_class_or_verdict_differs(said, what):
    now = copy.deepcopy(said)
    if what == "predicted":
        now["adversarial"]["predicted"] = "another"
    else:
        first = next(iter(now["detectors"].values()))
        first["caught"] = not first["caught"]
    assert verdict(compare(said, now, spread(said))) == DIFFERS


def test_what_changed_since_is_named(said):
    now = copy.deepcopy(said["recipe"])
    assert changes(said["recipe"], now) == []
    now["versions"]["torch"], now["model"]["sha256"] = "9.9", "0" * 64
    found = changes(said["recipe"], now)
    assert (
        len(found) == 2
        and "weights of the network" in found[0]
        and found[1].startswith("torch (")
        and "9.9 now" in found[1]
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.pop("attack"),
        lambda plan: plan.update(attack_name="none"),
        lambda plan: plan["attack"].update(eps=3.0),
        lambda plan: plan["attack"].update(unheard=1),
        lambda plan: plan.update(penalty={"components": 0}),
        lambda plan: plan.update(seed="x"),
        lambda plan: plan.update(penalty_name="other"),
    ],
)
def test_a_damaged_plan_is_one_sentence(said, change):
    recipe = copy.deepcopy(said["recipe"])
    change(recipe["plan"])
    with pytest.raises(InputError):
        plan_of(recipe)


NAN = float("nan")


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        (("detectors", "GMM", "clean"), NAN, r"damaged \(GMM: clean: got nan\): make it again"),
        (("detectors", "GMM", "adversarial"), float("inf"), "GMM: adversarial: got inf"),
        (("detectors", "GMM", "threshold"), "0.3", "GMM: threshold: got '0.3'"),
        (("detectors", "GMM", "threshold"), True, "GMM: threshold: got True"),
        (("detectors", "GMM", "clean"), None, "GMM: clean: got nothing"),
        (("detectors", "GMM", "caught"), 1, "GMM: caught: got 1"),
        (("linf",), NAN, "largest change: got nan"),
        (("clean", "predicted"), 3, "clean: predicted: got 3"),
        (("clean",), {}, "is damaged"),
        (("detectors",), [], "is damaged"),
        (("digests", "clean"), ["0"], "clean: pixels: got"),
    ],
)
def test_a_damaged_score_is_called_damaged_and_no_difference(said, part, value, words):
    then = copy.deepcopy(said)
    *outer, last = part
    holder = then
    for name in outer:
        holder = holder[name]
    holder[last] = value
    with pytest.raises(InputError, match=words) as caught:
        compare(then, said, spread(said))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [("linf",), ("adversarial",), ("detectors",), ("detectors", "GMM", "clean")])
def test_a_missing_part_of_a_report_is_called_damaged(said, part):
    then = copy.deepcopy(said)
    *outer, last = part
    holder = then
    for name in outer:
        holder = holder[name]
    del holder[last]
    with pytest.raises(InputError, match="is damaged"):
        compare(then, said, spread(said))


def test_a_probability_that_the_report_lacks_is_called_damaged(said):
    then = copy.deepcopy(said)
    then["clean"]["probabilities"].popitem()
    with pytest.raises(InputError, match=r"clean: probability of .*: got nothing"):
        compare(then, said, spread(said))


@pytest.mark.parametrize("lacking", ["then", "now"])
def test_a_detector_that_only_one_report_knows_differs(said, lacking):
    then, now = copy.deepcopy(said), copy.deepcopy(said)
    del {"then": then, "now": now}[lacking]["detectors"]["GMM"]
    lines = {line.what: line for line in compare(then, now, spread(said))}
    assert lines["GMM"].verdict == DIFFERS and getattr(lines["GMM"], lacking) == "missing"


def test_a_recipe_alone_cannot_be_compared(said):
    with pytest.raises(InputError, match="holds the recipe alone"):
        compare({"recipe": said["recipe"]}, said, spread(said))


def test_the_network_of_a_recipe_finds_its_bundle(said):
    assert bundle_of({"plan": {}, "model": {"name": "brain3d-densenet"}}).name == "brain3d"
    assert bundle_of({"attack_name": "PGD", "model": "chest-resnet18"}).name == "chest"
    with pytest.raises(InputError, match="name its bundle's folder with --bundle"):
        bundle_of(said["recipe"])
