"""Every page runs without a browser, on the bundled default."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from hfcviz.bundle import open_bundle
from hfcviz.film import parting_line
from hfcviz.runs import Runs
from hfcviz.ui.state import ChosenScan

APP = Path(__file__).parent.parent / "app.py"
DATA = "hfcviz/ui/pages/data_model.py"


@pytest.fixture
def app(tmp_path, monkeypatch) -> AppTest:
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path))
    monkeypatch.chdir(APP.parent)
    return AppTest.from_file(str(APP), default_timeout=120).run()


def settle(app: AppTest, key: str = "job", seconds: float = 120) -> AppTest:
    """Run the page until its job has ended and been taken over."""
    end = time.monotonic() + seconds
    while app.session_state[key] is not None:
        assert time.monotonic() < end, "the job did not end"
        app.session_state[key].wait(1)
        app.run()
    return app


def button(app: AppTest, label: str):
    return next(one for one in app.button if one.label == label)


def headline(app: AppTest) -> str:
    return next(text.value for text in app.markdown if "detectors" in text.value and "**PGD" in text.value)


def test_explore_opens_on_the_bundled_result(app):
    assert not app.exception and not app.error
    first = open_bundle().first
    caught = sum(bool(first.caught(name)[first.row("attack")]) for name in first.scores)
    assert "**PGD** turns *lesion* into *healthy*" in headline(app)
    assert f"caught by **{caught} of {len(first.scores)}** detectors" in headline(app)
    assert any("not for clinical use" in text.value for text in app.caption)


def test_the_detector_table_repeats_the_stored_verdicts(app):
    first, table = open_bundle().first, app.dataframe[0].value
    for _, row in table.iterrows():
        for role, label in (("clean", "scan"), ("attack", "PGD"), ("hidden", "PGD+HFC")):
            caught = first.caught(row["detector"])[first.row(role)]
            assert row[label].endswith("caught" if caught else "passes")


def test_a_run_with_other_settings_replaces_the_result(app):
    app.number_input(key="attack.PGD.brain2d.steps").set_value(2)
    app.number_input(key="attack.PGD.brain2d.eps").set_value(1.0).run()
    assert any("press Run" in text.value for text in app.caption), "changed controls are announced"
    before = app.session_state["outcome"]
    button(app, "Run").click().run()
    settle(app)
    after = app.session_state["outcome"]
    assert not app.exception and not app.error
    assert after is not before
    assert after.recipe["plan"]["attack"]["steps"] == 2
    assert after.linf[after.row("attack")] == pytest.approx(1 / 255, abs=1e-6)
    assert "1/255" in headline(app)


def test_a_setting_out_of_range_is_a_sentence_and_the_result_stays(app):
    before = headline(app)
    app.number_input(key="attack.PGD.brain2d.eps").set_value(300.0).run()
    assert [error.value for error in app.error] == ["eps must be between 0 and 255/255; got 300/255."]
    assert button(app, "Run").disabled and app.number_input(key="seed").value == 0, "what follows is there all the same"
    assert headline(app) == before
    app.number_input(key="penalty.HFC.brain2d.weight").set_value(-1.0).run()
    assert len(app.error) == 2 and app.error[1].value.startswith("Weight must be")


def test_a_target_that_is_predicted_already_is_a_sentence_and_the_result_stays(app):
    before = headline(app)
    app.selectbox(key="target.brain2d").set_value("lesion").run()
    button(app, "Run").click().run()
    settle(app)
    assert len(app.error) == 1 and "target must differ" in app.error[0].value
    assert headline(app) == before


def test_a_stopped_run_leaves_the_result(app):
    before = headline(app)
    app.number_input(key="attack.PGD.brain2d.steps").set_value(1000).run()
    button(app, "Run").click().run()
    app.session_state["job"].cancel()
    settle(app)
    assert any("Stopped" in info.value for info in app.info)
    assert headline(app) == before


def test_without_constraint_only_the_plain_attack_is_shown(app):
    app.selectbox(key="penalty").set_value("none")
    app.number_input(key="attack.PGD.brain2d.steps").set_value(1).run()
    button(app, "Run").click().run()
    settle(app)
    assert not app.exception
    assert app.session_state["outcome"].roles == ("clean", "noise", "attack")
    assert "HFC" not in headline(app)


def films(app: AppTest) -> list[dict]:
    """The figures that play."""
    figures = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    return [figure for figure in figures if len(figure.get("frames", ())) > 2]


def opened(app: AppTest) -> AppTest:
    """The page with the section of the film open."""
    app.session_state["film.open"] = True
    return app.run()


def test_the_film_is_made_when_its_section_is_opened_and_not_before(app):
    assert not films(app)
    (figure,) = films(opened(app))
    names = [frame["name"] for frame in figure["frames"]]
    assert names == [str(step) for step in open_bundle().first.traces["attack"].shown]
    assert not app.exception


def test_the_strip_over_depth_says_where_the_attacks_part(app):
    assert any(text.value == parting_line(open_bundle().first) for text in app.caption)
    assert "part at" in parting_line(open_bundle().first)


def test_a_result_of_before_films_says_how_to_get_one(app):
    old = open_bundle().first
    app.session_state["outcome"] = replace(old, step_scores={}, step_depths={})
    assert not films(opened(app))
    assert any("before films were kept: press Run" in text.value for text in app.info)
    assert not app.exception


@pytest.mark.parametrize("layer", open_bundle().classifier.layer_names[::3])
@pytest.mark.parametrize("method", ["PCA", "t-SNE", "UMAP"])
def test_every_projection_of_the_bundled_result_is_there_at_once(app, layer, method):
    app.select_slider(key="layer").set_value(layer)
    app.segmented_control(key="method").set_value(method)
    app.run()
    assert not app.exception
    assert any(text.value.startswith(f"{method} fitted") for text in app.caption)


def test_data_page_offers_only_scans_that_no_detector_was_trained_on(app):
    app.switch_page(DATA).run()
    assert not app.exception and not app.error
    reference = open_bundle().reference
    allowed = {f"use.{name}" for name, trains in zip(reference.ids, reference.trains, strict=True) if not trains}
    offered = {one.key for one in app.button if one.key and one.key.startswith("use.")}
    assert offered and offered <= allowed


def test_a_chosen_scan_is_the_one_that_is_run(app):
    app.switch_page(DATA).run()
    chosen = next(one for one in app.button if one.key and one.key.startswith("use.") and one.label == "healthy")
    name = chosen.key.removeprefix("use.")
    chosen.click().run()
    assert app.session_state["scan"].name == name


COHORT = "hfcviz/ui/pages/cohort.py"


def runs_of(name: str = "brain2d", eps: float | None = None):
    """The published runs of a bundle, and the rows of those at one eps (by default its cohort's)."""
    bundle = open_bundle(name)
    eps = round(bundle.reference.recipe["attack"]["eps"] * 255, 6) if eps is None else eps
    return bundle.runs, [row for row in bundle.runs.rows if row["eps_255"] == eps], eps


def cohort(app: AppTest) -> AppTest:
    app.switch_page(COHORT).run()
    assert not app.exception and not app.error
    return app


def test_the_cohort_page_shows_the_published_runs_at_once(app):
    cohort(app)
    _, rows, eps = runs_of()
    table = app.dataframe[0].value.set_index(["AUC", "constraint"])
    assert list(table.columns) == list(dict.fromkeys(row["attack"] for row in rows))
    for row in rows:
        shown = table.loc[(row["detector"], row["penalty"]), row["attack"]]
        assert shown.startswith(f"{row['auc']:.2f} ({row['auc_low']:.2f} to")
        assert ("inverted" in shown) is (row["auc_high"] < 0.5)
        reached = table.loc[("target reached", row["penalty"]), row["attack"]]
        assert reached.startswith(f"{row['success']:.1%} ({row['success_low']:.1%} to")
        assert float(table.loc[("largest change, /255", row["penalty"]), row["attack"]]) == pytest.approx(eps, abs=0.01)


def test_the_papers_layout_is_an_option(app):
    cohort(app)
    app.segmented_control(key="cohort.measure").set_value("as in the paper").run()
    _, rows, _ = runs_of()
    auc = {(row["attack"], row["detector"], row["penalty"]): 100 * row["auc"] for row in rows}
    table = app.dataframe[0].value.set_index("detector")
    for attack in table.columns:
        for name, cell in table[attack].items():
            assert cell == f"{auc[attack, name, 'none']:.1f} > {auc[attack, name, 'HFC']:.1f}"


def test_another_published_run_fills_the_page(app):
    cohort(app)
    runs, _, _ = runs_of()
    eps = max(size for _, size in runs.names)
    app.segmented_control(key="cohort.eps.brain2d").set_value(eps).run()
    app.segmented_control(key=f"cohort.run.brain2d.{eps}").set_value("MIM").run()
    assert not app.exception
    judged = runs.load("MIM", eps)
    assert any(f"**MIM** at {eps:g}/255" in text.value for text in app.markdown)
    table = app.dataframe[1].value.set_index("detector")
    for row in judged.rows:
        label = {"attack": "MIM", "hidden": "MIM+HFC"}[row["role"]]
        assert table.loc[row["detector"], f"AUC {label}"].startswith(f"{row['auc']:.2f} (")
    metrics = {one.label: one.value for one in app.metric}
    assert metrics["MIM+HFC: target reached"] == f"{judged.overall['hidden']['success']:.1%}"
    assert metrics["MIM: largest change"] == f"{eps:.2f}/255"


def test_a_selection_lists_its_scans_and_one_opens_on_the_explore_page(app):
    cohort(app)
    runs, rows, eps = runs_of()
    ids = runs.load(rows[0]["attack"], eps).ids
    app.session_state["chosen"] = frozenset(ids[3:5])
    app.run()
    offered = {one.key for one in app.button if one.key and one.key.startswith("open.")}
    assert offered == {f"open.{name}" for name in ids[3:5]}
    app.button(key=f"open.{ids[4]}").click().run()
    assert app.session_state["scan"].name == ids[4]


def test_the_table_of_every_scan_is_made_once_it_is_opened_and_stays_open_for_another_run(app):
    cohort(app)
    runs, _, eps = runs_of()
    assert len(app.dataframe) == 2
    app.session_state["cohort.table"] = True
    app.run()
    app.segmented_control(key=f"cohort.run.brain2d.{eps}").set_value("MIM").run()
    assert not app.exception
    judged, table = runs.load("MIM", eps), app.dataframe[2].value
    assert list(table["scan"]) == list(judged.ids)
    for row in range(len(judged.ids)):
        caught = sum(judged.scores[name]["hidden"][row] > judged.thresholds[name] for name in judged.scores)
        assert table["MIM+HFC: caught by, of 8"][row] == caught


def test_the_export_of_a_selection_holds_its_scans_alone(app, monkeypatch):
    made = {}
    monkeypatch.setattr("streamlit.download_button", lambda label, data, *rest, **more: made.update({label: data}))
    cohort(app)
    runs, rows, eps = runs_of()
    ids = runs.load(rows[0]["attack"], eps).ids
    app.session_state["chosen"] = frozenset(ids[3:5])
    app.run()
    whole, part = (
        pd.read_csv(io.BytesIO(made[f"CSV of {what} scans"]())) for what in (f"all {len(ids)}", "2 selected")
    )
    assert list(whole["scan"]) == list(ids) and list(part["scan"]) == list(ids[3:5])


def test_a_live_cohort_replaces_the_published_runs_and_goes_back(app):
    cohort(app)
    app.number_input(key="cohort.limit").set_value(24)
    app.selectbox(key="cohort.attack").set_value("FGSM").run()
    button(app, "Evaluate").click().run()
    settle(app, "cohort_job", 240)
    assert not app.exception and not app.error
    assert app.session_state["cohort"].overall["attack"]["attacked"] == 24
    assert any("**FGSM** at 8/255, 1 step," in text.value for text in app.markdown)
    app.segmented_control(key="cohort.method.3").set_value("t-SNE").run()
    assert not app.exception
    button(app, "Back to the published runs").click().run()
    assert not any("**FGSM** at 8/255" in text.value for text in app.markdown)
    assert any("**PGD** at 8/255" in text.value for text in app.markdown)
    assert app.session_state["cohort"] is None


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("limit", 5, "Scans must be at least 20 images, for detectors to be trained and judged; got 5."),
        ("live_eps.brain2d", 0.0, "eps must be above 0 and at most 255/255; got 0."),
        ("live_eps.brain2d", 300.0, "eps must be above 0 and at most 255/255; got 300."),
    ],
)
def test_a_wrong_entry_for_a_cohort_is_one_sentence_in_the_form_and_the_cohort_stays(app, key, value, sentence):
    cohort(app)
    app.number_input(key=f"cohort.{key}").set_value(value).run()
    assert [error.value for error in app.error] == [sentence]
    assert button(app, "Evaluate").disabled and not app.exception
    assert app.session_state["cohort"] is None and app.dataframe
    app.number_input(key=f"cohort.{key}").set_value(24).run()
    assert not app.error and not button(app, "Evaluate").disabled


