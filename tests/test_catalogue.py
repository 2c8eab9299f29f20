"""What holds for every study: it explains itself, refuses before any work, and its published findings are of this code."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from bundles import case, one_thread  # noqa: F401
from networks import linear
from studies_of_ours import TALLY, Tally

from hfcviz.bundle import BUNDLES, Bundle
from hfcviz.detectors import DETECTORS
from hfcviz.settings import InputError, options
from hfcviz.store import Store
from hfcviz.studies import catalogue
from hfcviz.studies.adaptive import CARRIED
from hfcviz.studies.attackers import ATTACKERS
from hfcviz.studies.catalogue import STUDIES, perform
from hfcviz.studies.components import WORDS
from hfcviz.studies.defences import DEFENCES, SQUEEZED
from hfcviz.studies.defender import WORST
from hfcviz.studies.foreign import CHANGES
from hfcviz.studies.lab import Lab
from hfcviz.studies.pieces import Budget
from hfcviz.studies.reports import columns_of, lines

PUBLISHED = [(name, study) for name in BUNDLES for study in STUDIES if catalogue.published(BUNDLES[name], study)]


@pytest.fixture
def lab(tmp_path) -> Lab:
    return Lab(case().classifier, case().dataset, Budget(scans=20, eps=12 / 255, steps=2), Store(tmp_path))


@pytest.fixture
def tally(monkeypatch) -> None:
    monkeypatch.setitem(STUDIES, "tally", TALLY)
    monkeypatch.setitem(STUDIES, "alone", replace(TALLY, beside=""))


def test_findings_are_of_the_study_with_all_that_they_depend_on(lab, tally):
    steps = []
    found = perform("tally", lab, Tally(weight=3.0), lab, progress=lambda fraction, what: steps.append(fraction))
    assert found.study == "tally" and len(found.rows) == 4 and steps[-1] == 1 and steps == sorted(steps)
    recipe = found.recipe
    assert recipe["settings"]["weight"] == 3.0
    assert recipe["lab"]["weights"] == case().classifier.digest and recipe["beside"] == recipe["lab"]
    assert recipe["lab"]["budget"] == {"scans": 20, "eps": 12 / 255, "steps": 2, "seed": 0}
    assert {"hfcviz", "torch", "numpy"} <= set(recipe["versions"])
    assert json.loads(found.as_json())["recipe"]["lab"]["dataset"] == "random"


def refused(lab: Lab, sentence: str, name: str = "tally", beside: Lab | None = None, settings=None) -> None:
    with pytest.raises(InputError, match=sentence):
        perform(name, lab, settings, beside, progress=lambda *rest: pytest.fail("work has begun"))
    assert not lab.made and not lab.store.misses


def test_what_cannot_be_studied_is_refused_before_any_work(lab, tally):
    refused(lab, "A study must be one of .*tally.*; got 'telly'", "telly")
    refused(lab, "takes no second network, but got cnn2d-3: leave it out", "alone", beside=lab)
    refused(lab, "Tally.kinds must be of PGD", settings=Tally(kinds=()))
    parts = {part: split for part, split in lab.dataset.splits.items() if part != "val"}
    refused(replace(lab, dataset=replace(lab.dataset, splits=parts)), "it lacks val")
    refused(replace(lab, classifier=linear()), "must know the classes of random")
    one = linear(classes=1)
    single = replace(lab.dataset, class_names=one.class_names)
    splits = {part: replace(split, y=split.y * 0) for part, split in single.splits.items()}
    refused(replace(lab, classifier=one, dataset=replace(single, splits=splits)), "knows one: choose another")


def test_published_findings_are_read_where_there_are_some_and_damage_is_a_sentence(lab, tally, tmp_path):
    bundle = Bundle("b", "B", tmp_path / "b", None)
    assert catalogue.published(bundle, "tally") is None
    found = perform("tally", lab)
    (tmp_path / "b" / "studies").mkdir(parents=True)
    path = tmp_path / "b" / "studies" / "tally.json"
    path.write_text(found.as_json())
    assert (
        catalogue.published(bundle, "tally") == json.loads(found.as_json())
        or catalogue.published(bundle, "tally").rows == found.rows
    )
    path.write_text(found.as_json()[:-40])
    with pytest.raises(InputError, match=r"tally\.json hold no study"):
        catalogue.published(bundle, "tally")


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_explains_itself(name):
    study = STUDIES[name]
    assert study.title and study.question.endswith("?") and study.alt.endswith(".") and study.reading.endswith(".")
    assert all(one.help and one.label for one in options(type(study.settings)))
    assert study.settings == type(study.settings)(), "what a form and a flag show is what the class says"


OTHERS = {("chest", "stress"): "chest32-resnet18"}
"""Published runs of another network than the bundled one: CIFAR-10 has 32 pixels, and its network's twin on X-rays has as many."""


@pytest.mark.parametrize(("bundle", "name"), PUBLISHED)
def test_published_findings_are_drawn_and_are_of_the_bundled_network(bundle, name):
    found = catalogue.published(BUNDLES[bundle], name)
    lab, network = found.recipe["lab"], BUNDLES[bundle].classifier
    assert lab["model"] == OTHERS.get((bundle, name), network.name)
    assert (lab["weights"] == network.digest) == ((bundle, name) not in OTHERS)
    assert found.study == name and found.shows.endswith(".") and found.shows_not.endswith(".")
    assert found.shows == STUDIES[name].shows(found.rows), "the words are those of today's code"
    assert found.shows_not == STUDIES[name].shows_not(found.rows)
    assert len(STUDIES[name].draw(found.rows).data) > 0
    assert set(found.recipe["settings"]) == {option.name for option in options(type(STUDIES[name].settings))}


KNOWN = {
    "defender": {
        "defence": DEFENCES,
        "attack": (*ATTACKERS, WORST),
        "which": ATTACKERS,
        "detector": (*DETECTORS, *SQUEEZED),
    },
    "adaptive": {"penalty": ("none", *CARRIED), "detector": DETECTORS},
    "components": {"factor": WORDS, "detector": DETECTORS},
    "ood": {"kind": CHANGES},
}
"""What rows of a study may be called."""


@pytest.mark.parametrize(("bundle", "name"), PUBLISHED)
def test_published_findings_call_things_as_the_code_does(bundle, name):
    found = catalogue.published(BUNDLES[bundle], name)
    for column, words in KNOWN.get(name, {}).items():
        assert {row[column] for row in found.rows if column in row} <= {*words}, column
    settings = STUDIES[name].settings.replace(**found.recipe["settings"])
    if name == "defender":
        assert set(settings.defences) <= {*DEFENCES} and set(settings.attacks) <= {*ATTACKERS}


@pytest.mark.parametrize(("bundle", "name"), PUBLISHED)
def test_every_column_of_a_published_table_has_a_head_of_its_own(bundle, name):
    rows = catalogue.published(BUNDLES[bundle], name).rows
    names = [one for one in columns_of(rows) if not one.endswith(("_low", "_high"))]
    (heads,) = {tuple(line) for line in lines(rows)}
    assert len(heads) == len(names) and not any("_" in head for head in heads)
    assert not {"auc", "tpr90", "two sided"} & set(heads)
