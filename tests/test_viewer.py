"""The Explore page with a volume and with an image on their own grids, without a browser."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bundles import case, one_thread  # noqa: F401
from streamlit.testing.v1 import AppTest

from hfcviz.bundle import BUNDLES, Bundle, open_bundle
from hfcviz.experiment import run_experiment
from hfcviz.grids import Shown
from hfcviz.resampling import place, prepare
from hfcviz.scans import Scan
from hfcviz.store import digest
from hfcviz.ui import sliders, state, viewer

APP = Path(__file__).parent.parent / "app.py"
AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])
AFFINE[:3, 3] = -12, -8, -16


def a_scan() -> Scan:
    """A CT of 12 x 10 x 8 voxels with something bright around (7, 5, 4)."""
    values = np.random.default_rng(5).uniform(-150, 230, (1, 12, 10, 8)).astype(np.float32)
    values[:, 4:11, 3:8, 2:7] += 2000
    return Scan(
        values, AFFINE, (2.0, 2.0, 4.0), "mine.nii", (), (-160.0, 240.0), "NIfTI", "CT", "HU", (("W1", (0.0, 90.0)),)
    )


@pytest.fixture
def tiny(monkeypatch) -> Bundle:
    """A bundle of the 3-D network of the tests, under a name of its own."""
    one = case(3)
    found = Bundle("tiny3d", "Tiny volumes", Path("nowhere"), None, "A note.")
    names = one.classifier.layer_names
    found.__dict__.update(
        {
            "classifier": one.classifier,
            "reference": one.reference,
            "first": one.outcome,
            "about": {"class_names": one.classifier.class_names, "layer_names": names, "input_shape": (1, 8, 8, 8)},
        }
    )
    monkeypatch.setitem(BUNDLES, "tiny3d", found)
    return found


@pytest.fixture
def app(tiny, tmp_path, monkeypatch) -> AppTest:
    """The Explore page of that bundle, with its first result."""
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path))
    monkeypatch.chdir(APP.parent)
    app = AppTest.from_file(str(APP), default_timeout=120)
    first = {"bundle_name": "tiny3d", "outcome": replace(tiny.first), "images": {}, "origins": {}, "embeddings": {}}
    none = dict.fromkeys(("scan", "job", "job_message", "cohort_job", "cohort_job_message", "seen", "cohort"))
    for key, value in (first | none | {"chosen": frozenset()}).items():
        app.session_state[key] = value
    return app


def captions(app: AppTest) -> str:
    return "\n".join(text.value for text in app.caption)


def key_of(app: AppTest, start: str):
    return next(
        one for kind in (app.select_slider, app.selectbox, app.toggle) for one in kind if one.key.startswith(start)
    )


def figure(app: AppTest) -> SimpleNamespace:
    """What the chart of planes was given: its rows' names, and how many pictures it has."""
    charts = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    found = next(one for one in charts if any(trace["type"] == "image" for trace in one["data"]))
    notes = [note["text"] for note in found["layout"]["annotations"]]
    images = [trace for trace in found["data"] if trace["type"] == "image"]
    letters = ["".join(trace["text"]) for trace in found["data"] if trace.get("name") == "marks"]
    letters = [one for one in letters if one]
    return SimpleNamespace(notes=notes, images=images, letters=letters, frames=found.get("frames") or [])


def test_a_volume_of_the_networks_grid_is_shown_in_three_planes_without_letters(app):
    app.run()
    assert not app.exception and not app.error
    shown = figure(app)
    assert len(shown.images) == 12 and shown.letters == []
    assert {"axial", "coronal", "sagittal"} <= set(shown.notes)
    assert "Shown on the network's grid, 8 x 8 x 8 voxels." in captions(app)
    assert "does not say how the patient lies" in captions(app)


@pytest.fixture
def own(app, tiny) -> AppTest:
    """The same after a scan of one's own was run: shown on its own grid."""
    scan = a_scan()
    chosen = state.ChosenScan("mine.nii", prepare(scan, (1, 8, 8, 8)), None, scan)
    one = case(3)
    app.session_state["outcome"] = run_experiment(
        one.classifier, one.reference, chosen.x, one.plan, scan_name=chosen.name
    )
    app.session_state["scan"] = chosen
    app.session_state["origins"] = {digest(chosen.x): chosen}
    app.run()
    assert not app.exception and not app.error
    return app


