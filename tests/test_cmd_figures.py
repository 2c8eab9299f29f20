"""Figures from folders and recipes, on the tiny bundle of the command line's tests."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from bundles import one_thread  # noqa: F401
from PIL import Image
from test_chromium import browser  # noqa: F401
from test_cli import attack, bundle, folder  # noqa: F401
from test_cmd_reproduce import done  # noqa: F401

from hfcviz import cmd_reproduce, panels
from hfcviz.__main__ import main
from hfcviz.bundle import open_bundle
from hfcviz.outcome import load_outcome, report, save_outcome
from hfcviz.projections import PROJECTIONS
from hfcviz.publish import recipe_json
from hfcviz.tour import BUNDLE
from hfcviz.tour_facts import ways


@pytest.fixture
def figures(capsys):
    """Run `figures` in this process; gives exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main(["figures", *map(str, words)])
        return code, *capsys.readouterr()

    return run


@pytest.mark.usefixtures("browser")
def test_a_run_gives_its_figures_without_running_again(figures, done, bundle, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(cmd_reproduce, "repeated", lambda *a, **k: pytest.fail("the run was repeated"))
    words = [
        "--format",
        "pdf,png",
        "--width",
        "900px",
        "--dpi",
        150,
        "--figures",
        "scatter,depth,montage",
        "--methods",
        "PCA",
    ]
    code, out, err = figures(done, "--out", tmp_path / "figs", *words)
    assert code == 0, err
    names = {path.name for path in (tmp_path / "figs").iterdir()}
    assert names == {
        f"{name}.{kind}" for name in ("scatter", "depth", "montage") for kind in ("pdf", "png", "csv", "json")
    } | {"montage.txt"}
    assert "13 files" in out
    assert Image.open(tmp_path / "figs" / "depth.png").width == 900
    assert (tmp_path / "figs" / "scatter.pdf").read_bytes().startswith(b"%PDF")
    outcome = load_outcome(done / "outcome.npz")
    layer = list(outcome.activations.layers)[-1]
    wanted = panels.embed_layer(outcome, bundle.reference, layer, PROJECTIONS["PCA"]).xy
    with (tmp_path / "figs" / "scatter.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if not row["series"].startswith(("this scan", "path"))]
    drawn = np.array([[float(row["x"]), float(row["y"])] for row in rows])
    assert np.array_equal(drawn, wanted[: len(drawn)]) and len(drawn) > 50
    assert "seed 2" in (tmp_path / "figs" / "montage.txt").read_text()


def test_a_figures_recipe_gives_the_same_data_again(figures, done, tmp_path):  # noqa: F811
    html = ["--format", "html", "--figures"]
    assert figures(done, "--out", tmp_path / "one", *html, "scatter", "--layers", "layer1.0")[0] == 0
    recipe = tmp_path / "one" / "scatter-layer1.0.json"
    assert json.loads(recipe.read_text())["figure"] == {"name": "scatter", "view": {"layer": "layer1.0"}}
    code, _, err = figures(
        recipe, "--out", tmp_path / "two", "--format", "html"
    )  # of another folder: the store has the run
    assert code == 0, err
    first, again = (tmp_path / part / "scatter-layer1.0.csv" for part in ("one", "two"))
    assert first.read_bytes() == again.read_bytes() and first.stat().st_size > 1000


def test_a_published_cohorts_recipe_gives_its_figure(figures, tmp_path):
    judged = open_bundle("chest").runs.load("PGD", 4)
    recipe = tmp_path / "roc.json"
    recipe.write_text(
        json.dumps({"figure": {"name": "roc", "view": {"selected": [judged.ids[0]]}}, "recipe": judged.recipe})
    )
    code, _, err = figures(recipe, "--out", tmp_path / "figs", "--format", "html")
    assert code == 0, err
    assert {path.name for path in (tmp_path / "figs").iterdir()} == {"roc.html", "roc.csv", "roc.json"}
    recipe.write_text(json.dumps({"recipe": judged.recipe | {"seed": 9}}))
    code, _, err = figures(recipe, "--out", tmp_path / "figs", "--format", "html")
    assert code == 2 and "evaluate it and name its folder" in err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--format", "eps"], "--format must be of pdf, svg, png, html"),
        (["--width", "wide"], "Page.width must be a number"),
        (["--width", "3mm"], "Page.width must be between 20 and 600 mm"),
        (["--figures", "movie", "--format", "html"], "--figures must be of scan, "),
        (["--figures", "scatter", "--layers", "nowhere", "--format", "html"], "The layer of a figure must be one of"),
        (["--figures", "montage", "--methods", "LDA", "--format", "html"], "got LDA"),
    ],
)
def test_a_wrong_flag_is_one_sentence_and_leaves_nothing(figures, done, tmp_path, flags, words):  # noqa: F811
    code, _, err = figures(done, "--out", tmp_path / "figs", *flags)
    assert code == 2 and words in err.splitlines()[-1] and not (tmp_path / "figs").exists()


