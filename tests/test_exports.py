"""Files that are taken away lie on the scan they came from, by nibabel."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from bundles import case, one_thread  # noqa: F401
from PIL import Image

from hfcviz import exports, planes
from hfcviz.grids import beyond_line, eps_report, in_units, shown
from hfcviz.readers import read
from hfcviz.resampling import prepare
from hfcviz.scans import Scan, take_slice, write_png
from hfcviz.settings import InputError
from hfcviz.slices import crosshair_line, eps_line, slices_figure

SHAPE, MM = (14, 18, 9), (1.5, 1.2, 4.0)
AFFINE = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.1, 0.05, -0.2) @ np.diag(MM), [-10.0, -12.0, 5.0])
EPS = 8 / 255
WINDOW = (-160.0, 240.0)


def a_scan(affine=AFFINE, orientation="", shape=SHAPE) -> Scan:
    values = np.random.default_rng(0).uniform(-1000, 1000, (1, *shape)).astype(np.float32)
    spacing = None if affine is None else MM[: len(shape)]
    return Scan(values, affine, spacing, "Curie^Marie.nii", (), WINDOW, "NIfTI", "CT", "HU", (), orientation)


def outcome_of(scan: Scan, input_shape) -> SimpleNamespace:
    """As much of an outcome as grids look at: a scan and two attacks within eps."""
    clean = prepare(scan, input_shape)
    attacks = [np.random.default_rng(seed).uniform(-EPS, EPS, clean.shape).astype(np.float32) for seed in (1, 2)]
    x = np.stack([clean, *(np.clip(clean + attack, 0, 1) for attack in attacks)])
    roles = ("clean", "attack", "hidden")
    plan = {"attack": {"eps": EPS}, "attack_name": "PGD", "penalty_name": "HFC"}
    return SimpleNamespace(roles=roles, x=x, row=roles.index, recipe={"scan": {"name": scan.name}, "plan": plan})


def opened(content: bytes) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(content))


def written(scan: Scan, input_shape, role="hidden", own=True) -> dict[str, nibabel.Nifti1Image]:
    outcome = outcome_of(scan, input_shape)
    seen = shown(outcome, scan) if own else shown(outcome, affine=scan.affine)
    return {name: opened(make()) for name, make in exports.files(seen, role).items()}


INPUT = (1, 16, 16, 16)


def test_scan_and_perturbation_are_the_attacked_scan_within_eps_on_the_scans_own_grid():
    scan = a_scan()
    found = written(scan, INPUT)
    attacked, added = (found[f"{name}.nii.gz"] for name in ("adversarial", "perturbation"))
    for one in (attacked, added):
        assert one.shape == SHAPE and one.get_data_dtype() == np.float32
        assert np.allclose(one.affine, AFFINE, atol=1e-5) and (one.header["sform_code"], one.header["qform_code"]) == (
            1,
            1,
        )
        assert one.header.get_zooms() == pytest.approx(MM, rel=1e-5) and one.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(scan.image[0] + added.get_fdata(), attacked.get_fdata(), atol=1e-3)
    assert 0.5 * EPS * 400 < np.abs(added.get_fdata()).max() <= EPS * 400 * (1 + 1e-6)


def test_a_perturbation_that_is_read_again_lies_on_the_scan():
    scan = a_scan()
    outcome = outcome_of(scan, INPUT)
    content = exports.files(shown(outcome, scan), "attack")["perturbation.nii.gz"]()
    back = read(content, "perturbation.nii.gz")
    assert np.allclose(back.affine, scan.affine, atol=1e-5) and back.image.shape == scan.image.shape
    np.testing.assert_allclose(back.image, shown(outcome, scan).change("attack"), atol=1e-4)
    assert not back.notices


@pytest.mark.parametrize("stored", ["LPS", "PIR", "RAS"])
def test_a_volume_is_stored_in_the_axes_of_its_file_and_lies_where_it_lay(stored):
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(stored)
    )
    scan = a_scan(orientation=stored)
    original = nibabel.Nifti1Image(scan.image[0], AFFINE).as_reoriented(turn)
    attacked = written(scan, INPUT)["adversarial.nii.gz"]
    assert nibabel.aff2axcodes(attacked.affine) == tuple(stored)
    assert attacked.shape == original.shape and np.allclose(attacked.affine, original.affine, atol=1e-5)
    assert np.abs(attacked.get_fdata() - original.get_fdata()).max() <= EPS * 400 + 1e-2


def test_a_slice_of_a_volume_lies_where_the_slice_lay():
    scan = take_slice(a_scan(), 1, 9)
    one = written(scan, (1, 12, 12))["adversarial.nii.gz"]
    assert one.shape == (*scan.image.shape[1:], 1) and np.allclose(one.affine, scan.affine, atol=1e-5)
    corner = nibabel.affines.apply_affine(one.affine, (0, 0, 0))
    assert np.allclose(corner, nibabel.affines.apply_affine(AFFINE, (13, 9, 8)), atol=1e-4), "right, that slice, top"


def test_where_nobody_knows_how_the_patient_lies_the_file_does_not_say_so_either():
    scan = a_scan(None, shape=(20, 24))
    assert exports.files(shown(outcome_of(scan, (1, 12, 12)), scan), "attack") == {}, (
        "a picture without geometry is a PNG"
    )
    volume = a_scan(None)
    one = written(volume, INPUT, own=False)["perturbation.nii.gz"]
    assert (one.header["sform_code"], one.header["qform_code"]) == (0, 0)
    known = Scan(scan.image, None, (0.5, 0.7), "x", (), WINDOW)
    one = written(known, (1, 12, 12))["perturbation.nii.gz"]
    assert one.header.get_zooms()[:2] == pytest.approx((0.5, 0.7)) and one.header["sform_code"] == 0


def test_a_volume_of_a_data_set_lies_on_the_grid_of_the_set():
    one = case(3)
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = -10
    seen = shown(one.outcome, affine=affine)
    found = {name: opened(make()) for name, make in exports.files(seen, "hidden").items()}
    assert np.array_equal(found["adversarial.nii.gz"].affine, affine)
    np.testing.assert_allclose(found["adversarial.nii.gz"].get_fdata(), one.outcome.x[3, 0], atol=1e-6)
    assert seen.scan.spacing == (3, 3, 3) and not seen.own


def test_three_channels_become_the_fourth_side():
    content = exports.nifti(np.random.default_rng(0).random((3, 5, 6, 7)), AFFINE)
    assert opened(content).shape == (5, 6, 7, 3)


def test_nothing_of_the_patient_is_in_a_file_or_its_name_and_equal_scans_give_equal_files():
    scan = a_scan()
    files = exports.files(shown(outcome_of(scan, INPUT), scan), "hidden", "PGD+HFC ")
    assert list(files) == ["PGD+HFC adversarial.nii.gz", "PGD+HFC perturbation.nii.gz"]
    for make in files.values():
        content = make()
        assert b"Curie" not in gzip.decompress(content) and content == make()
        assert content[4:8] == bytes(4), "no time of day in the file"


def test_png_keeps_16_bits_and_a_perturbation_is_grey_where_nothing_changed():
    x = np.random.default_rng(0).random((1, 6, 7)).astype(np.float32)
    plain = io.BytesIO()
    write_png(plain, x)
    assert exports.png(x) == plain.getvalue()
    clean, after = np.zeros((2, 1, 2, 3), np.float32)
    clean[0, 0], after[0, 0] = (0, 1, 0.5), (1, 0, 0.5 + 8 / 255)
    pixels = np.asarray(Image.open(io.BytesIO(exports.perturbation_png(after, clean))))
    assert pixels.dtype == np.uint16 and list(pixels[1]) == [32768] * 3
    assert list(pixels[0, :2]) == [65535, 0] and pixels[0, 2] / 65535 * 2 - 1 == pytest.approx(8 / 255, abs=2e-5)
    with pytest.raises(InputError, match="must be 1 or 3 channels"):
        exports.png(np.zeros((1, 2, 3, 4)))


# Units


def test_eps_in_the_scans_units_is_its_share_of_the_window():
    assert in_units(4 / 255, (-500.0, 1000.0), "HU") == "23.5 HU at this window (-500 to 1000)"
    scan = a_scan()
    outcome = outcome_of(scan, INPUT)
    assert eps_line(EPS, shown(outcome, scan)) == "eps 8/255 = 12.5 HU at this window (-160 to 240)"
    assert eps_line(EPS, shown(outcome)) == "eps 8/255", "the network's grid has no units"
    assert eps_report(outcome, shown(outcome)) == {}
    assert json.loads(json.dumps(eps_report(outcome, shown(outcome, scan)))) == {
        "eps_in_scan_units": {"eps": pytest.approx(12.549, abs=1e-3), "unit": "HU", "window": [-160, 240]}
    }


def test_large_numbers_are_written_out():
    assert in_units(8 / 255, (2600.0, 60000.0)) == "1801 grey levels at this window (2600 to 60000)"
    scan = replace(a_scan(), image=a_scan().image * 20 + 30000, window=(0.0, 60000.0), unit="")
    seen = shown(outcome_of(scan, INPUT), scan)
    said = crosshair_line(outcome_of(scan, INPUT), seen, (3, 11, 5))
    assert f"Scan {scan.image[0, 3, 11, 5]:.0f} grey levels" in said and "e+" not in said


def test_a_change_beyond_the_window_is_lost_when_the_attacked_scan_is_prepared_again_and_its_share_is_known():
    scan = replace(a_scan(shape=(16, 16, 16)), spacing=None)  # of the network's size: nothing is resampled
    seen = shown(outcome_of(scan, INPUT), scan)
    far = (scan.image < WINDOW[0] - EPS * 400) | (scan.image > WINDOW[1] + EPS * 400)
    again = prepare(replace(scan, image=seen.version("attack")), INPUT)
    assert np.array_equal(again[far], prepare(scan, INPUT)[far]) and np.abs(seen.change("attack")[far]).max() > 1
    share = ((scan.image < WINDOW[0]) | (scan.image > WINDOW[1])).mean()
    assert f"{share:.0%} of the scan's voxels" in beyond_line(seen)
    inside = replace(scan, image=np.clip(scan.image, *WINDOW))
    assert beyond_line(shown(outcome_of(inside, INPUT), inside)) is None
    assert beyond_line(shown(outcome_of(scan, INPUT))) is None, "on the network's grid nothing is lost"


def test_planes_of_an_oblique_scan_are_called_as_their_sliders_are():
    one, turn = case(3), np.deg2rad(20)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    scan = Scan(one.outcome.x[0] * 400 - 160, affine, (1.0, 1.0, 1.0), "x", (), WINDOW, unit="HU")
    seen, index = shown(one.outcome, scan), (0, 0, 6)
    figure = slices_figure(one.outcome, seen, one.classifier.class_names, index)
    titles = {note.text.split(",")[0]: note.text for note in figure.layout.annotations if note.textangle == -90}
    height = (affine @ [3.5, 3.5, 6, 1])[2]  # of the middle of the slice, by hand
    assert titles["axial"] == f"axial, S {height:.1f} mm"
    assert planes.oblique(affine) and not planes.oblique(np.diag([2.0, 2.0, 4.0, 1.0]))


def test_versions_at_a_place_are_those_of_the_whole_volume_and_the_line_says_them():
    scan = a_scan()
    outcome = outcome_of(scan, INPUT)
    seen, index = shown(outcome, scan), (3, 11, 5)
    for role in ("clean", "attack", "hidden"):
        whole = seen.version(role)
        np.testing.assert_allclose(seen.version(role, dict(enumerate(index)))[0].item(), whole[0, *index], rtol=1e-5)
        np.testing.assert_allclose(seen.version(role, {1: 11})[:, :, 0], whole[:, :, 11], rtol=1e-4, atol=1e-2)
    said = crosshair_line(outcome, seen, index)
    assert f"Scan {scan.image[0, *index]:.4g} HU" in said and "voxel 3, 11, 5" in said
    assert f"PGD {seen.change('attack')[0, *index]:+.3g}" in said


def test_planes_of_a_run_show_the_scan_in_its_units_through_one_voxel():
    one = case(3)
    scan = Scan(one.outcome.x[0] * 400 - 160, np.diag([2.0, 2, 2, 1]), (2.0, 2, 2), "x", (), WINDOW, unit="HU")
    seen = shown(one.outcome, scan)
    index = (2, 5, 3)
    figure = slices_figure(one.outcome, seen, one.classifier.class_names, index, changes=["hidden"])
    images = [trace for trace in figure.data if trace.type == "image"]
    assert len(images) == 12
    cuts = [scan.image[0, :, :, 3], scan.image[0, :, 5], scan.image[0, 2]]
    added = [
        (one.outcome.x[3, 0] - one.outcome.x[0, 0])[where] * 400 for where in (np.s_[:, :, 3], np.s_[:, 5], np.s_[2])
    ]
    for row, (cut, change) in enumerate(zip(cuts, added, strict=True)):
        np.testing.assert_allclose(np.asarray(images[4 * row].customdata), cut.T[::-1, ::-1], atol=1e-3)
        np.testing.assert_allclose(np.asarray(images[4 * row + 2].customdata), (cut + change).T[::-1, ::-1], atol=2e-3)
        np.testing.assert_allclose(np.asarray(images[4 * row + 3].customdata), change.T[::-1, ::-1], atol=2e-3)
    other = slices_figure(one.outcome, seen, one.classifier.class_names, index, radiological=False)
    mirrored = [np.asarray(trace.customdata) for trace in other.data if trace.type == "image"][::5]
    for turn, trace, picture in zip((-1, -1, 1), images[::4], mirrored, strict=True):
        assert np.array_equal(picture, np.asarray(trace.customdata)[:, ::turn]), "neurological: left and right only"
    titles = {note.text for note in figure.layout.annotations}
    assert {"axial, S 6.0 mm", "coronal, A 10.0 mm", "sagittal, R 4.0 mm"} <= titles


def test_a_large_image_is_thinned_out_and_keeps_its_extent():
    scan = Scan(
        np.random.default_rng(0).random((1, 2100, 1500), dtype=np.float32), None, (0.1, 0.1), "x", (), (0.0, 1.0)
    )
    outcome = outcome_of(scan, (1, 16, 16))
    outcome.activations = SimpleNamespace(probabilities=np.full((3, 2), 0.5))
    figure = slices_figure(outcome, shown(outcome, scan), ("a", "b"), (0, 0))
    trace = figure.data[0]
    assert trace.dx == pytest.approx(0.3) and figure.layout.xaxis.range == pytest.approx((-0.15, 149.85))