def test_a_scan_of_ones_own_is_shown_on_its_own_grid_in_its_own_units(own):
    shown = figure(own)
    assert shown.letters == ["ALPR"] * 3 + ["SLIR"] * 3 + ["SPIA"] * 3, "top, right, bottom, left of each version"
    assert "own grid, 12 x 10 x 8 voxels of 2 x 2 x 4 mm" in captions(own) and "network's 8 x 8 x 8" in captions(own)
    assert [trace["dy"] for trace in shown.images[::4]] == [2, 4, 4]
    assert " HU; PGD " in captions(own)


def test_eps_is_said_in_the_scans_units_in_the_headline_and_beside_the_control(own):
    assert any("No voxel changes by more than 12/255 = 18.8 HU" in text.value for text in own.markdown)
    assert "eps 12/255 = 18.8 HU at this window (-160 to 240)" in captions(own)


def test_it_opens_in_the_middle_of_the_body_and_a_slider_moves_the_crosshair(own):
    assert "Crosshair: R 2.0, A 2.0, S 0.0 mm, voxel 7, 5, 4 (RAS+)." in captions(own)
    before = figure(own).images[0]["source"]
    key_of(own, "slice.axial").set_value(2).run()
    assert "S 0.0" not in captions(own) and "voxel 7, 5, 2 (RAS+)." in captions(own) and "I 8.0 mm" in captions(own)
    after = figure(own)
    assert after.images[0]["source"] != before and "axial, I 8.0 mm" in after.notes


def test_buttons_step_through_the_slices_of_the_main_plane_up_to_its_ends(own):
    def button(which: str):
        return next(one for one in own.button if one.key == f"slice_{which}")

    assert button("previous").proto.shortcut == "p" and button("next").proto.shortcut == "n"
    button("next").click().run()
    assert "voxel 7, 5, 5 (RAS+)." in captions(own) and key_of(own, "slice.axial").value == 5
    key_of(own, "slice.axial").set_value(7).run()
    assert button("next").disabled and not button("previous").disabled
    button("previous").click().run()
    assert "voxel 7, 5, 6 (RAS+)." in captions(own)
    next(one for one in own.segmented_control if one.key.startswith("view.")).set_value("sagittal").run()
    button("next").click().run()
    assert "voxel 8, 5, 6 (RAS+)." in captions(own)
    key_of(own, "slice.sagittal").set_value(0).run()
    assert button("previous").disabled and not own.exception and not own.warning


def test_a_press_that_comes_before_the_last_one_is_drawn_counts_from_there_and_stays_inside(monkeypatch):
    monkeypatch.setattr(sliders.st, "session_state", kept := {})
    for _ in range(3):  # all of them from buttons that were drawn at slice 5 of 8
        sliders._step("slice.axial.x", 5, 1, 8)
    assert kept == {"slice.axial.x": 7}
    for _ in range(9):
        sliders._step("slice.axial.x", 5, -1, 8)
    assert kept == {"slice.axial.x": 0}


def test_a_volume_of_one_slice_has_no_slider_and_no_buttons_for_it(own):
    scan, outcome = a_scan(), own.session_state["outcome"]
    thin = replace(scan, image=scan.image[:, :, :, 4:5])
    chosen = state.ChosenScan("thin.nii", outcome.x[0], None, thin)
    own.session_state["scan"], own.session_state["origins"] = chosen, {digest(outcome.x[0]): chosen}
    own.session_state["kept.seen"] = None
    own.run()
    assert not own.exception
    keys = [one.key for one in (*own.select_slider, *own.button) if (one.key or "").startswith("slice")]
    assert len(keys) == 2 and not any("axial" in key for key in keys)


def test_an_image_has_no_slices_to_step_through(tmp_path, monkeypatch):
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path))
    monkeypatch.chdir(APP.parent)
    app = AppTest.from_file(str(APP), default_timeout=120).run()
    assert not [one.key for one in (*app.select_slider, *app.button) if (one.key or "").startswith("slice")]


def test_one_plane_windows_conventions_and_differences_can_be_chosen(own):
    view = next(one for one in own.segmented_control if one.key.startswith("view."))
    view.set_value("coronal").run()
    assert len(figure(own).images) == 4 and figure(own).letters[0] == "SLIR"
    key_of(own, "radiological.").set_value(False).run()
    assert figure(own).letters[0] == "SRIL"
    difference = next(one for one in own.segmented_control if one.key.startswith("changes."))
    difference.set_value("both").run()
    assert len(figure(own).images) == 5
    window = key_of(own, "window.")
    assert {"header: W1 (0 to 90)", "CT lung", "CT mediastinum", "CT bone", "CT brain", "full range"} <= set(
        window.options
    )
    before = figure(own).images
    window.set_value("CT lung").run()
    after = figure(own).images
    assert after[0]["source"] != before[0]["source"] and after[4]["source"] == before[4]["source"]
    key_of(own, "window.").set_value("own level and width").run()
    assert {one.label: one.value for one in own.number_input if one.key.startswith(("level", "width"))} == {
        "Level": 40,
        "Width": 400,
    }
    assert not own.exception