def test_without_a_chromium_html_is_offered(figures, done, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "none"))
    code, _, err = figures(done, "--out", tmp_path / "figs")
    assert code == 2 and "or ask for --format html" in err
    assert figures(done, "--out", tmp_path / "figs", "--format", "html", "--figures", "depth")[0] == 0


def test_a_folder_of_nothing_is_one_sentence(figures, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = figures(tmp_path / "empty", "--out", tmp_path / "figs", "--format", "html")
    assert code == 2 and "must be a folder written by attack or evaluate" in err


def test_the_folder_of_an_evaluation_gives_figures_of_each_attack(figures, tmp_path):
    judged = Path(open_bundle("brain3d").runs.folder)
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "judged").mkdir()
    for name in ("PGD 8", "BIM 8"):
        (tmp_path / "done" / "judged" / f"{name}.npz").symlink_to(judged / f"{name}.npz")
    code, _, err = figures(
        tmp_path / "done", "--out", tmp_path / "figs", "--format", "html", "--figures", "roc,auc-map"
    )
    assert code == 0, err
    names = {path.stem for path in (tmp_path / "figs").iterdir()}
    assert names == {"PGD-8-roc", "PGD-8-auc-map", "BIM-8-roc", "BIM-8-auc-map"}


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ({"name": ["scatter"], "view": {}}, "must name it and its view"),
        ({"name": "scatter", "view": {"selected": 5}}, "The selected of a figure must be a list of names"),
        ({"name": "tour-1-1", "view": {}}, "must be of the tour's result"),
        ({"name": "planes", "view": {"changes": ["noise"]}}, "must be a list of attack, hidden; got ['noise']"),
        ({"name": "planes", "view": {"grid": "own"}}, "name the scan's file with --scan, and the same --window"),
    ],
)
def test_a_damaged_figure_in_a_recipe_is_one_sentence(figures, done, tmp_path, figure, words):  # noqa: F811
    path = done / "mine.json"
    path.write_text(json.dumps(json.loads((done / "report.json").read_text()) | {"figure": figure}))
    code, _, err = figures(path, "--out", tmp_path / "figs", "--format", "html")
    assert code == 2 and words in err and not (tmp_path / "figs").exists()


def test_the_recipe_of_a_figure_of_the_tour_gives_it_again(figures, tmp_path):
    told = open_bundle(BUNDLE)
    recipe = tmp_path / "mine.json"
    recipe.write_text(
        recipe_json("tour-3-1", {}, report(told.first, told.about["class_names"]))
    )  # as the page writes it
    code, _, err = figures(recipe, "--out", tmp_path / "figs", "--format", "html")
    assert code == 0, err
    assert {path.name for path in (tmp_path / "figs").iterdir()} == {"tour-3-1.html", "tour-3-1.csv", "tour-3-1.json"}
    with (tmp_path / "figs" / "tour-3-1.csv").open() as file:
        drawn = [float(row["y"]) for row in csv.DictReader(file) if row["series"] == "PGD"]
    np.testing.assert_allclose(drawn, ways(told, told.first)["attack"], rtol=1e-6)
    again = json.loads((tmp_path / "figs" / "tour-3-1.json").read_text())
    assert again == json.loads(recipe.read_text())


