"""A cohort evaluated on the Cohort page: its address opens it in another session, its recipe makes its figures on the command line."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import one_thread  # noqa: F401
from streamlit.testing.v1 import AppTest
from test_app import APP, COHORT, button, settle
from test_cli import bundle, folder  # noqa: F401

from hfcviz import cells, jobs
from hfcviz.__main__ import main
from hfcviz.bundle import BUNDLES, Bundle
from hfcviz.cohort import judge
from hfcviz.evaluation import evaluate
from hfcviz.experiment import run_experiment
from hfcviz.figure_data import as_csv
from hfcviz.figure_sets import COHORT_FIGURES, of_cohort
from hfcviz.links import from_query, to_query
from hfcviz.live import carried, protocol_of
from hfcviz.outcome import Plan, save_outcome
from hfcviz.protocol import Protocol, Task
from hfcviz.publish import recipe_json
from hfcviz.runs import Runs, run_path, save_judged, without_features
from hfcviz.store import Store
from hfcviz.ui import publishing, state

LINK = {"live": "FGSM", "live.eps": "6", "live.scans": "24"}


# In the address


@pytest.mark.parametrize("task", ["brain2d", "brain3d"])
def test_an_address_stands_for_attack_eps_scans_and_the_steps_of_the_tasks_cohort(task):
    view, refused = from_query({"task": task} | LINK)
    steps = BUNDLES[task].reference.recipe["attack"]["steps"]
    assert not refused
    assert view.live == Protocol(("FGSM",), ("none", "HFC"), (6 / 255,), 24, seed=0, steps=steps)
    usual, refused = from_query({"task": task, "live": "PGD"})
    eps = BUNDLES[task].reference.recipe["attack"]["eps"]
    assert not refused and usual.live == Protocol(("PGD",), ("none", "HFC"), (eps,), 60, seed=0, steps=steps)
    assert to_query(usual).get("live") == "PGD" and not {"live.eps", "live.scans"} & set(to_query(usual))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("live", "DeepFool", "live must be one of PGD, BIM, FGSM"),
        ("live", "", "live must be one of"),
        ("live.eps", "0", "live.eps must be a number of 255ths, above 0 and at most 255; got '0'."),
        ("live.eps", "-4", "got '-4'"),
        ("live.eps", "255.1", "got '255.1'"),
        ("live.eps", "nan", "got 'nan'"),
        ("live.eps", "1e999", "got '1e999'"),
        ("live.scans", "19", "live.scans must be a whole number, at least 20; got '19'."),
        ("live.scans", "24.5", "got '24.5'"),
        ("live.scans", "\u0663\u0660", "live.scans must be"),
        ("live.scans", "9" * 30, "live.scans must be"),
    ],
)
def test_a_bad_part_is_one_sentence_and_nothing_else_is_evaluated_in_its_place(name, text, words):
    view, refused = from_query(LINK | {"layer": "layer2.0"} | {name: text})
    assert len(refused) == 1 and words in refused[0] and refused[0].endswith(".")
    assert view.live is None and view.layer == "layer2.0", "the rest holds"


def test_a_task_without_images_says_in_one_sentence_why_and_what_to_do():
    view, refused = from_query({"task": "chest", "eps": "4", "run": "MIM"} | LINK)
    assert refused == [
        "live must not be in a link to Chest X-ray (pneumonia), whose images do not come with it; got 'FGSM': load the data set on the "
        "Data & model page, and evaluate it on the Cohort page."
    ]
    assert view.live is None and (view.eps, view.run) == (4, "MIM")


# On the page, with a tiny task


@pytest.fixture(scope="module")
def tiny(folder, tmp_path_factory) -> Bundle:  # noqa: F811
    """A task with all that the app needs: images, a first result and a published run."""
    place = tmp_path_factory.mktemp("task") / "discs"
    shutil.copytree(folder, place)
    found = Bundle("discs", "Discs", place, str(place / "slices.npz"))
    reference = found.reference
    name = reference.ids[0]
    plan = Plan(attack=replace(Plan().attack, steps=2))
    outcome = run_experiment(found.classifier, reference, found.dataset.sample(name)[0], plan, scan_name=name)
    save_outcome(outcome, place / "first.npz")
    save_judged(run_path(place / "runs", "PGD", 8), without_features(judge(reference)))
    return found


@pytest.fixture(scope="module")
def sealed(tiny) -> Bundle:
    """The same without its images, as the chest X-rays are."""
    return Bundle("sealed", "Sealed discs", tiny.folder, None, "They lie elsewhere.")


@pytest.fixture(autouse=True)
def place(tiny, tmp_path, monkeypatch) -> Path:
    monkeypatch.setitem(BUNDLES, "discs", tiny)
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(APP.parent)
    return tmp_path


@pytest.fixture
def exported(monkeypatch) -> dict[str, tuple]:
    """{name: (figure, view, content)} of what the page's Export buttons would give."""
    found: dict[str, tuple] = {}
    monkeypatch.setattr(
        publishing, "export", lambda figure, key, alt, view, content: found.update({key: (figure, view, content)})
    )
    return found