def test_a_damaged_run_is_one_sentence_and_the_live_form_stays(app, tmp_path, monkeypatch):
    (tmp_path / "PGD 8.npz").write_text("half a file")
    monkeypatch.setitem(open_bundle().__dict__, "runs", Runs(tmp_path))
    app.switch_page(COHORT).run()
    assert not app.exception
    assert len(app.error) == 1 and app.error[0].value.startswith(f"{tmp_path / 'PGD 8.npz'} is not readable")
    assert button(app, "Evaluate")


# The task without images


def task(app: AppTest, name: str) -> AppTest:
    """The app on the page where another task was chosen."""
    app.switch_page(DATA).run()
    app.segmented_control(key="task").set_value(name).run()
    assert not app.exception and not app.error
    return app


@pytest.fixture
def chest(app) -> AppTest:
    return task(app, "chest")


def an_xray(seed: int = 0):
    """A picture of the size of the network's input, and a name."""
    return ChosenScan("mine.png", np.random.default_rng(seed).random((1, 224, 224), dtype=np.float32))


def test_a_task_without_images_says_where_to_get_them(chest):
    assert any("Kermany et al. 2018" in text.value for text in chest.markdown)
    chest.switch_page("hfcviz/ui/pages/explore.py").run()
    assert not chest.exception and not chest.error
    assert any("**Chest X-ray (pneumonia)** has no first result" in text.value for text in chest.markdown)
    assert button(chest, "Run").disabled