def test_blinking_is_there_when_asked_for(own):
    assert figure(own).frames == []
    key_of(own, "blink.").set_value(True).run()
    assert [frame["name"] for frame in figure(own).frames] == ["clean", "hidden"]


def test_nifti_files_are_offered_and_made_only_when_asked_for(own):
    labels = [one.proto.label for one in own.get("download_button")]
    assert labels == ["Report (JSON)", *["Attacked scan (NIfTI)", "Perturbation (NIfTI)"] * 2]


def test_a_result_of_the_same_file_with_another_window_is_said_to_be_an_earlier_one(own):
    assert not own.info, "the chosen scan is the one that is shown"
    scan, wide = a_scan(), (-1000.0, 1000.0)
    own.session_state["scan"] = state.ChosenScan("mine.nii", prepare(scan, (1, 8, 8, 8), wide), None, scan, wide)
    own.run()
    assert "earlier result of mine.nii" in own.info[0].value and "press Run" in own.info[0].value
    own.session_state["scan"] = state.ChosenScan("other.nii", 1 - prepare(scan, (1, 8, 8, 8)), None, scan)
    own.run()
    assert "the result of mine.nii: press Run to attack other.nii" in own.info[0].value


def test_it_is_said_how_much_of_a_scan_the_network_cannot_see_changed(own):
    image = a_scan().image
    share = ((image < -160) | (image > 240)).mean()
    assert share > 0.1 and f"{share:.0%} of the scan's voxels lie beyond the window (-160 to 240)" in captions(own)


def test_an_outcome_of_another_scan_is_not_shown_on_this_scans_grid(own, tiny):
    own.session_state["outcome"] = replace(tiny.first)
    own.run()
    assert "Shown on the network's grid" in captions(own) and not own.exception


def test_an_image_of_the_set_has_letters_windows_and_blinking(tmp_path, monkeypatch):
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path))
    monkeypatch.chdir(APP.parent)
    app = AppTest.from_file(str(APP), default_timeout=120).run()
    assert "Shown on the network's grid, 128 x 128 pixels of 1.8 x 1.8 mm." in captions(app)
    key_of(app, "window.").set_value("percentiles 2 to 98").run()
    assert len(figure(app).images) == 5 and figure(app).letters == ["ALPR"] * 3
    key_of(app, "blink.").set_value(True).run()
    assert len(figure(app).images) == 6 and len(figure(app).frames) == 2
    assert not app.exception and not app.error


def test_an_image_of_ones_own_is_shown_on_its_own_grid(tmp_path, monkeypatch):
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path))
    monkeypatch.chdir(APP.parent)
    app = AppTest.from_file(str(APP), default_timeout=120).run()
    first = open_bundle().first
    scan = Scan(first.x[0] * 4095, None, (0.5, 0.5), "mine.dcm", (), (0.0, 4095.0), "DICOM", "DX")
    chosen = state.ChosenScan("mine.dcm", first.x[0], None, scan)
    app.session_state["scan"], app.session_state["origins"] = chosen, {first.recipe["scan"]["sha256"]: chosen}
    app.session_state["kept.seen"] = None
    app.run()
    assert not app.exception and not app.error
    assert "own grid, 128 x 128 pixels of 0.5 x 0.5 mm" in captions(app)
    assert any("8/255 = 128 grey levels at this window (0 to 4095)" in text.value for text in app.markdown)
    labels = [one.proto.label for one in app.get("download_button")]
    assert labels[1:5] == [
        "Attacked scan (PNG, 16 bit)",
        "Perturbation (PNG, 16 bit)",
        "Attacked scan (NIfTI)",
        "Perturbation (NIfTI)",
    ]


@pytest.mark.parametrize(
    ("spacing", "said"),
    [(None, "the network's pixels are the same"), ((2.0, 2.0), "are the same"), ((2.0, 1.0), "8 x 8 by interpolation")],
)
def test_equal_sides_are_the_same_pixels_only_where_pixels_are_square(spacing, said):
    scan = Scan(np.zeros((1, 8, 8), np.float32), None, spacing, "mine.png", (), (0.0, 1.0))
    assert said in viewer.grid_line(Shown(scan, {}, place(scan, (1, 8, 8)), True))
