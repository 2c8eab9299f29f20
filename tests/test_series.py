"""DICOM series and multi-frame files, against the formulas of the standard and nibabel."""

from __future__ import annotations

import gzip
import io
import random
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_modality_lut

from hfcviz.readers import read, read_all
from hfcviz.scans import Scan, take_slice
from hfcviz.settings import InputError
from tests.samples import AXIAL, STORED, along, ct_slices, dicom, packaged, stored_volume, zipped

VOXELS = stored_volume(9, 16, 12)
OBLIQUE = (0.96, 0.28, 0.0, -0.28 * 0.6, 0.96 * 0.6, -0.8)
ORIENTATIONS = {
    "axial": AXIAL,
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": OBLIQUE,
    "feet first, prone": (-1, 0, 0, 0, -1, 0),
}


def uploads(files: list[bytes]) -> list[tuple[str, bytes]]:
    return [(f"IM{number:04}", data) for number, data in enumerate(files)]


def only(found: list[Scan | InputError]) -> Scan:
    assert len(found) == 1 and isinstance(found[0], Scan), found
    return found[0]


def by_the_standard(
    voxels: np.ndarray, orientation: tuple, positions: np.ndarray, spacing: tuple = (0.8, 0.6)
) -> nibabel.Nifti1Image:
    """The canonical form, by nibabel, of slices in the order of their positions: DICOM PS3.3 C.7.6.2.1.1, LPS to RAS."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    to_lps = np.eye(4)
    to_lps[:3, 0], to_lps[:3, 1] = row * spacing[1], column * spacing[0]
    to_lps[:3, 2], to_lps[:3, 3] = positions[1] - positions[0], positions[0]
    hounsfield = voxels.transpose(2, 1, 0).astype(np.float64) - 1024
    return nibabel.as_closest_canonical(nibabel.Nifti1Image(hounsfield, np.diag([-1, -1, 1, 1]) @ to_lps))


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_series_lies_where_nibabel_puts_it(name: str, sign: int) -> None:
    orientation = ORIENTATIONS[name]
    normal = np.cross(orientation[:3], orientation[3:])
    positions = along(sign * 2.5 * normal, 9)
    files = ct_slices(VOXELS, positions, orientation=orientation)
    random.Random(3).shuffle(files)
    scan = only(read_all(uploads(files)))
    expected = by_the_standard(VOXELS, orientation, positions)
    assert np.allclose(scan.affine, expected.affine, atol=1e-4)
    assert np.array_equal(scan.image[0], expected.get_fdata())
    assert np.allclose(scan.spacing, expected.header.get_zooms(), atol=1e-4)
    axes = np.eye(4)
    axes[:3, :3] = np.stack([orientation[:3], orientation[3:], normal], 1)  # slices are sorted along it
    codes = "".join(nibabel.aff2axcodes(np.diag([-1, -1, 1, 1]) @ axes))
    assert scan.stored_orientation == codes and not scan.notices
    assert (scan.format, scan.modality, scan.unit) == ("DICOM series", "CT", "HU")
    assert scan.windows == (("window 1", (-160.0, 239.0)), ("window 2", (-150.0, 1349.0)))  # PS3.3 C.11.2.1.2
    assert scan.window == (-160.0, 239.0)


def test_a_slice_of_an_axial_series_is_its_file_as_it_is_shown() -> None:
    scan = only(read_all(uploads(ct_slices(VOXELS, along((0, 0, 2.5), 9)))))
    single = read(ct_slices(VOXELS, along((0, 0, 2.5), 9))[4])
    plane = take_slice(scan, 2, 4)
    assert np.array_equal(plane.image[0], VOXELS[4] - 1024.0) and np.array_equal(plane.image, single.image)
    assert np.allclose(plane.spacing, (0.8, 0.6)) and np.allclose(single.spacing, (0.8, 0.6))
    assert np.allclose((plane.affine @ [3, 5, 0, 1])[:3], (single.affine @ [3, 5, 0, 1])[:3])
    assert np.allclose((single.affine @ [3, 5, 0, 1])[:3], [-(-7 + 5 * 0.6), -(12 + 3 * 0.8), 30 + 4 * 2.5])


def test_each_file_has_its_own_slope() -> None:
    places = along((0, 0, 2.5), 9)
    files = [
        ct_slices(VOXELS[n : n + 1], places[n : n + 1], RescaleSlope=1 + n / 4, RescaleIntercept=-10 * n)[0]
        for n in range(9)
    ]
    scan = only(read_all(uploads(files)))
    expected = [apply_modality_lut((ds := pydicom.dcmread(io.BytesIO(data))).pixel_array, ds) for data in files]
    assert np.allclose(scan.image[0], np.array(expected).transpose(2, 1, 0)[::-1, ::-1])


def test_missing_slices_are_named_and_filled_between_their_neighbours() -> None:
    files = ct_slices(VOXELS, along((0, 0, 2.5), 9))
    scan = only(read_all(uploads(files[:3] + files[5:])))
    whole = only(read_all(uploads(files)))
    assert "2 of its 9 slices are missing (2 after slice 3" in scan.notices[0]
    assert np.allclose(scan.affine, whole.affine) and scan.image.shape == whole.image.shape
    present = [0, 1, 2, 5, 6, 7, 8]
    assert np.array_equal(scan.image[..., present], whole.image[..., present])
    assert np.allclose(scan.image[..., 3], whole.image[..., 2] * 2 / 3 + whole.image[..., 5] / 3, atol=1e-3)


def test_uneven_slices_tilt_and_pieces_far_apart() -> None:
    places = along((0, 0, 2.5), 9)
    places[:, 2] += [0, 0.3, 0, 0.4, 0, 0, 0.3, 0, 0]
    uneven = only(read_all(uploads(ct_slices(VOXELS, places))))
    assert "apart" in uneven.notices[0] and uneven.spacing[2] == pytest.approx(2.5)
    tilted = only(read_all(uploads(ct_slices(VOXELS, along((0, 0.5, 2.5), 9)))))
    assert "11.3 degrees" in tilted.notices[0]  # atan(0.5 / 2.5)
    assert np.allclose(tilted.affine[:3, 2], (0, -0.5, 2.5))
    assert np.allclose(tilted.affine, by_the_standard(VOXELS, AXIAL, along((0, 0.5, 2.5), 9)).affine)
    places = along((0, 0, 2.5), 9)
    places[4:, 2] += 500
    pieces = read_all(uploads(ct_slices(VOXELS, places)))
    assert [one.image.shape[3] for one in pieces] == [4, 5] and "pieces" in pieces[0].notices[0]


def test_images_at_the_same_place_are_told_apart_or_refused() -> None:
    places = along((0, 0, 2.5), 9)
    early, late = (ct_slices(voxels, places, EchoTime=time) for voxels, time in ((VOXELS, 10), (4095 - VOXELS, 80)))
    mixed = [data for pair in zip(early, late, strict=True) for data in pair]
    one, two = read_all(uploads(mixed))
    assert "2 images at every place" in one.notices[0]
    assert np.array_equal(one.image[0], (VOXELS - 1024.0).transpose(2, 1, 0)[::-1, ::-1])
    assert np.array_equal(two.image[0], (4095.0 - VOXELS - 1024).transpose(2, 1, 0)[::-1, ::-1])
    again = only(read_all(uploads([*early, early[3]])))
    assert "1 of its files are there twice." in again.notices and np.array_equal(again.image, one.image)
    stray = ct_slices(4095 - VOXELS, places, EchoTime=10)[3]
    (refused,) = read_all(uploads([*early, stray]))
    assert isinstance(refused, InputError) and "IM0003, IM0009" in str(refused)


def test_other_series_sizes_and_localizers_are_scans_of_their_own() -> None:
    places = along((0, 0, 2.5), 9)
    first = ct_slices(VOXELS, places)
    other = ct_slices(stored_volume(8, 20, 12), along((0, 0, 1), 8), series="1.2.4")
    wide = ct_slices(stored_volume(8, 12, 16), along((0, 0, 1), 8))
    (scout,) = ct_slices(VOXELS[:1], along((0, 0, 1), 1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    found = read_all(uploads([scout, *first, *other, *wide]))
    assert [one.image.shape[1:] for one in found] == [(16, 12), (12, 16, 9), (12, 20, 8), (16, 12, 8)]
    assert [one.name for one in found[1:]] == [f"IM0000 and 25 more, series {n}" for n in (2, 3, 4)]
    assert "of another size" in found[1].notices[0] and not found[2].notices
    with pytest.raises(InputError, match="holds 4 "):
        read(zipped({f"{n}": data for n, data in enumerate([scout, *first, *other, *wide])}), "all.zip")


def without(data: bytes, *keys: str, **elements: object) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(data))
    for key in keys:
        delattr(ds, key)
    for key, value in elements.items():
        setattr(ds, key, value)
    stream = io.BytesIO()
    ds.save_as(stream)
    return stream.getvalue()


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_numbered_slices_without_a_place_are_a_volume_in_their_order(missing: str) -> None:
    files = [without(data, missing) for data in ct_slices(VOXELS, along((0, 0, 2.5), 9))]
    (scan,) = read_all(uploads([*files[::-1], files[3]]))
    assert scan.affine is None and scan.spacing is None and scan.unit == "HU"
    assert "twice" in scan.notices[0] and "instance numbers" in scan.notices[1]
    for number in range(9):  # as single images show it
        assert np.array_equal(take_slice(scan, 2, number).image[0], VOXELS[number].astype(np.float32) - 1024)


def test_images_without_a_place_stay_apart_unless_they_are_numbered_slices() -> None:
    files = ct_slices(VOXELS, along((0, 0, 2.5), 9))
    alike = [without(data, "ImagePositionPatient", InstanceNumber=1) for data in files]
    xrays = [
        without(data, "ImagePositionPatient", SOPClassUID=pydicom.uid.ComputedRadiographyImageStorage) for data in files
    ]
    for group in (alike, xrays):
        assert [one.image.shape for one in read_all(uploads(group))] == [(1, 16, 12)] * 9
    stray = without(files[4], "ImagePositionPatient")
    volume, image = read_all(uploads([*files[:4], stray, *files[5:]]))
    assert volume.image.shape == (1, 12, 16, 9) and image.image.shape == (1, 16, 12)
    assert all("without a place" in one.notices[0] for one in (volume, image))


def write_all(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_folder_zip_and_upload_give_the_same(tmp_path: Path) -> None:
    series = ct_slices(VOXELS, along((0, 0, 2.5), 9))
    files = {f"CURIE_MARIE/S1/{number}": data for number, data in enumerate(series)}
    directory = Path(get_testdata_file("dicomdirtests/DICOMDIR")).read_bytes()
    others = {"DICOMDIR": directory, "README.txt": b"Curie", ".DS_Store": b"\0\1", "__MACOSX/CURIE/._1": b"\0\5"}
    everything = files | others
    folder = only(read_all(write_all(tmp_path / "scan", everything)))
    packed = only(read_all(zipped(everything), "scan"))
    loose = only(read_all(list(everything.items()), "scan"))
    for scan in (folder, packed, loose):
        assert scan.name == "scan" and np.array_equal(scan.image, folder.image)
        assert scan.notices == ("2 files beside it without images passed over: DICOMDIR, README.txt.",)
        assert "CURIE" not in repr(scan)


def test_a_damaged_file_counts_as_missing_and_is_named() -> None:
    files = ct_slices(VOXELS, along((0, 0, 2.5), 9))
    files[4] = files[4][:-100]
    scan, error = read_all(uploads(files))
    assert isinstance(scan, Scan) and scan.image.shape == (1, 12, 16, 9)
    assert "1 of its 9 slices are missing (1 after slice 4" in " ".join(scan.notices)
    assert isinstance(error, InputError) and "IM0004" in str(error)
    files[4] = files[4][:150]
    scan = only(read_all(uploads(files)))  # nothing is left of its pixels
    assert "IM0004" in scan.notices[-1] and "1 after slice 4" in scan.notices[0]


def test_progress_grows_and_can_stop_the_work() -> None:
    class Stopped(Exception):
        pass

    files = uploads(ct_slices(VOXELS, along((0, 0, 2.5), 9)))
    heard: list[float] = []
    read_all(files, progress=lambda part, what: heard.append(part))
    assert heard == sorted(heard) and len(heard) == 18 and 0 <= heard[0] and heard[-1] <= 1
    for limit in (0.2, 0.7):

        def stop(part: float, what: str, limit: float = limit) -> None:
            if part > limit:
                raise Stopped

        with pytest.raises(Stopped):
            read_all(files, progress=stop)


def test_free_text_of_a_header_is_never_kept() -> None:
    places = along((0, 0, 2.5), 9)
    secret = {"Modality": "CURIE", "WindowCenterWidthExplanation": ["Curie", "Marie"], "SeriesDescription": "Curie"}
    scan = only(read_all(uploads(ct_slices(VOXELS, places, **secret))))
    assert scan.modality == "" and "urie" not in repr(scan).lower() + "".join(label for label, _ in scan.windows)


# ---- several frames


def enhanced(turns: int = 1) -> tuple[bytes, np.ndarray]:
    """A real header of an Enhanced MR (12 of its sagittal frames), with pixels that tell the frames apart."""
    with gzip.open(Path(nibabel.__file__).parent / "nicom" / "tests" / "data" / "philips_mprage.dcm.gz") as file:
        ds = pydicom.dcmread(file)
    ds.Rows, ds.Columns = 16, 12
    pixels = stored_volume(turns * 12, 16, 12)
    ds.PixelData, ds.NumberOfFrames = pixels.tobytes(), len(pixels)
    ds.PerFrameFunctionalGroupsSequence = list(ds.PerFrameFunctionalGroupsSequence)[:12] * turns
    stream = io.BytesIO()
    ds.save_as(stream)
    return stream.getvalue(), pixels


def test_enhanced_frames_lie_where_nibabels_wrapper_puts_them() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it is experimental
        from nibabel.nicom import dicomwrappers

        data, _ = enhanced()
        wrapped = dicomwrappers.wrapper_from_data(pydicom.dcmread(io.BytesIO(data)))
        stored = wrapped.get_data().transpose(1, 0, 2)  # to (column, row, slice)
    to_ras = np.diag([-1, -1, 1, 1]) @ wrapped.affine[:, [1, 0, 2, 3]]
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(stored, to_ras))
    scan = read(data, "mprage.dcm")
    assert np.allclose(scan.affine, expected.affine, atol=1e-3)
    assert np.allclose(scan.image[0], expected.get_fdata() * _slope(data), rtol=1e-6)
    assert scan.format == "DICOM" and scan.modality == "MR" and not scan.notices


def test_frames_at_the_same_places_are_volumes_to_choose_from() -> None:
    data, pixels = enhanced(2)
    with pytest.raises(InputError, match=r"2 volumes.*--volume"):
        read(data)
    first, second = read(data, volume=0), read(data, volume=1)
    assert np.allclose(np.sort(first.image, axis=None), np.sort(pixels[:12], axis=None) * _slope(data), rtol=1e-6)
    assert np.allclose(np.sort(second.image, axis=None), np.sort(pixels[12:], axis=None) * _slope(data), rtol=1e-6)
    with pytest.raises(InputError, match="between 0 and 1"):
        read(data, volume=2)


def test_each_frame_has_its_own_slope() -> None:
    data, pixels = enhanced()
    ds = pydicom.dcmread(io.BytesIO(data))
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        group.PixelValueTransformationSequence[0].RescaleSlope = 1 + number
        group.PixelValueTransformationSequence[0].RescaleIntercept = -number
    stream = io.BytesIO()
    ds.save_as(stream)
    expected = pixels * np.arange(1.0, 13)[:, None, None] - np.arange(12.0)[:, None, None]
    assert np.array_equal(np.sort(read(stream.getvalue()).image, axis=None), np.sort(expected, axis=None))


def _slope(data: bytes) -> np.float32:
    ds = pydicom.dcmread(io.BytesIO(data))
    units = ds.PerFrameFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
    assert units.RescaleIntercept == 0
    return np.float32(units.RescaleSlope)


def test_dose_grid_is_in_its_scale_and_place() -> None:
    ds = pydicom.dcmread(get_testdata_file("rtdose.dcm"))
    scan = read(packaged("rtdose.dcm"))
    assert np.allclose(
        scan.image[0], (ds.pixel_array * float(ds.DoseGridScaling)).transpose(2, 1, 0)[::-1, ::-1], rtol=1e-6
    )
    first = np.array(ds.ImagePositionPatient, float) * [-1, -1, 1]
    assert np.allclose((scan.affine @ [9, 9, 0, 1])[:3], first) and np.allclose(scan.spacing, (10, 10, 5))


def test_frames_of_unknown_place_are_shown_upright_with_a_notice() -> None:
    ds = pydicom.dcmread(get_testdata_file("examples_ybr_color.dcm"))
    scan = read(packaged("examples_ybr_color.dcm"))
    assert scan.image.shape == (3, 320, 240, 30) and scan.affine is None and scan.spacing is None
    assert "30 frames follow each other in time" in scan.notices[0] and scan.modality == "US"
    frame = take_slice(scan, 2, 7)
    assert np.array_equal(np.moveaxis(frame.image, 0, -1), ds.pixel_array[7])
    still = read(dicom(np.stack([STORED + np.uint16(n) for n in range(9)])))
    assert "do not say how they lie" in still.notices[0]
    assert np.array_equal(take_slice(still, 2, 3).image[0], STORED + 3.0)


@pytest.mark.parametrize("folder", ["77654033", "98892001", "98892003"])
def test_the_series_of_pydicoms_own_folders(folder: str) -> None:
    root = Path(get_testdata_file("dicomdirtests/DICOMDIR")).parent / folder
    found = read_all(root)
    assert found and all(isinstance(one, Scan) for one in found)
    if folder == "98892001":  # five slices, 2.5 mm apart, the last one lowest
        series = next(one for one in found if one.image.ndim == 4)
        files = sorted((root / "CT5N").iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
        planes = [apply_modality_lut((ds := pydicom.dcmread(path)).pixel_array, ds) for path in files]
        assert np.array_equal(series.image[0], np.array(planes).transpose(2, 1, 0)[::-1, ::-1])
        assert series.spacing[2] == pytest.approx(2.5)