def test_a_scan_of_ones_own_goes_through_on_a_task_without_images(chest):
    chest.session_state["scan"] = an_xray()
    chest.switch_page("hfcviz/ui/pages/explore.py").run()
    known = open_bundle("chest").reference.recipe["attack"]
    assert chest.number_input(key="attack.PGD.chest.eps").value == pytest.approx(known["eps"] * 255)
    chest.number_input(key="attack.PGD.chest.steps").set_value(2).run()
    button(chest, "Run").click().run()
    settle(chest)
    assert not chest.exception and not chest.error
    outcome = chest.session_state["outcome"]
    assert outcome.recipe["model"]["name"] == "chest-resnet18"
    assert outcome.linf[outcome.row("attack")] == pytest.approx(known["eps"], abs=1e-6)
    assert "detectors" in headline(chest)


def test_the_cohort_of_a_task_without_images_is_shown_without_pictures(chest):
    cohort(chest)
    runs, rows, eps = runs_of("chest")
    chest.session_state["chosen"] = frozenset(runs.load(rows[0]["attack"], eps).ids[:2])
    chest.run()
    assert not chest.exception and not chest.error
    assert any("Their pictures are not here" in text.value for text in chest.caption)
    assert not [one.key for one in chest.button if one.key and one.key.startswith("open.")]


