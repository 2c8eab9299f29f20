"""Every DICOM file that pydicom ships, against pydicom's own formulas and SimpleITK's decoders."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
import SimpleITK
from pydicom.pixels import apply_modality_lut, pixel_array

from hfcviz.decoders import DECODERS, RLE
from hfcviz.readers import read, read_all
from hfcviz.scans import Scan
from hfcviz.settings import InputError
from tests.samples import STORED, dicom, packaged

ROOT = Path(pydicom.data.__file__).parent
FILES = sorted(path for path in ROOT.glob("*_files/**/*") if path.is_file() and "TINY" not in str(path))
UNREADABLE = {
    "badVR.dcm": "unusual",  # "1A" frames
    "JPEG2000-embedded-sequence-delimiter.dcm": "decoded",  # nor by pydicom
    "MR_truncated.dcm": "truncated",
    "meta_missing_tsyntax.dcm": "lacks SamplesPerPixel",
    "nested_priv_SQ.dcm": "lacks SamplesPerPixel",
    "SC_rgb_small_odd.dcm": "3 x 3",
    "SC_rgb_small_odd_big_endian.dcm": "3 x 3",
    "SC_rgb_small_odd_jpeg.dcm": "3 x 3",
}
"""Files with pixels that are refused, and why."""


def parsed(path: Path) -> pydicom.Dataset | None:
    try:
        ds = pydicom.dcmread(path)
    except Exception:
        return None
    return ds if "PixelData" in ds else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_pydicoms_files_give_what_the_standard_says(path: Path) -> None:
    (found,) = read_all(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = parsed(path)
        if ds is None or path.name in UNREADABLE:
            assert isinstance(found, InputError) and UNREADABLE.get(path.name, "must hold") in str(found)
            return
        assert isinstance(found, Scan), found
        syntax = ds.file_meta.TransferSyntaxUID
        if DECODERS.get(syntax) == "imagecodecs" and syntax != RLE:
            return  # pydicom has nobody else to ask; see below
        values = pixel_array(ds).astype(float)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        return  # tested elsewhere
    if found.image.ndim == 4:
        assert sorted(found.image.shape[1:]) == sorted((int(ds.NumberOfFrames), ds.Rows, ds.Columns))
        return
    if ds.PhotometricInterpretation.startswith("MONOCHROME"):
        values = apply_modality_lut(values, ds) * float(ds.get("DoseGridScaling", 1))
    if ds.PhotometricInterpretation == "MONOCHROME1":
        total = float(apply_modality_lut(np.array([0, 2**ds.BitsStored - 1]), ds).sum())
        values = total - values
    assert np.allclose(found.image, values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0), rtol=1e-6)
    if ds.get("PixelSpacing"):
        assert found.spacing == tuple(ds.PixelSpacing)


@pytest.mark.parametrize(
    "name",
    [
        "JPGExtended.dcm",
        "JPEG-lossy.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "693_J2KI.dcm",
        "JPEG2000.dcm",
        "JPEGLSNearLossless_16.dcm",
    ],
)
def test_packed_pixels_are_those_of_itk(name: str) -> None:
    path = pydicom.data.get_testdata_file(name)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)).astype(float)[0]
    scan = read(Path(path))
    assert np.array_equal(scan.image, expected[None] if expected.ndim == 2 else np.moveaxis(expected, -1, 0))
    assert not scan.notices


def test_extended_and_baseline_jpeg_of_the_same_picture_agree() -> None:
    assert np.array_equal(read(packaged("JPGExtended.dcm")).image, read(packaged("JPEG-lossy.dcm")).image)


@pytest.mark.parametrize("place", ["top", "shared"])
def test_spacing_comes_from_where_the_kind_of_image_keeps_it(place: str) -> None:
    assert read(dicom(STORED, ImagerPixelSpacing=[0.2, 0.3])).spacing == (0.2, 0.3)
    assert read(dicom(STORED, PixelSpacing=[0.1, 0.4], ImagerPixelSpacing=[0.2, 0.3])).spacing == (0.1, 0.4)
    region = pydicom.Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.05, 0.04  # cm
    assert read(dicom(STORED, SequenceOfUltrasoundRegions=[region])).spacing == pytest.approx((0.4, 0.5))
    region.PhysicalUnitsXDirection = 4  # seconds
    assert read(dicom(STORED, SequenceOfUltrasoundRegions=[region])).spacing is None
    if place == "shared":
        measures, group = pydicom.Dataset(), pydicom.Dataset()
        measures.PixelSpacing = [0.6, 0.7]
        group.PixelMeasuresSequence = [measures]
        assert read(dicom(STORED, SharedFunctionalGroupsSequence=[group])).spacing == (0.6, 0.7)


def test_the_unit_is_hounsfield_only_where_the_header_means_it() -> None:
    scale = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    assert read(dicom(STORED, Modality="CT", **scale)).unit == "HU"
    assert read(dicom(STORED, Modality="CT", RescaleType="HU", **scale)).unit == "HU"
    assert read(dicom(STORED, Modality="CT", RescaleType="US", **scale)).unit == ""
    assert read(dicom(STORED, Modality="CT")).unit == ""
    assert read(dicom(STORED, Modality="MR", **scale)).unit == ""


def test_a_modality_table_is_looked_up() -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "US"
    table.add_new("LUTData", "OW", (7 * np.arange(4096) % 4001).astype("<u2").tobytes())
    data = dicom(STORED, ModalityLUTSequence=[table])
    assert np.array_equal(read(data).image[0], (7 * STORED.astype(int)) % 4001)
    ds = pydicom.dcmread(io.BytesIO(data))
    assert np.array_equal(read(data).image[0], apply_modality_lut(ds.pixel_array, ds))
