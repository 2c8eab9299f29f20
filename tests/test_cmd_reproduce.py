"""Runs repeated from their files, on the tiny bundle of the command line's tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bundles import one_thread  # noqa: F401
from test_cli import a_png, attack, bundle, folder  # noqa: F401

from hfcviz import experiment
from hfcviz.__main__ import main
from hfcviz.outcome import load_outcome


@pytest.fixture
def done(attack, bundle) -> Path:  # noqa: F811
    """The folder of a finished run of a scan that comes with the bundle."""
    code, _, err = attack(f"bundled:{bundle.dataset.splits['test'].ids[3]}", "--out", "run", "--seed", 2)
    assert code == 0, err
    return Path("run").absolute()


@pytest.fixture
def reproduce(capsys):
    """Run `reproduce` in this process; gives exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main(["reproduce", *map(str, words)])
        return code, *capsys.readouterr()

    return run


def changed(path: Path, **plan: object) -> Path:
    """A copy of a report beside it, with another plan."""
    found = json.loads(path.read_text())
    found["recipe"]["plan"] |= plan
    copy = path.with_name("changed.json")
    copy.write_text(json.dumps(found))
    return copy


def test_the_same_machine_gives_the_same_bits_without_reading_what_is_stored(reproduce, done, monkeypatch, tmp_path):
    monkeypatch.setattr(experiment.Store, "get", lambda self, key: pytest.fail("the store was read"))
    code, out, err = reproduce(done / "report.json", "--out", tmp_path / "again")
    assert code == 0, err
    assert "In all: same bits. Weights, cohort and versions are the same." in out and "differs" not in out
    first, again = load_outcome(done / "outcome.npz"), load_outcome(tmp_path / "again" / "outcome.npz")
    assert np.array_equal(first.x, again.x) and first.recipe == again.recipe
    assert (
        json.loads((tmp_path / "again" / "report.json").read_text())["digests"]
        == json.loads((done / "report.json").read_text())["digests"]
    )


def test_another_seed_in_the_recipe_differs_with_exit_code_3(reproduce, done):
    code, out, _ = reproduce(changed(done / "report.json", seed=5), "--json", "-")
    found = json.loads(out)
    assert code == 3 and found["verdict"] == "differs" and found["changed"] == []
    verdicts = {line["what"]: line["verdict"] for line in found["lines"]}
    assert verdicts["clean: pixels"] == "same bits" and verdicts["attack: pixels"] == "differs"


def test_a_file_of_ones_own_needs_the_file_and_the_same_file(reproduce, attack, tmp_path):  # noqa: F811
    scan = a_png(tmp_path / "scan.png")
    assert attack(scan, "--out", "run")[0] == 0
    code, _, err = reproduce("run/report.json")
    assert code == 2 and "scan.png does not come with hfcviz: name the scan's file with --scan." in err
    code, _, err = reproduce("run/report.json", "--scan", a_png(tmp_path / "other.png", seed=2))
    assert code == 2 and "must be the one of the recipe" in err
    code, out, err = reproduce("run/report.json", "--scan", scan)
    assert code == 0 and "In all: same bits" in out, err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "must be a recipe in JSON"),
        ("{}", "must hold the recipe of a run"),
        ('{"recipe": {"attack_name": "PGD", "attack": {}, "model": "discs"}}', "repeat it by evaluate"),
        ('{"recipe": {"plan": {}, "scan": {}, "model": {"name": "unheard"}}}', "none of hfcviz: name its bundle"),
        ('{"recipe": {"plan": {}, "scan": {}, "model": {"name": "discs"}}}', "must hold the plan of a run"),
        ('{"recipe": {"plan": {}, "scan": {}}}', "must name its network"),
        ('{"recipe": {"plan": {}, "scan": {}, "model": "discs"}}', "must name its network"),
    ],
)
def test_a_broken_recipe_is_one_sentence_and_exit_code_2(reproduce, done, text, words):
    path = done / "mine.json"
    path.write_text(text)
    code, out, err = reproduce(path)
    assert code == 2 and words in err and not out
    assert len(err.strip().splitlines()) == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (("recipe", "plan", "seed"), 2**70),
        (("recipe", "scan", "sha256"), 5),
        (("recipe", "detectors"), {}),
        (("clean",), 5),
        (("clean", "probabilities"), []),
        (("detectors", "GMM"), 5),
        (("detectors", "GMM", "adversarial"), float("nan")),
        (("detectors", "GMM", "clean"), "much"),
        (("digests",), []),
    ],
)
def test_a_damaged_part_of_a_report_is_one_sentence_and_exit_code_2(reproduce, done, part, value):
    found = json.loads((done / "report.json").read_text())
    *outer, last = part
    holder = found
    for name in outer:
        holder = holder[name]
    assert last in holder
    holder[last] = value
    path = done / "damaged.json"
    path.write_text(json.dumps(found))
    code, out, err = reproduce(path)
    said = [line for line in err.splitlines() if "%" not in line]  # without the progress
    assert code == 2 and not out
    assert len(said) == 1 and "make it again" in said[0]


def test_a_bundle_with_another_network_is_refused(reproduce, done):
    code, _, err = reproduce(done / "report.json", "--bundle", "brain3d")
    assert code == 2 and "--bundle must hold the network of the recipe" in err


def test_a_file_that_is_not_there_is_one_sentence(reproduce, tmp_path):
    code, _, err = reproduce(tmp_path / "none.json")
    assert code == 2 and "cannot be read (No such file or directory)" in err


def test_help_states_the_tolerance_and_the_exit_code(capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "probabilities within 0.05" in text and "Exit code 3" in text and "5 to 95 %" in text