def test_a_data_set_that_is_not_the_tasks_is_one_sentence(chest, tmp_path):
    chest.text_input(key="images.chest").set_value(str(tmp_path / "nothing.zip")).run()
    settled(chest, "images_job")
    assert any("must be a file or folder on this machine; got" in one.value for one in chest.info)
    chest.text_input(key="images.chest").set_value("pneumoniamnist").run()
    settled(chest, "images_job")
    assert any("must be a file or folder on this machine; got 'pneumoniamnist'" in one.value for one in chest.info)
    chest.text_input(key="images.chest").set_value(str(open_bundle().folder / "slices.npz")).run()
    settled(chest, "images_job")
    assert any("must have the classes NORMAL, PNEUMONIA; got healthy, lesion" in one.value for one in chest.info)


@pytest.mark.parametrize("same", [True, False])
def test_images_from_this_machine_bring_pictures_to_the_task_if_they_are_the_same(chest, tmp_path, monkeypatch, same):
    if same:  # what the X-rays look like is not known here; their names are
        monkeypatch.setattr("hfcviz.ui.data_views._same_scans", lambda *rest: True)
    runs, rows, eps = runs_of("chest")
    here = runs.load(rows[0]["attack"], eps).ids[:3]
    for number, name in enumerate(("train/NORMAL/a.png", "train/PNEUMONIA/b.png", "val/NORMAL/c.png", *here)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (30, 30), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name, format="PNG")
    chest.text_input(key="images.chest").set_value(str(tmp_path)).run()
    settled(chest, "images_job")
    assert not chest.exception and not chest.error
    if not same:
        assert any("holds other pictures under the names of the test scans" in one.value for one in chest.info)
        return
    assert {one.key for one in chest.button if one.key and one.key.startswith("use.")} == {
        f"use.{name}" for name in here
    }
    cohort(chest)
    chest.session_state["chosen"] = frozenset(runs.load(rows[0]["attack"], eps).ids[:5])
    chest.run()
    assert {one.key for one in chest.button if one.key and one.key.startswith("open.")} == {f"open.{n}" for n in here}
    chest.button(key=f"open.{here[1]}").click().run()
    assert chest.session_state["scan"].name == here[1] and chest.session_state["scan"].x.shape == (1, 224, 224)