@pytest.fixture
def sliced(attack, bundle, tmp_path) -> tuple[Path, Path, list[str]]:  # noqa: F811
    """The recipe of a figure of a volume's slice on its own grid, the volume's file, and the flags that choose the slice."""
    values = np.random.default_rng(3).uniform(0, 900, (40, 30, 36)).astype(np.float32)
    nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0])).to_filename(tmp_path / "mine.nii")
    flags = ["--axis", "1", "--slice", "11", "--window", "100", "800"]
    code, _, err = attack(tmp_path / "mine.nii", "--out", tmp_path / "run", *flags)
    assert code == 0, err
    content = json.loads((tmp_path / "run" / "report.json").read_text())
    view = {"window": [0.0, 500.0], "grid": "own", "blink": "hidden"}
    recipe = tmp_path / "planes.json"
    recipe.write_text(recipe_json("planes", view, content))
    return recipe, tmp_path / "mine.nii", flags


def test_a_figure_on_a_scans_own_grid_is_made_with_the_scans_file(figures, sliced, tmp_path):
    recipe, scan, flags = sliced
    common = ["--out", tmp_path / "figs", "--format", "html"]
    for words, said in (
        ([], "name the scan's file with --scan"),
        (["--scan", scan], "must be the one of the recipe"),
        (["--scan", scan, *flags[:3], "12", *flags[4:]], "the same --window, --axis, --slice or --volume as then"),
    ):
        code, _, err = figures(recipe, *common, *words)
        assert code == 2 and said in err.splitlines()[-1] and not (tmp_path / "figs").exists()
    code, _, err = figures(recipe, *common, "--scan", scan, *flags)
    assert code == 0, err
    assert {path.name for path in (tmp_path / "figs").iterdir()} == {"planes.html", "planes.csv", "planes.json"}
    page = (tmp_path / "figs" / "planes.html").read_text()
    pictures = re.findall(r'"source":"data:image/png;base64,([^"]*)"', page.replace(r"\u002f", "/"))
    assert len(pictures) == 6, "three versions, two differences, and what blinks"
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0]))).convert("L"))
    values = nibabel.load(scan).get_fdata()[:, 11, :]
    expected = np.clip(values.T[::-1, ::-1] / 500 * 255, 0, 255)  # superior above, the patient's right on the left
    assert drawn.shape == expected.shape and np.abs(drawn - expected).max() <= 1
    again, before = (json.loads(path.read_text()) for path in (tmp_path / "figs" / "planes.json", recipe))
    assert again["figure"] == before["figure"] and again["digests"] == before["digests"]


def test_the_folder_of_a_run_with_the_scans_file_has_a_figure_on_its_own_grid(figures, sliced, tmp_path):
    _, scan, flags = sliced
    words = ["--format", "html", "--scan", scan, *flags]
    code, _, err = figures(tmp_path / "run", "--out", tmp_path / "figs", "--figures", "planes,depth", *words)
    assert code == 0, err
    assert json.loads((tmp_path / "figs" / "planes.json").read_text())["figure"]["view"] == {"grid": "own"}


def test_a_run_of_before_films_gives_all_its_other_figures(figures, done, tmp_path):  # noqa: F811
    outcome = load_outcome(done / "outcome.npz")
    save_outcome(replace(outcome, step_scores={}, step_depths={}), done / "outcome.npz")
    code, _, err = figures(done, "--out", tmp_path / "figs", "--format", "html", "--methods", "PCA")
    names = {path.stem for path in (tmp_path / "figs").glob("*.html")}
    assert code == 0 and "depth" in names and "film" not in names, err