def opened(query: dict[str, str], seconds: float = 120) -> AppTest:
    """The Cohort page of a new session with this address, as it is first drawn."""
    app = AppTest.from_file(str(APP), default_timeout=seconds)
    app.query_params.update(query)
    return app.switch_page(COHORT).run()


def csvs(exported: dict[str, tuple]) -> dict[str, str]:
    return {name: as_csv(exported[name][0]) for name in COHORT_FIGURES}


@pytest.fixture
def busy() -> Iterator[None]:
    """The worker is occupied, so that whatever is submitted waits."""
    end = threading.Event()
    jobs.submit(lambda progress: end.wait(60), "another")
    yield
    end.set()


def test_the_address_of_a_live_cohort_opens_it_in_another_session_without_an_attack_again(exported, monkeypatch):
    one = opened({"task": "discs"})
    one.selectbox(key="cohort.attack").set_value("FGSM")
    one.number_input(key="cohort.live_eps.discs").set_value(6.0)
    one.number_input(key="cohort.limit").set_value(24).run()
    assert one.query_params == {"task": "discs"}, "what is only chosen is not shown"
    button(one, "Evaluate").click().run()
    settle(one, "cohort_job")
    assert not one.exception and not one.error and not one.warning
    assert one.query_params == {"task": "discs"} | LINK
    assert any(text.value.startswith("Evaluated live. The address of this page") for text in one.caption)
    ids = one.session_state["cohort"].ids
    one.session_state["chosen"] = frozenset(ids[2:4])
    one.segmented_control(key="cohort.detector").set_value("LID").run()
    layers = one.select_slider[0].options
    one.select_slider[0].set_value(layers[0]).run()
    address, drawn = dict(one.query_params), csvs(exported)
    assert {"layer": layers[0], "detector": "LID"}.items() <= address.items() and address["chosen"]

    exported.clear()
    monkeypatch.setattr(cells, "run", lambda *a, **k: pytest.fail("a scan was attacked again"))
    other = opened(address)
    assert other.session_state["cohort"] is None and other.session_state["cohort_job"] is not None
    settle(other, "cohort_job")
    assert not other.exception and not other.error and not other.warning
    assert other.query_params == address and csvs(exported) == drawn
    assert other.session_state["cohort"].recipe["attack"]["eps"] == 6 / 255
    assert other.number_input(key="cohort.live_eps.discs").value == 6
    assert other.selectbox(key="cohort.attack").value == "FGSM" and other.number_input(key="cohort.limit").value == 24
    button(other, "Back to the published runs").click().run()
    assert "live" not in other.query_params and other.session_state["cohort_job"] is None


@pytest.mark.usefixtures("busy")
def test_while_it_is_evaluated_the_page_shows_progress_alone_and_keeps_the_address_and_the_form():
    app = opened({"task": "discs", "method": "t-SNE"} | LINK)
    assert not app.exception and not app.warning
    assert app.query_params == {"task": "discs", "method": "t-SNE"} | LINK
    assert app.session_state["cohort_job"].name == "FGSM at 6/255 on 24 scans"
    assert not app.dataframe and button(app, "Evaluate").disabled
    assert app.selectbox(key="cohort.attack").value == "FGSM" and app.number_input(key="cohort.limit").value == 24
    button(app, "Stop").click().run()
    settle(app, "cohort_job")
    assert any(one.value.startswith("Stopped: FGSM at 6/255") for one in app.info)
    assert not {"live", "live.eps", "live.scans"} & set(app.query_params)
    assert any("**PGD** at 8/255" in text.value for text in app.markdown) and app.dataframe
    app.run()
    assert app.session_state["cohort_job"] is None, "a link starts it once"


@pytest.mark.usefixtures("busy")
def test_another_task_forgets_what_a_link_wanted_to_evaluate():
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params.update({"task": "discs"} | LINK)
    app.run()
    assert app.session_state["cohort_at_once"].attacks == ("FGSM",) and app.session_state["cohort_job"] is None
    app.switch_page("hfcviz/ui/pages/data_model.py").run()
    app.segmented_control(key="task").set_value("brain2d").run()
    app.switch_page(COHORT).run()
    assert app.session_state["cohort_job"] is None and not app.exception


