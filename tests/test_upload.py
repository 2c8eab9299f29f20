"""The tab for files of one's own, without a browser."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from streamlit.testing.v1 import AppTest

APP = Path(__file__).parent.parent / "app.py"
DATA = "hfcviz/ui/pages/data_model.py"
AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])


@pytest.fixture
def page(tmp_path, monkeypatch) -> AppTest:
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path))
    monkeypatch.chdir(APP.parent)
    app = AppTest.from_file(str(APP), default_timeout=120).run()
    app.switch_page(DATA).run()
    assert not app.exception
    return app


def volume(*shape: int, seed: int = 0) -> bytes:
    voxels = np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)
    return gzip.compress(nibabel.Nifti1Image(voxels, AFFINE).to_bytes(), 1)


def give(page: AppTest, *files: tuple[str, bytes]) -> AppTest:
    page.file_uploader(key="upload").set_value([(name, data, "application/octet-stream") for name, data in files]).run()
    assert not page.exception
    return page


def facts(page: AppTest) -> dict[str, str]:
    return next(one.value for one in page.dataframe if "format" in one.value.columns).iloc[0].to_dict()


def task(page: AppTest, name: str) -> AppTest:
    page.segmented_control(key="task").set_value(name).run()
    assert not page.exception
    return page


def use(page: AppTest) -> AppTest:
    next(one for one in page.button if one.label == "Use this scan").click().run()
    assert not page.exception
    return page


def test_a_slice_of_a_volume_goes_to_a_network_for_images(page):
    give(page, ("scan.nii.gz", volume(40, 50, 30)))
    assert not page.error and facts(page)["size"] == "40 x 50 x 30"
    page.segmented_control(key="upload.plane").set_value("sagittal").run()
    use(page)
    chosen = page.session_state["scan"]
    assert chosen.x.shape == (1, 128, 128) and "sagittal slice 20" in chosen.name
    assert chosen.scan.spacing == (3, 2) and nibabel.aff2axcodes(chosen.scan.affine)[:2] == ("I", "P")


def test_an_image_without_an_orientation_is_as_stored(page):
    content = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8)[None].repeat(64, 0)).save(content, "PNG")
    give(page, ("scan.png", content.getvalue()))
    assert facts(page)["orientation"] == "as stored"


def test_a_volume_goes_whole_to_a_network_for_volumes(page):
    give(task(page, "brain3d"), ("scan.nii.gz", volume(40, 50, 30)))
    seen = facts(page)
    assert not page.error and seen["size"] == "40 x 50 x 30" and seen["orientation"] == "RAS (stored as LAS)"
    assert not [one for one in page.slider if one.key and one.key.startswith("upload.slice")]
    use(page)
    chosen = page.session_state["scan"]
    assert chosen.x.shape == (1, 64, 64, 64) and chosen.scan.image.shape == (1, 40, 50, 30)


def test_an_image_for_a_network_of_volumes_is_one_sentence(page):
    picture = io.BytesIO()
    Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(30, 40)).save(picture, "PNG")
    give(task(page, "brain3d"), ("scan.png", picture.getvalue()))
    assert len(page.error) == 1 and "is an image (30 x 40), but the network takes 3-D scans" in page.error[0].value
    assert not [one for one in page.button if one.label == "Use this scan"]


def test_of_several_files_the_good_ones_can_be_chosen_and_the_bad_one_says_why(page):
    ct = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    give(page, ("a.nii.gz", volume(20, 20, 20)), ("b.nii.gz", volume(20, 20, 20)[:500]), ("c.dcm", ct))
    assert len(page.error) == 1 and page.error[0].value.startswith("b.nii.gz")
    choice = page.selectbox(key="upload.scan.2.3")
    assert [option.split(" ")[0] for option in choice.options] == ["a.nii.gz", "c.dcm"]
    choice.set_value(1).run()
    assert facts(page)["format"] == "DICOM CT" and "HU" in facts(page)["values"]


def test_a_file_of_several_volumes_asks_which(page):
    give(page, ("time.nii.gz", volume(20, 21, 22, 5)))
    box = page.number_input(key="upload.volume.5")
    assert box.value == 0 and not page.error
    box.set_value(3).run()
    use(page)
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image.from_bytes(gzip.decompress(volume(20, 21, 22, 5))))
    shown = page.session_state["scan"].scan.image[0]
    # The axial slice as radiologists see it: front up, the patient's right on the left.
    assert np.array_equal(shown, expected.get_fdata()[:, :, 11, 3].T[::-1, ::-1])


def test_the_window_that_the_network_gets_can_be_chosen_and_is_that_of_eps(page):
    ct = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    give(page, ("ct.dcm", ct))
    # This file has no window of its own.
    page.selectbox(key="upload.window.percentiles 0.5 to 99.5").set_value("CT bone").run()
    use(page)
    chosen = page.session_state["scan"]
    assert chosen.window == (-500, 1300)
    image = chosen.scan.image[0]
    assert chosen.x.max() == pytest.approx(min(1, (image.max() + 500) / 1800), abs=1e-5)
    eps = page.number_input(key="attack.PGD.brain2d.eps").value
    assert any(f"= {eps / 255 * 1800:.3g} HU at this window (-500 to 1300)" in one.value for one in page.caption)


def test_a_window_of_ones_own_must_be_wider_than_nothing(page):
    give(page, ("scan.nii.gz", volume(20, 20, 20)))
    page.selectbox(key="upload.window.percentiles 0.5 to 99.5").set_value("own level and width").run()
    for label, value in (("Level", 400.0), ("Width", 200.0)):
        next(one for one in page.number_input if one.label == label).set_value(value).run()
    use(page)
    assert page.session_state["scan"].window == (300, 500)


def test_of_several_files_the_first_that_fits_the_network_is_chosen(page):
    ct = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    give(task(page, "brain3d"), ("a.dcm", ct), ("b.nii.gz", volume(20, 20, 20)))
    assert not page.error and facts(page)["kind"] == "volume"


def test_a_window_of_ones_own_does_not_stay_for_the_next_scan(page):
    give(page, ("scan.nii.gz", volume(20, 20, 20)))
    page.selectbox(key="upload.window.percentiles 0.5 to 99.5").set_value("own level and width").run()
    next(one for one in page.number_input if one.label == "Level").set_value(-5000.0).run()
    voxels = np.random.default_rng(1).integers(0, 50, (20, 20, 20)).astype(np.int16)
    give(page, ("other.nii", nibabel.Nifti1Image(voxels, AFFINE).to_bytes()))
    level = next(one for one in page.number_input if one.label == "Level")
    assert 0 < level.value < 50


def test_what_the_file_says_is_offered_only_where_it_says_something(page):
    picture = io.BytesIO()
    Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(30, 40)).save(picture, "PNG")
    give(page, ("scan.png", picture.getvalue()))
    assert page.selectbox(key="upload.window.as the file says").options[0] == "as the file says"
    give(page, ("scan.nii.gz", volume(20, 20, 20)))
    options = page.selectbox(key="upload.window.percentiles 0.5 to 99.5").options
    assert "as the file says" not in options and options.count("percentiles 0.5 to 99.5") == 1


def test_files_that_are_taken_back_leave_nothing_in_memory(page):
    give(page, ("scan.nii.gz", volume(20, 20, 20)))
    assert "uploaded" in page.session_state
    page.file_uploader(key="upload").set_value(None).run()
    assert "uploaded" not in page.session_state and "prepared" not in page.session_state
