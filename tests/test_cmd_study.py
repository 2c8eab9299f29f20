"""`study` on the command line: what it writes, what it refuses, how it goes on."""

from __future__ import annotations

import csv
import shlex

import pytest
from bundles import one_thread  # noqa: F401
from studies_of_ours import TALLY, Tally
from test_cli import folder  # noqa: F401

from hfcviz import chromium
from hfcviz.__main__ import main
from hfcviz.attacks import ATTACKS
from hfcviz.studies import catalogue, opening, reports
from hfcviz.studies.findings import load_findings


@pytest.fixture(autouse=True)
def ours(monkeypatch, tmp_path):
    monkeypatch.setattr(
        catalogue, "STUDIES", {"tally": TALLY, "alone": TALLY.__class__(**{**TALLY.__dict__, "beside": ""})}
    )
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path / "store"))


@pytest.fixture
def words(folder, tmp_path):  # noqa: F811
    data = ["--model", str(folder), "--dataset", str(folder / "slices.npz")]
    return ["study", "tally", *data, "--scans", "20", "--steps", "2", "--out", str(tmp_path / "out")]


@pytest.fixture
def no_browser(monkeypatch):
    monkeypatch.setattr(chromium, "find", lambda: None)


def test_without_a_name_it_says_which_studies_there_are_and_what_they_ask(capsys):
    for words in (["study"], ["study", "--list"]):
        assert main(words) == 0
        said = capsys.readouterr().out
        assert "tally: How often do attacks reach their target?" in said and "alone: " in said