@pytest.fixture
def volumes(app) -> AppTest:
    return task(app, "brain3d")


def test_the_task_of_volumes_opens_on_its_own_result(volumes):
    volumes.switch_page("hfcviz/ui/pages/explore.py").run()
    assert not volumes.exception and not volumes.error
    outcome = volumes.session_state["outcome"]
    assert outcome.x.shape[1:] == (1, 64, 64, 64) and outcome.recipe["model"]["name"] == "brain3d-densenet"
    assert "**PGD+HFC** turns *lesion* into *healthy*" in headline(volumes)


def test_volumes_are_chosen_by_a_picture_and_run(volumes):
    chosen = next(one for one in volumes.button if one.key and one.key.startswith("use."))
    name = chosen.key.removeprefix("use.")
    chosen.click().run()
    assert volumes.session_state["scan"].name == name and volumes.session_state["scan"].x.shape == (1, 64, 64, 64)
    volumes.switch_page("hfcviz/ui/pages/explore.py").run()
    volumes.number_input(key="attack.PGD.brain3d.steps").set_value(2).run()
    button(volumes, "Run").click().run()
    settle(volumes)
    assert not volumes.exception and not volumes.error
    outcome = volumes.session_state["outcome"]
    known = open_bundle("brain3d").reference.recipe["attack"]
    assert outcome.recipe["scan"]["name"] == name and outcome.linf.max() == pytest.approx(known["eps"], abs=1e-6)


