"""The export dialog and the figure for a paper, without a browser."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from test_app import app, button  # noqa: F401

from hfcviz import chromium, layer_views, publish
from hfcviz.bundle import open_bundle
from hfcviz.tour import BUNDLE
from hfcviz.ui import publishing, state


def open_dialog(app, key: str = "depth"):  # noqa: F811
    """A click on a figure's Export; gives the page with its dialog."""
    return app.button(key=f"export.{key}").click().run()


def test_every_figure_of_explore_has_its_export_and_nothing_is_rendered_before_it_is_asked_for(app, monkeypatch):  # noqa: F811
    monkeypatch.setattr(publish, "render", lambda *a: pytest.fail("a figure was rendered"))
    keys = {one.key.removeprefix("export.") for one in app.button if (one.key or "").startswith("export.")}
    assert keys == {"scan", "difference", "scatter", "depth", "detectors"}
    open_dialog(app)
    assert not app.exception
    labels = [one.label for one in app.get("download_button")]
    assert labels.count("Figure (PDF)") == 1 and "Data (CSV)" in labels and "Recipe (JSON)" in labels


def test_every_figure_of_the_cohort_has_its_export(app):  # noqa: F811
    app.switch_page("hfcviz/ui/pages/cohort.py").run()
    keys = {one.key.removeprefix("export.") for one in app.button if (one.key or "").startswith("export.")}
    assert not app.exception and keys == {"cohort", "roc", "scores", "auc-map"}


def test_without_a_chromium_the_dialog_says_how_to_get_one_and_the_rest_works(app, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "none"))
    open_dialog(app)
    assert any("PDF needs a Chromium" in info.value and chromium.HOW in info.value for info in app.info)
    disabled = {one.label: one.proto.disabled for one in app.get("download_button")}
    assert disabled["Figure (PDF)"] and not disabled["Data (CSV)"] and not disabled["Recipe (JSON)"]


def test_the_figure_for_a_paper_has_panels_and_caption_and_its_own_export(app):  # noqa: F811
    app.session_state["paper"] = True
    app.run()
    first = open_bundle().first
    assert not app.exception
    caption = next(one.value for one in app.code if "Small points" in one.value)
    assert first.recipe["scan"]["name"] in caption and "eps 8/255" in caption
    assert app.button(key="export.montage")
    app.multiselect(key="paper.layers.brain2d").set_value([]).run()
    assert any("got none" in info.value for info in app.info) and not app.exception


def test_the_figure_for_a_paper_of_a_result_without_ready_maps_is_made_by_a_job(app):  # noqa: F811
    app.session_state["outcome"] = replace(
        open_bundle().first
    )  # another result than the first, of which nothing is known
    app.session_state["paper"] = True
    app.run()
    assert not app.exception and app.expander
    app.session_state["paper_job"][1].wait(300)
    app.run()
    assert not app.exception
    assert any("Small points" in one.value for one in app.code) and app.button(key="export.montage")


def test_a_figure_of_the_tour_has_the_recipe_of_the_tours_result_whatever_is_shown(app, monkeypatch):  # noqa: F811
    contents = {}
    monkeypatch.setattr(publishing, "export", lambda figure, key, alt, view, content: contents.update({key: content}))
    app.session_state["outcome"] = open_bundle("brain3d").first
    app.switch_page("hfcviz/ui/pages/tour.py").run()
    assert not app.exception
    tours = {key: content() for key, content in contents.items() if key.startswith("tour-")}
    assert tours and all(one["recipe"] == open_bundle(BUNDLE).first.recipe for one in tours.values())


def test_the_figure_for_a_paper_computes_no_projection_again_when_it_is_drawn_again(app, monkeypatch):  # noqa: F811
    fitted = []
    embed = layer_views.embed_layer
    monkeypatch.setattr(layer_views, "embed_layer", lambda *a, **k: fitted.append(a[2]) or embed(*a, **k))
    app.session_state["outcome"] = replace(open_bundle().first)  # of which nothing is known
    app.session_state["paper"] = True
    app.run()
    app.session_state["paper_job"][1].wait(120)
    app.run()
    app.pills(key="paper.methods").set_value(["PCA"]).run()
    layers = app.multiselect(key="paper.layers.brain2d").value
    assert {"layer1.0", "layer4.1"} == set(layers) <= set(fitted) and app.button(key="export.montage")
    fitted.clear()
    app.button(key="export.montage").click().run()
    app.run()
    assert not app.exception and any("Small points" in one.value for one in app.code)
    assert fitted == []


def test_a_session_remembers_the_newest_positions_only(monkeypatch):
    outcome = open_bundle().first
    monkeypatch.setattr(state.st, "session_state", SimpleNamespace(embeddings={}))
    made = [SimpleNamespace(number=number) for number in range(state.KEPT + 3)]
    for one in made:
        state.keep_embedding(outcome, f"layer {one.number % state.KEPT}", "PCA", one)
    kept = list(state.st.session_state.embeddings.values())
    assert kept == made[3:], "layers 0 to 2 were kept again, and count as new"
    state.keep_embedding(outcome, "another", "PCA", made[0])
    assert list(state.st.session_state.embeddings.values()) == [*made[4:], made[0]]