def test_it_writes_findings_table_words_and_figure(words, tmp_path, capsys, no_browser):
    assert main([*words, "--eps", "4", "--json", str(tmp_path / "also.json")]) == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["findings.json", "tally.csv", "tally.html", "tally.md"]
    found = load_findings(out / "findings.json")
    assert (tmp_path / "also.json").read_text() == (out / "findings.json").read_text()
    assert found.recipe["lab"]["budget"] == {"scans": 20, "eps": 4 / 255, "steps": 2, "seed": 0}
    with (out / "tally.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["attack"] for row in read] == ["PGD", "PGD+HFC"]
    assert [float(row["success"]) for row in read] == [row["success"] for row in found.rows]
    text = (out / "tally.md").read_text()
    assert found.shows in text and found.shows_not in text and TALLY.question in text
    assert "discs on slices, at most 20 scans, eps 4/255, 2 steps, seed 0." in text
    assert TALLY.alt in (out / "tally.html").read_text()
    said = capsys.readouterr()
    assert "PDF, SVG and PNG need a Chromium" in said.out
    assert found.shows in said.out and str(tmp_path) not in (out / "findings.json").read_text() + text


@pytest.mark.skipif(chromium.find() is None, reason="no Chromium")
def test_where_there_is_a_chromium_the_figure_is_printed_too(words, tmp_path):
    assert main(words) == 0
    starts = {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<svg"}
    assert {kind: (tmp_path / "out" / f"tally.{kind}").read_bytes()[:4] for kind in starts} == starts


def test_own_settings_are_flags_and_one_that_the_budget_has_too_carries_the_study_s_name(words, tmp_path, no_browser):
    assert main([*words, "--weight", "3", "--kinds", "PGD+HFC", "--tally-steps", "5,7", "--seed", "4"]) == 0
    recipe = load_findings(tmp_path / "out" / "findings.json").recipe
    assert recipe["settings"] == {"weight": 3.0, "kinds": ["PGD+HFC"], "steps": ["5", "7"]}
    assert recipe["lab"]["budget"]["steps"] == 2 and recipe["lab"]["budget"]["seed"] == 4


def test_the_command_of_findings_makes_them_again(words, folder, tmp_path, monkeypatch, no_browser):  # noqa: F811
    second = ["--beside-model", str(folder)]
    assert main([*words, "--weight", "3", "--kinds", "PGD,PGD+HFC", "--eps", "5.5", *second]) == 0
    found = load_findings(tmp_path / "out" / "findings.json")
    again = shlex.split(reports.command_of(found))
    assert again[:5] == ["python", "-m", "hfcviz", "study", "tally"]
    assert "--kinds" not in again, "what is usual is left out"
    # Findings name a data set and a model of one's own without their place.
    places = {"discs": str(folder), "slices": str(folder / "slices.npz")}
    monkeypatch.chdir(tmp_path)
    assert main([places.get(word, word) for word in again[3:]]) == 0
    assert load_findings(tmp_path / "tally" / "findings.json") == found


def test_a_second_network_without_a_data_set_gets_that_of_the_first(words, folder, tmp_path, no_browser):  # noqa: F811
    assert main([*words, "--beside-model", str(folder)]) == 0
    found = load_findings(tmp_path / "out" / "findings.json")
    assert found.recipe["beside"] == found.recipe["lab"]
    assert [row["network"] for row in found.rows] == ["discs", "discs", "beside discs", "beside discs"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["--kinds", "PGD,FGSM"], "Tally.kinds must be of PGD, PGD+HFC; got FGSM"),
        (["--weight", "-1"], "Tally.weight must be between 0 and 100; got -1"),
        (["--scans", "19"], "Budget.scans must be at least 20; got 19"),
        (["--eps", "eight"], "Budget.eps must be a number; got 'eight'"),
        (["--model", "nowhere"], "Model 'nowhere' needs the file"),
        (["--dataset", "nowhere"], "Data set 'nowhere' is neither a file nor a bundled set"),
        (["--beside-dataset", "brain2d"], "--beside-dataset must come with --beside-model"),
        (["--json", "."], "--json must be a file"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_nothing_is_written(words, changes, sentence, tmp_path, capsys):
    assert main([*words, *changes]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".hfcviz*"))


def test_unknown_names_and_flags_of_other_studies_are_refused(words, capsys):
    assert main(["study", "nothing", *words[2:]]) == 2
    assert "tally" in capsys.readouterr().err
    assert main(["study", "alone", *words[2:], "--beside-model", "brain2d-resnet18"]) == 2
    assert "--beside-model" in capsys.readouterr().err


def test_a_bundle_without_images_says_what_to_name(words, capsys):
    assert main(["study", "tally", "--model", "chest-resnet18", *words[6:]]) == 2
    assert "There are no images of Chest X-ray (pneumonia) here: name its data set." in capsys.readouterr().err


@pytest.mark.parametrize(("model", "eps"), [("brain2d-resnet18", 8), ("brain3d-densenet", 8), ("chest-resnet18", 4)])
def test_eps_is_that_of_the_model_s_cohort(model, eps):
    assert opening.usual_eps(opening.bundle_of(model)) * 255 == pytest.approx(eps)
    assert opening.usual_eps(opening.bundle_of("elsewhere")) == ATTACKS["PGD"].eps


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(words, tmp_path, monkeypatch, capsys, no_browser):
    store, real = tmp_path / "store", TALLY.run

    def interrupted(lab, settings, beside, progress):
        def stop(fraction, what):
            if fraction > 0.5:
                raise KeyboardInterrupt
            progress(fraction, what)

        return real(lab, settings, beside, stop)

    halves = {"tally": TALLY.__class__(**{**TALLY.__dict__, "run": interrupted})}
    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "STUDIES", halves)
        assert main(words) == 130
    assert "what is finished is kept, and the same command goes on from there" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    kept = {path.name: path.read_bytes() for path in store.glob("*.npz")}
    assert kept, "PGD was finished"
    assert main(words) == 0
    later = {path.name: path.read_bytes() for path in store.glob("*.npz")}
    assert kept.items() < later.items()


def test_a_table_in_words_joins_a_value_with_its_interval():
    rows = [
        {"who": "a|b", "auc": 0.51239, "auc_low": 0.4, "auc_high": 0.625, "n": 12, "ok": True},
        {"who": "c", "auc": None, "k": 1},
    ]
    assert reports.lines(rows) == [
        {"who": "a|b", "AUC": "0.512 (0.4 to 0.625)", "n": "12", "ok": "yes", "k": ""},
        {"who": "c", "AUC": "", "n": "", "ok": "", "k": "1"},
    ]
    assert Tally().steps == ()