def test_the_cohort_of_volumes_is_shown_with_pictures_of_their_middle(volumes):
    cohort(volumes)
    runs, rows, eps = runs_of("brain3d")
    volumes.session_state["chosen"] = frozenset(runs.load(rows[0]["attack"], eps).ids[:2])
    volumes.run()
    assert not volumes.exception and not volumes.error
    assert len([one.key for one in volumes.button if one.key and one.key.startswith("open.")]) == 2


def settled(app: AppTest, slot: str) -> AppTest:
    """Run the page until the job of a slot has ended."""
    app.session_state[slot][1].wait(60)
    return app.run()


def test_going_back_to_the_first_task_shows_its_result_again(chest):
    chest.switch_page(DATA).run()
    chest.segmented_control(key="task").set_value("brain2d").run()
    chest.switch_page("hfcviz/ui/pages/explore.py").run()
    assert not chest.exception and "lesion" in headline(chest)


def test_a_run_under_way_does_not_reach_the_page_of_another_task(app):
    app.number_input(key="attack.PGD.brain2d.steps").set_value(1000).run()
    button(app, "Run").click().run()
    job = app.session_state["job"]
    app.switch_page(DATA).run()
    app.segmented_control(key="task").set_value("chest").run()
    assert job.wait(60) and job.state == "cancelled"
    app.switch_page("hfcviz/ui/pages/explore.py").run()
    assert app.session_state["outcome"] is None and not app.exception and not app.info


def marked(app: AppTest, name: str) -> set[str]:
    """Ids that the figure of this name marks."""
    import json

    found = next(one for one in app.get("plotly_chart") if f"-{name}." in one.proto.id)
    ids = set()
    for trace in json.loads(found.proto.spec)["data"]:
        if trace.get("customdata") and trace.get("selectedpoints") is not None:
            ids |= {trace["customdata"][row][0] for row in trace["selectedpoints"]}
    return ids


def test_what_is_selected_is_marked_in_one_layer_in_all_layers_and_on_the_cohort_page(app):
    reference = open_bundle().reference
    held_out = [name for name, trains in zip(reference.ids, reference.trains, strict=True) if not trains]
    chosen = set(held_out[:3])
    app.session_state["chosen"] = frozenset(chosen)
    app.run()
    assert marked(app, "scatter") == chosen
    app.segmented_control(key="layers_shown").set_value("all layers").run()
    assert not app.exception and marked(app, "grid") == chosen
    app.segmented_control(key="layers_shown").set_value("one layer")
    app.switch_page("hfcviz/ui/pages/cohort.py").run()
    runs, rows, eps = runs_of()
    there = chosen & set(runs.load(rows[0]["attack"], eps).ids)
    assert marked(app, "cohort") == there


def test_letting_go_marks_nothing(app):
    app.session_state["chosen"] = frozenset(open_bundle().reference.ids[:3])
    app.run()
    button(app, "Let go").click().run()
    assert not app.session_state["chosen"] and not marked(app, "scatter")


def test_a_tick_below_a_thumbnail_selects_its_scan_and_another_lets_go(app):
    app.switch_page(DATA).run()
    tick = next(one for one in app.checkbox if one.key.startswith("tick.gallery."))
    name = tick.key.split(".")[2]
    tick.check().run()
    assert app.session_state["chosen"] == {name}
    tick = next(one for one in app.checkbox if one.key.startswith(f"tick.gallery.{name}."))
    assert tick.value
    tick.uncheck().run()
    assert not app.session_state["chosen"]
