"""The Studies page: published findings at once, a run of one's own, and what is said where neither can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import one_thread  # noqa: F401
from streamlit.testing.v1 import AppTest
from studies_of_ours import TALLY

from hfcviz.bundle import BUNDLES
from hfcviz.datasets import Split
from hfcviz.palette import COLOURS
from hfcviz.settings import InputError
from hfcviz.studies import catalogue, stress
from hfcviz.studies.findings import Findings
from hfcviz.studies.pieces import Budget
from hfcviz.ui import study_form, study_views

ROOT = Path(__file__).parent.parent
ROWS = [
    {"attack": "PGD", "network": "net", "n": 60, "success": 0.875, "success_low": 0.75, "success_high": 0.9375},
    {"attack": "PGD+HFC", "network": "net", "n": 60, "success": 0.5, "success_low": 0.4, "success_high": 0.625},
]


def fake(bundle, name) -> Findings:
    """Findings as a file of the bundle would hold them."""
    budget = Budget(60, study_form.usual_eps(bundle), 12, 3).as_dict()
    lab = {"dataset": bundle.name, "model": bundle.about["name"], "weights": "0" * 64, "budget": budget}
    recipe = {"settings": catalogue.STUDIES[name].settings.as_dict(), "lab": lab, "versions": {}}
    return Findings(name, ROWS, f"It shows {bundle.name}.", "It leaves the rest open.", recipe)


@pytest.fixture
def few(tmp_path, monkeypatch) -> Path:
    """Few images in the place of the brain slices, so that a run is a matter of seconds; also as a file."""
    whole = BUNDLES["brain2d"].dataset
    splits = {part: Split(one.x[:72], one.y[:72], one.ids[:72]) for part, one in whole.splits.items()}
    monkeypatch.setitem(vars(BUNDLES["brain2d"]), "dataset", replace(whole, splits=splits))
    arrays = {f"{part}_images": one.x[:, 0] for part, one in splits.items()}
    arrays |= {f"{part}_labels": one.y for part, one in splits.items()}
    path = tmp_path / "few.npz"
    np.savez(path, class_names=np.array(whole.class_names), **arrays)
    return path


@pytest.fixture
def tally(monkeypatch) -> Iterator[None]:
    """Two studies of ours alone; of the second nothing is published."""
    studies = {"tally": TALLY, "unpublished": replace(TALLY, title="Unpublished")}
    monkeypatch.setattr(catalogue, "STUDIES", studies)
    monkeypatch.setattr(catalogue, "published", lambda bundle, name: fake(bundle, name) if name == "tally" else None)
    study_views._read.clear()
    yield
    study_views._read.clear()


def page_of(name: str, tmp_path, monkeypatch, study: str | None = None) -> AppTest:
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("hfcviz.ui.data_views._check", lambda *rest: [])
    monkeypatch.setattr("hfcviz.ui.state.store", lambda: study_views.state.Store(tmp_path))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.query_params["task"] = name
    if study is not None:
        app.query_params["study"] = study
    app.run()
    assert app.session_state["bundle_name"] == name
    return app.switch_page("hfcviz/ui/pages/studies.py").run()


def said(app: AppTest) -> str:
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.info, app.error, app.code)
    return "\n".join(element.value for kind in kinds for element in kind)


def drawn(app: AppTest) -> list:
    return app.get("plotly_chart")


def finish(app: AppTest) -> AppTest:
    job = app.session_state["study_job"]
    if job is not None:  # else it ended within the click
        assert job.wait(100), "the run takes too long"
        app.run()
    return app


@pytest.mark.parametrize("name", BUNDLES)
def test_published_findings_open_at_once_on_every_task(name, tally, tmp_path, monkeypatch):
    app = page_of(name, tmp_path, monkeypatch)
    assert not app.exception
    text = said(app)
    for part in (TALLY.question, f"It shows {name}.", "It leaves the rest open.", "A published run."):
        assert part in text
    eps = 4 if name == "chest" else 8
    model = BUNDLES[name].about["name"]
    assert f"{model} on {name}, at most 60 scans, eps {eps}/255, 12 steps, seed 3." in text
    assert f"hfcviz study tally --model {model} --dataset {name} --scans 60 --eps {eps} --steps 12 --seed 3" in text
    (figure,) = drawn(app)
    assert figure.proto.alt == TALLY.alt
    bars = study_views._figure("tally", study_views.digest(ROWS), fake(BUNDLES[name], "tally")).data
    assert [(bar.y[0], bar.marker.color) for bar in bars] == [(0.875, COLOURS["attack"]), (0.5, COLOURS["hidden"])]
    (table,) = app.dataframe
    assert list(table.value["target reached"]) == ["0.875 (0.75 to 0.938)", "0.5 (0.4 to 0.625)"]
    assert {button.label for button in app.get("download_button")} == {"Table (CSV)", "Findings (JSON)"}


@pytest.mark.parametrize("name", BUNDLES)
def test_every_study_opens_on_every_task(name, tmp_path, monkeypatch):
    app = page_of(name, tmp_path, monkeypatch)
    for study, about in catalogue.STUDIES.items():
        app.pills(key="study.name").set_value(study).run()
        assert not app.exception and not app.error, study
        text = said(app)
        assert about.question in text
        found = catalogue.published(BUNDLES[name], study)
        if found is None:
            assert "No run of this study is published" in text and not drawn(app)
        else:
            assert found.shows in text and found.shows_not in text and about.reading in text and len(drawn(app)) == 1
            assert len(app.dataframe[0].value) == len(found.rows)


def test_without_images_it_says_what_is_missing_and_where_to_load_it(tally, tmp_path, monkeypatch):
    app = page_of("chest", tmp_path, monkeypatch)
    assert "A run needs the labelled images. The network knows the paediatric chest X-rays" in said(app)
    assert not [button for button in app.button if button.label == "Run"]
    app.pills(key="study.name").set_value("unpublished").run()
    assert "No run of this study is published for **Chest X-ray (pneumonia)**." in said(app) and not app.exception


def test_the_address_carries_the_study(tally, tmp_path, monkeypatch):
    app = page_of("chest", tmp_path, monkeypatch)
    assert app.query_params.get("study") is None, "the first needs no word"
    assert set(app.query_params) == {"task"}


@pytest.mark.parametrize("study", list(catalogue.STUDIES)[1:])
def test_an_address_opens_its_study(study, tmp_path, monkeypatch):
    app = page_of("brain2d", tmp_path, monkeypatch, study)
    assert app.pills(key="study.name").value == study
    assert app.query_params["study"] == study and not app.exception


def small(app: AppTest) -> AppTest:
    app.number_input(key="study.budget.brain2d.scans").set_value(20)
    app.number_input(key="study.budget.brain2d.steps").set_value(1)
    return app


def test_a_run_takes_the_place_of_the_published_one_until_it_is_put_away(tally, few, tmp_path, monkeypatch):
    app = small(page_of("brain2d", tmp_path, monkeypatch)).run()
    assert "These settings are not those of the run that is shown" in said(app)
    app.button(key="study.run.tally").click().run()
    assert not app.exception and app.button(key="study.run.tally").disabled
    assert "It shows brain2d." in said(app), "what was shown stays while it runs"
    finish(app)
    text = said(app)
    assert "brain2d-resnet18 on brain2d, at most 20 scans, eps 8/255, 1 step, seed 0." in text
    assert "Run in this session" in text and "These settings are not those" not in text
    assert len(app.dataframe[0].value) == 2 and app.dataframe[0].value["n"][0] == "20"
    app.pills(key="study.name").set_value("unpublished").run()
    assert "No run of this study is published" in said(app), "a run belongs to its study"
    app.pills(key="study.name").set_value("tally").run()
    app.button(key="study.back.tally").click().run()
    assert "It shows brain2d." in said(app) and "A published run." in said(app)


def test_what_cannot_be_run_is_refused_in_one_sentence(tally, few, tmp_path, monkeypatch):
    def refuse(lab, settings, beside):
        raise InputError("This study needs a network with dropout, but this one has none: choose another.")

    monkeypatch.setitem(catalogue.STUDIES, "tally", replace(TALLY, check=refuse))
    app = page_of("brain2d", tmp_path, monkeypatch)
    finish(app.button(key="study.run.tally").click().run())
    assert [error.value for error in app.error] == [
        "This study needs a network with dropout, but this one has none: choose another."
    ]
    assert "It shows brain2d." in said(app)


def test_a_wrong_entry_is_a_sentence_in_the_form(tally, tmp_path, monkeypatch):
    app = page_of("brain2d", tmp_path, monkeypatch)
    app.number_input(key="study.budget.brain2d.scans").set_value(3).run()
    assert "Scans must be at least 20; got 3." in [error.value for error in app.error]
    assert app.button(key="study.run.tally").disabled and not app.exception, "the form keeps its shape"
    app.number_input(key="study.budget.brain2d.scans").set_value(30).run()
    assert not app.error and not app.button(key="study.run.tally").disabled


@pytest.mark.parametrize(
    ("study", "whose"), {"stress": ", of chest32-resnet18 and not of the task's own network", "ood": ""}.items()
)
def test_a_published_run_of_another_network_says_so(study, whose, tmp_path, monkeypatch):
    app = page_of("chest", tmp_path, monkeypatch, study)
    assert f"A published run{whose}. The address" in said(app) and not app.exception


def test_a_stopped_run_says_that_what_is_finished_is_kept(tally, few, tmp_path, monkeypatch):
    app = small(page_of("brain2d", tmp_path, monkeypatch)).run()
    app.button(key="study.run.tally").click()
    app.run()
    app.session_state["study_job"].cancel()
    finish(app)
    assert "Stopped. What is finished is kept: the same settings go on from there." in said(app)
    assert "It shows brain2d." in said(app)


def test_how_a_run_ended_is_told_at_its_own_study_alone(tally, few, tmp_path, monkeypatch):
    def fail(lab, settings, beside, progress):
        raise InputError("A study needs more than this: give it.")

    monkeypatch.setitem(catalogue.STUDIES, "tally", replace(TALLY, run=fail))
    app = page_of("brain2d", tmp_path, monkeypatch)
    finish(app.button(key="study.run.tally").click().run())
    assert [error.value for error in app.error] == ["A study needs more than this: give it."]
    app.pills(key="study.name").set_value("unpublished").run()
    assert not app.error, "that study has not failed"
    app.pills(key="study.name").set_value("tally").run()
    assert len(app.error) == 1
    monkeypatch.setitem(catalogue.STUDIES, "tally", TALLY)
    finish(small(app).button(key="study.run.tally").click().run())
    assert not app.error and "Run in this session" in said(app), "the next run wipes it away"


def test_a_failed_run_says_why_and_leaves_what_was_shown(tally, tmp_path, monkeypatch):
    def fail(lab, settings, beside, progress):
        raise InputError("A study needs at least 20 correctly classified test scans; net gets 3 of 70 right: check.")

    monkeypatch.setitem(catalogue.STUDIES, "tally", replace(TALLY, run=fail))
    app = page_of("brain2d", tmp_path, monkeypatch)
    app.button(key="study.run.tally").click().run()
    finish(app)
    assert "net gets 3 of 70 right" in app.error[0].value and "It shows brain2d." in said(app)


def test_damaged_findings_are_one_sentence_and_the_rest_works(tally, tmp_path, monkeypatch):
    def damaged(bundle, name):
        raise InputError("The findings tally.json hold no study (there are no rows): run the study again.")

    monkeypatch.setattr(catalogue, "published", damaged)
    app = page_of("brain2d", tmp_path, monkeypatch)
    assert not app.exception and len(app.error) == 1 and "hold no study" in app.error[0].value
    assert [button.label for button in app.button if button.label == "Run"] == ["Run"]
    app.session_state["studies"] = {("brain2d", "tally"): fake(BUNDLES["brain2d"], "tally")}
    app.run()
    assert not app.exception and not app.error, "a run of one's own takes the place of the damaged one"
    assert app.button(key="study.back.tally").label == "Put this run away"


def test_findings_that_the_figure_cannot_draw_keep_their_table(tally, tmp_path, monkeypatch):
    def other(bundle, name):
        return replace(fake(bundle, name), rows=[{"attack": "PGD", "success": 1.0}])

    monkeypatch.setattr(catalogue, "published", other)
    app = page_of("brain2d", tmp_path, monkeypatch)
    assert not app.exception and "cannot be drawn" in app.error[0].value and len(app.dataframe) == 1


def test_a_second_network_is_offered_and_one_of_one_s_own_is_asked_for(tally, few, tmp_path, monkeypatch):
    app = page_of("brain2d", tmp_path, monkeypatch)
    box = app.selectbox(key="study.beside.tally.brain2d")
    assert box.options[0] == "none" and "brain3d-densenet" in box.options and "brain2d-resnet18" not in box.options
    box.set_value("one of your own").run()
    assert "A second network of your own needs the folder of its model: type it." in [e.value for e in app.error]
    app.text_input(key="study.beside_model.tally").set_value("/nowhere").run()
    finish(app.button(key="study.run.tally").click().run())
    assert "/nowhere" in app.error[0].value and app.session_state["study_job"] is None
    app.text_input(key="study.beside_model.tally").set_value(str(BUNDLES["brain2d"].folder)).run()
    app.text_input(key="study.beside_data.tally").set_value(str(few)).run()
    small(app).button(key="study.run.tally").click().run()
    finish(app)
    assert not app.error, [error.value for error in app.error]
    assert "Beside it: brain2d-resnet18 on few, at most 20 scans" in said(app) and len(app.dataframe[0].value) == 4


def offered(app: AppTest, model: str) -> AppTest:
    return app.selectbox(key="study.beside.tally.brain2d").set_value(model).run()


def test_a_bundled_second_network_that_does_not_fit_is_refused(tally, few, tmp_path, monkeypatch):
    seen = []

    def refuse(lab, settings, beside):
        seen.append((beside.classifier.name, beside.dataset, beside.budget))
        raise InputError("Both networks must take scans of the same proportions: choose another second network.")

    volumes = BUNDLES["brain3d"].dataset
    monkeypatch.setattr(catalogue, "_check_data", lambda lab: None)
    monkeypatch.setitem(catalogue.STUDIES, "tally", replace(TALLY, check=refuse))
    app = small(offered(page_of("brain2d", tmp_path, monkeypatch), "brain3d-densenet"))
    finish(app.button(key="study.run.tally").click().run())
    assert [error.value for error in app.error] == [
        "Both networks must take scans of the same proportions: choose another second network."
    ]
    assert not app.exception
    ((name, dataset, budget),) = seen
    assert name == "brain3d-densenet" and dataset is volumes and (budget.scans, budget.steps) == (20, 1)


def test_x_rays_that_the_session_has_loaded_are_the_second_network_s_and_without_them_it_says_why(
    tally, few, tmp_path, monkeypatch
):
    seen = []

    def refuse(lab, settings, beside):
        seen.append((beside.classifier.name, beside.dataset))
        raise InputError("Seen.")

    app = offered(page_of("brain2d", tmp_path, monkeypatch), "chest-resnet18")
    (error,) = [one.value for one in app.error]
    assert "chest-resnet18 needs the labelled images of Chest X-ray (pneumonia), which are not here: load them" in error
    assert app.button(key="study.run.tally").disabled and not app.exception
    loaded = replace(BUNDLES["brain2d"].dataset, name="my X-rays")
    app.session_state["images"] = {"chest": loaded}
    app.run()
    assert not app.error and not app.button(key="study.run.tally").disabled
    monkeypatch.setattr(catalogue, "_check_data", lambda lab: None)
    monkeypatch.setitem(catalogue.STUDIES, "tally", replace(TALLY, check=refuse))
    finish(app.button(key="study.run.tally").click().run())
    assert [error.value for error in app.error] == ["Seen."]
    ((name, dataset),) = seen
    assert name == "chest-resnet18" and dataset is loaded


def test_a_network_without_a_task_looks_at_the_first_one_s_images_in_its_own_size(tally, few, tmp_path, monkeypatch):
    seen = []

    def refuse(lab, settings, beside):
        seen.append((beside.classifier, beside.dataset, lab.dataset))
        raise InputError("Seen.")

    monkeypatch.setattr(catalogue, "_check_data", lambda lab: None)
    monkeypatch.setitem(catalogue.STUDIES, "tally", replace(TALLY, check=refuse))
    small_input = replace(study_form.load_model("chest-vgg16"), input_shape=(1, 64, 64))
    monkeypatch.setattr(study_form, "load_model", lambda name: small_input)
    app = offered(page_of("brain2d", tmp_path, monkeypatch), "chest-vgg16")
    finish(app.button(key="study.run.tally").click().run())
    ((classifier, theirs, ours),) = seen
    assert classifier.name == "chest-vgg16"
    assert theirs.splits["test"].ids == ours.splits["test"].ids
    assert theirs.splits["test"].images([0])[0].shape == (1, 64, 64)


def test_a_run_ends_well_where_the_store_cannot_be_written(tally, few, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder can be made below a file")
    app = page_of("brain2d", tmp_path, monkeypatch)
    monkeypatch.setattr("hfcviz.ui.state.store", lambda: study_views.state.Store(tmp_path / "file" / "store"))
    finish(small(app).button(key="study.run.tally").click().run())
    assert not app.error and not app.exception
    assert "Run in this session" in said(app) and app.dataframe[0].value["n"][0] == "20"
    assert (tmp_path / "file").is_file()


def test_the_settings_of_the_form_are_those_of_the_run_and_others_say_so(tally, few, tmp_path, monkeypatch):
    app = page_of("brain2d", tmp_path, monkeypatch)
    app.multiselect(key="study.tally.brain2d.kinds").set_value(["PGD+HFC"])
    finish(small(app).button(key="study.run.tally").click().run())
    assert list(app.dataframe[0].value["attack"]) == ["PGD+HFC"]
    assert "These settings are not those" not in said(app)
    app.multiselect(key="study.tally.brain2d.kinds").set_value(["PGD"]).run()
    assert "These settings are not those of the run that is shown" in said(app)


def test_the_form_begins_with_the_eps_of_the_task_s_cohort_and_its_layers(tally, tmp_path, monkeypatch):
    monkeypatch.setattr("hfcviz.ui.state.has_images", lambda: True)
    app = page_of("chest", tmp_path, monkeypatch)
    assert app.number_input(key="study.budget.chest.eps").value == 4
    monkeypatch.setitem(catalogue.STUDIES, "tally", replace(TALLY, settings=stress.Stress()))
    assert app.run().multiselect(key="study.tally.chest.layers").options == [*BUNDLES["chest"].about["layer_names"]]


def test_a_refusal_calls_a_setting_as_the_form_does(few, tmp_path, monkeypatch):
    app = page_of("brain2d", tmp_path, monkeypatch, "components")
    app.multiselect(key="study.components.brain2d.components").set_value(["64", "200"])
    finish(app.button(key="study.run.components").click().run())
    (error,) = [one.value for one in app.error]
    assert error.startswith("Values of K must be smaller than the number of training images of each class; got 200")
