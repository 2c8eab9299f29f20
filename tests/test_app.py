"""Every page runs without a browser, on the bundled default."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from hfcviz.bundle import open_bundle
from hfcviz.reference import compare

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
    app.number_input(key="attack.PGD.steps").set_value(2)
    app.number_input(key="attack.PGD.eps").set_value(1.0).run()
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
    app.number_input(key="attack.PGD.eps").set_value(300.0).run()
    assert [error.value for error in app.error] == [
        "Attack.eps must be between 0 and 1; got 1.1764705882352942 (300/255)."
    ]
    assert button(app, "Run").disabled
    assert headline(app) == before


def test_a_target_that_is_predicted_already_is_a_sentence_and_the_result_stays(app):
    before = headline(app)
    app.selectbox(key="target").set_value("lesion").run()
    button(app, "Run").click().run()
    settle(app)
    assert len(app.error) == 1 and "target must differ" in app.error[0].value
    assert headline(app) == before


def test_a_stopped_run_leaves_the_result(app):
    before = headline(app)
    app.number_input(key="attack.PGD.steps").set_value(1000).run()
    button(app, "Run").click().run()
    app.session_state["job"].cancel()
    settle(app)
    assert any("Stopped" in info.value for info in app.info)
    assert headline(app) == before


def test_without_constraint_only_the_plain_attack_is_shown(app):
    app.selectbox(key="penalty").set_value("none")
    app.number_input(key="attack.PGD.steps").set_value(1).run()
    button(app, "Run").click().run()
    settle(app)
    assert not app.exception
    assert app.session_state["outcome"].roles == ("clean", "noise", "attack")
    assert "HFC" not in headline(app)


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


def cohort(app: AppTest, seconds: float = 120) -> AppTest:
    """The Cohort page once its detectors have judged."""
    app.switch_page(COHORT).run()
    end = time.monotonic() + seconds
    while not app.dataframe:
        assert time.monotonic() < end, "the cohort was not judged"
        app.session_state["judged"][1].wait(1)
        app.run()
    return app


def test_the_cohort_page_shows_the_table_that_the_reference_gives(app):
    cohort(app)
    assert not app.exception and not app.error
    table = app.dataframe[0].value.set_index("detector")
    for row in compare(open_bundle().reference):
        label = {"attack": "PGD", "hidden": "PGD+HFC"}[row["role"]]
        assert table.loc[row["detector"], f"AUC {label}"].startswith(f"{row['auc']:.2f} (")
        assert ("inverted" in table.loc[row["detector"], f"AUC {label}"]) is (row["auc_high"] < 0.5)
    app.toggle(key="cohort.paper").set_value(True).run()
    assert list(app.dataframe[0].value.columns) == ["detector", "PGD"]
    assert " > " in app.dataframe[0].value["PGD"][0]


def test_a_selection_lists_its_scans_and_one_opens_on_the_explore_page(app):
    cohort(app)
    reference = open_bundle().reference
    held_out = [name for name, trains in zip(reference.ids, reference.trains, strict=True) if not trains]
    app.session_state["chosen"] = frozenset(held_out[3:5])
    app.run()
    offered = {one.key for one in app.button if one.key and one.key.startswith("open.")}
    assert offered == {f"open.{name}" for name in held_out[3:5]}
    app.button(key=f"open.{held_out[4]}").click().run()
    assert app.session_state["scan"].name == held_out[4]


def test_a_live_cohort_replaces_the_bundled_one_and_goes_back(app):
    cohort(app)
    app.number_input(key="cohort.limit").set_value(24)
    app.selectbox(key="cohort.attack").set_value("FGSM").run()
    button(app, "Evaluate").click().run()
    settle(app, "cohort_job", 240)
    cohort(app)
    assert not app.exception and not app.error
    assert len(app.session_state["cohort"].ids) == 24
    assert any("**FGSM** at 8/255, 1 step," in text.value for text in app.markdown)
    button(app, "Back to the bundled cohort").click().run()
    assert any("**PGD** at 8/255" in text.value for text in cohort(app).markdown)


def test_too_few_scans_are_one_sentence_and_the_cohort_stays(app):
    cohort(app)
    app.number_input(key="cohort.limit").set_value(5).run()
    button(app, "Evaluate").click().run()
    settle(app, "cohort_job")
    assert [error.value for error in app.error] == [
        "limit must be at least 20 images, for detectors to be trained and judged; got 5."
    ]
    assert app.session_state["cohort"] is None