def test_a_cohort_of_images_of_ones_own_is_never_in_the_address(sealed, tiny, monkeypatch):
    monkeypatch.setitem(BUNDLES, "sealed", sealed)
    app = opened({"task": "sealed"})
    app.session_state["images"] = {"sealed": replace(tiny.dataset, name="Mrs Smith")}
    app.run()
    app.number_input(key="cohort.limit").set_value(24).run()
    button(app, "Evaluate").click().run()
    assert app.query_params == {"task": "sealed"}, "while it runs"
    settle(app, "cohort_job")
    assert not app.exception and app.session_state["cohort"].recipe["dataset"] == "Mrs Smith"
    assert app.query_params == {"task": "sealed"}
    assert any("in this session only: the address of this page does not carry it" in text.value for text in app.caption)


def test_a_link_to_a_live_cohort_of_a_task_without_images_shows_the_published_runs():
    app = opened({"task": "chest"} | LINK)
    assert not app.exception and app.session_state["cohort_job"] is None
    assert [one.value.partition(",")[0] for one in app.warning] == [
        "live must not be in a link to Chest X-ray (pneumonia)"
    ]
    assert app.query_params == {"task": "chest"} and app.dataframe


def test_only_a_cohort_of_the_tasks_images_with_the_pages_settings_is_carried(tiny, tmp_path):
    protocol = protocol_of(tiny, "FGSM", 6, 24)
    recipe = {"attack_name": "FGSM", "attack": {"eps": 6 / 255}, "dataset_sha256": tiny.dataset.sha256}
    made = recipe | {"protocol": json.loads(json.dumps(protocol.as_dict()))}
    assert carried(made, tiny) == protocol
    assert carried(made | {"dataset_sha256": "0" * 64}, tiny) is None
    assert carried(made | {"protocol": made["protocol"] | {"steps": 3}}, tiny) is None
    assert carried(made | {"protocol": made["protocol"] | {"seed": 1}}, tiny) is None
    assert carried(recipe, tiny) is None, "of before these were kept"
    assert carried(made, Bundle("x", "X", tiny.folder, None)) is None


# From the command line


@pytest.fixture
def figures(capsys):
    """Run `figures` in this process, as HTML; gives exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main(["figures", *map(str, words), "--format", "html"])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def recipes(tiny, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """The recipes that the page exports of a live cohort, as files, and the data of its figures."""
    place, found = tmp_path_factory.mktemp("recipes"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUNDLES, "discs", tiny)
        patch.setenv("HFCVIZ_STORE", str(place / "store"))
        patch.chdir(APP.parent)
        patch.setattr(state, "store", Store)  # that of the process was opened by an earlier test
        patch.setattr(
            publishing,
            "export",
            lambda figure, key, alt, view, content: found.update({key: (figure, view, content)}),
        )
        app = settle(
            opened({"task": "discs", "chosen": "0-30", "method": "t-SNE", "detector": "KD"} | LINK), "cohort_job"
        )
        if "cohort_view" in app.session_state:
            app.session_state["cohort_view"][1].wait(120)
        app.run()
        assert not app.exception and not app.error
    for name in COHORT_FIGURES:
        _, view, content = found[name]
        (place / f"{name}.json").write_text(recipe_json(name, view or {}, content()))
    return place, csvs(found)


def test_the_recipe_of_a_live_cohorts_figure_makes_it_again_with_the_same_data(figures, recipes, tmp_path, monkeypatch):
    files, drawn = recipes
    attacks, run = [], cells.run
    monkeypatch.setattr(cells, "run", lambda *a, **k: attacks.append(a) or run(*a, **k))
    for name in COHORT_FIGURES:
        code, _, err = figures(files / f"{name}.json", "--out", tmp_path / "figs")
        assert code == 0, err
        if not attacks:
            pytest.fail("nothing was evaluated, though the store was empty")
        made = [file for file in (tmp_path / "figs").glob("*.csv") if file.stem.startswith(name)]
        assert any(file.read_text() == drawn[name] for file in made), name
    assert len(attacks) == 2, "FGSM without and with the constraint, once for all four figures"
    assert "selected" in json.loads((files / "cohort.json").read_text())["figure"]["view"]
    assert json.loads((files / "cohort.json").read_text())["figure"]["view"]["method"] == "t-SNE"
    again = next(file for file in (tmp_path / "figs").glob("cohort*.json"))
    assert json.loads(again.read_text()) == json.loads((files / "cohort.json").read_text())


def test_what_the_app_has_finished_is_not_evaluated_again(figures, recipes, tmp_path, monkeypatch):
    monkeypatch.setenv("HFCVIZ_STORE", str(recipes[0] / "store"))
    monkeypatch.setattr(cells, "run", lambda *a, **k: pytest.fail("something was attacked"))
    code, _, err = figures(recipes[0] / "roc.json", "--out", tmp_path / "figs")
    assert code == 0, err


def test_the_recipe_of_an_attack_without_the_constraint_brings_no_other_back(figures, recipes, tiny, tmp_path):
    assert figures(recipes[0] / "roc.json", "--out", tmp_path / "both")[0] == 0
    plain = replace(protocol_of(tiny, "FGSM", 6, 24), penalties=("none",))
    list(evaluate(Task(tiny.classifier, tiny.dataset, plain, tmp_path / "done")))
    judged = Runs(tmp_path / "done" / "judged-plain").load("FGSM", 6)
    (tmp_path / "plain.json").write_text(recipe_json("roc", {}, {"recipe": judged.recipe}))
    code, _, err = figures(tmp_path / "plain.json", "--out", tmp_path / "plain")
    assert code == 0, err
    drawn = (tmp_path / "plain" / "roc.csv").read_text()
    assert drawn == as_csv(of_cohort(judged, "roc", {})) and "FGSM+HFC" not in drawn
    assert "FGSM+HFC" in (tmp_path / "both" / "roc.csv").read_text()


def test_it_says_how_far_it_is(figures, recipes, tmp_path):
    code, _, err = figures(recipes[0] / "roc.json", "--out", tmp_path / "figs")
    assert code == 0 and "hfcviz: " in err and "% " in err


def test_a_data_set_of_ones_own_is_named_and_must_be_the_one_of_the_recipe(
    figures, recipes, sealed, tiny, tmp_path, monkeypatch
):
    files, drawn = recipes
    monkeypatch.delitem(BUNDLES, "discs")
    monkeypatch.setitem(BUNDLES, "sealed", sealed)
    words = [files / "roc.json", "--out", tmp_path / "figs"]
    code, _, err = figures(*words)
    assert (
        code == 2 and "name that data set with --dataset" in err.splitlines()[-1] and not (tmp_path / "figs").exists()
    )
    with np.load(tiny.folder / "slices.npz") as arrays:
        other = {name: arrays[name] for name in arrays.files}
    other["train_images"] = other["train_images"].copy()
    other["train_images"][0, 0, 0] ^= 1
    np.savez(tmp_path / "other.npz", **other)
    code, _, err = figures(*words, "--dataset", tmp_path / "other.npz")
    assert (
        code == 2
        and "must be the one of the recipe, slices with the sha256" in err
        and not (tmp_path / "figs").exists()
    )
    shutil.copy(tiny.folder / "slices.npz", tmp_path / "moved and renamed.npz")
    code, _, err = figures(*words, "--dataset", tmp_path / "moved and renamed.npz")
    assert code == 0, err
    assert (tmp_path / "figs" / "roc.csv").read_text() == drawn["roc"]


def _without(recipe: dict, name: str) -> dict:
    return {key: value for key, value in recipe.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: _without(r, "protocol"), "evaluate it and name its folder"),
        (lambda r: _without(r, "dataset_sha256"), "evaluate it and name its folder"),
        (lambda r: r | {"weights": "0" * 64}, "but here weights would differ"),
        (lambda r: r | {"attack": r["attack"] | {"step_size": 0.5}}, "but here attack would differ"),
        (lambda r: r | {"seed": 1}, "but here seed would differ"),
        (lambda r: r | {"penalty": r["penalty"] | {"weight": 2.0}}, "but here penalty would differ"),
        (lambda r: r | {"attack_name": "DeepFool"}, "all that its cohort was made with"),
        (lambda r: r | {"attack": {}}, "the eps of its attack"),
        (lambda r: r | {"attack": r["attack"] | {"eps": "8"}}, "must hold"),
        (lambda r: r | {"protocol": []}, "all that its cohort was made with"),
        (lambda r: r | {"protocol": r["protocol"] | {"steps": "4"}}, "all that its cohort was made with"),
        (lambda r: r | {"protocol": r["protocol"] | {"limit": 5}}, "limit must be at least 20 images"),
        (lambda r: r | {"protocol": r["protocol"] | {"constraint": {"weight": -1}}}, "HFC.weight must be"),
    ],
)
def test_a_recipe_of_something_else_or_a_damaged_one_is_one_sentence_before_any_work(
    figures, recipes, tmp_path, monkeypatch, change, words
):
    monkeypatch.setattr(cells, "run", lambda *a, **k: pytest.fail("something was attacked"))
    content = json.loads((recipes[0] / "roc.json").read_text())
    (tmp_path / "mine.json").write_text(json.dumps(content | {"recipe": change(content["recipe"])}))
    code, _, err = figures(tmp_path / "mine.json", "--out", tmp_path / "figs")
    assert code == 2 and words in err.splitlines()[-1] and not (tmp_path / "figs").exists()
