"""Reading, slicing and preparing scans, against pydicom, nibabel, Pillow and files made here."""

from __future__ import annotations

import gzip
import io
import itertools
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.testing import data_path
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_windowing

from hfcviz.limits import MAX_BYTES
from hfcviz.readers import read
from hfcviz.resampling import prepare
from hfcviz.scans import Scan, take_slice, write_png
from hfcviz.settings import InputError
from tests.samples import COLOUR, RAMP, STORED, VALID, dicom, encode, nifti, volume


def refusal(data: bytes | Path, name: str | None = None) -> str:
    """The sentence with which the file is refused."""
    with pytest.raises(InputError) as caught:
        read(data, name)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 300
    return text


# ---- pictures


def test_png_of_8_bits_round_trips_to_n_over_255() -> None:
    scan = read(VALID["png8.png"], "png8.png")
    assert scan.image.dtype == np.float32 and scan.window == (0, 255) and not scan.notices
    assert np.array_equal(prepare(scan, (1, 16, 24)), RAMP[None] / np.float32(255))


def test_png_of_16_bits_keeps_its_values() -> None:
    scan = read(VALID["png16.png"], "png16.png")
    assert np.array_equal(scan.image[0], STORED) and scan.window is None
    low, high = np.percentile(STORED, (0.5, 99.5))
    assert np.allclose(prepare(scan, (1, 16, 24))[0], np.clip((STORED - low) / (high - low), 0, 1), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_written_png_is_read_back(tmp_path: Path, channels: int) -> None:
    x = np.random.default_rng(1).uniform(0.3, 0.4, (channels, 32, 20)).astype(np.float32)
    write_png(tmp_path / "x.png", x)
    back = prepare(read(tmp_path / "x.png"), x.shape)
    assert np.abs(back - x).max() <= (0.5001 / 65535 if channels == 1 else 0.5001 / 255)
    stream = io.BytesIO()
    write_png(stream, back)
    assert np.array_equal(prepare(read(stream.getvalue()), x.shape), back)


@pytest.mark.parametrize(
    "image", [np.zeros((1, 8, 8, 8)), np.zeros((2, 8, 8)), np.full((1, 8, 8), 1.1), np.full((1, 8, 8), np.nan)]
)
def test_write_png_refuses_what_is_no_picture(image: np.ndarray) -> None:
    with pytest.raises(InputError):
        write_png(io.BytesIO(), image)


def test_colour_palette_and_transparency() -> None:
    assert np.array_equal(read(encode(Image.fromarray(COLOUR))).image, np.moveaxis(COLOUR, -1, 0))
    grey = Image.fromarray(RAMP).convert("P", palette=Image.Palette.ADAPTIVE)
    palette = prepare(read(encode(grey)), (1, 16, 24))
    assert np.allclose(palette[0], np.asarray(grey.convert("L")) / 255, atol=1e-6)
    clear = np.full_like(RAMP, 255)
    clear[:, 12:] = 0
    see_through = read(encode(Image.fromarray(np.dstack([COLOUR, clear]))))
    assert np.array_equal(see_through.image[:, :, :12], np.moveaxis(COLOUR, -1, 0)[:, :, :12])
    assert not see_through.image[:, :, 12:].any() and "black" in see_through.notices[0]
    opaque = read(encode(Image.fromarray(np.dstack([RAMP, np.full_like(RAMP, 255)]), "LA")))
    assert np.array_equal(opaque.image, RAMP[None]) and not opaque.notices


def png16(pixels: np.ndarray, colour: int) -> bytes:
    """A 16-bit PNG of (rows, columns, channels) of a colour type (w3.org/TR/png, 11.2.1)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *pixels.shape[1::-1], 16, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_16_bit_grey_with_transparency_keeps_its_values() -> None:
    solid = np.full_like(STORED, 65535)
    scan = read(png16(np.dstack([STORED, solid]), 4))
    assert np.array_equal(scan.image, STORED[None]) and scan.window is None and not scan.notices
    half = np.where(STORED < 900, 0, solid)
    scan = read(png16(np.dstack([STORED, half]), 4))
    assert np.array_equal(scan.image[0], np.where(STORED < 900, 0, STORED)) and "transparent" in scan.notices[0]
    assert "truncated" in refusal(png16(np.dstack([STORED, solid]), 4)[:200], "a.png")


def test_16_bit_colour_is_announced_as_reduced() -> None:
    scan = read(png16(COLOUR.astype(np.uint16) * 257, 2))
    assert np.array_equal(scan.image, np.moveaxis(COLOUR, -1, 0)) and "16-bit" in scan.notices[0]


def test_jpeg_colours_and_exif_rotation() -> None:
    corner = np.zeros((32, 48, 3), np.uint8)
    corner[:16, :16] = 255, 0, 0
    for mode in ("RGB", "CMYK"):
        image = read(encode(Image.fromarray(corner).convert(mode), "JPEG", quality=95)).image
        assert image.shape == (3, 32, 48)
        assert image[0, 4, 4] > 200 and image[1:, 4, 4].max() < 50 and image[:, 24, 40].max() < 30, mode
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: the corner goes to the top right
    turned = read(encode(Image.fromarray(corner[..., 0]), "JPEG", exif=exif)).image
    assert turned.shape == (1, 48, 32) and turned[0, 4, 28] > 200 and turned[0, 4, 4] < 50


# ---- DICOM


def test_ct_is_in_hounsfield_units_with_spacing() -> None:
    path = Path(get_testdata_file("CT_small.dcm"))
    ds = pydicom.dcmread(path)
    scan = read(path)
    stored = np.frombuffer(ds.PixelData, "<i2").reshape(ds.Rows, ds.Columns)
    assert ds.RescaleIntercept != 0
    assert np.array_equal(scan.image[0], stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept))
    assert scan.spacing == tuple(ds.PixelSpacing) and scan.name == "CT_small.dcm"


@pytest.mark.parametrize("syntax", ["implicit", "bigendian", "expb", "RLE", "jp2klossless", "padded"])
def test_transfer_syntaxes_give_the_same_pixels(syntax: str) -> None:
    plain, other = (read(Path(get_testdata_file(name))) for name in ("MR_small.dcm", f"MR_small_{syntax}.dcm"))
    assert np.array_equal(plain.image, other.image) and plain.window == other.window


@pytest.mark.parametrize(
    "name", ["image_dfl.dcm", "SC_rgb_rle_16bit.dcm", "SC_ybr_full_422_uncompressed.dcm", "examples_rgb_color.dcm"]
)
def test_other_dicom_pixels_are_those_of_pydicom(name: str) -> None:
    path = get_testdata_file(name)
    expected = pydicom.dcmread(path).pixel_array.astype(np.float32)
    scan = read(Path(path))
    assert np.array_equal(scan.image, expected[None] if expected.ndim == 2 else np.moveaxis(expected, -1, 0))
    assert scan.window == (0, 65535 if "16bit" in name else 255)


def test_dicom_palette_has_the_colours_of_its_table() -> None:
    ds = pydicom.dcmread(get_testdata_file("examples_palette.dcm"))
    index = np.frombuffer(ds.PixelData, np.uint8)[: ds.Rows * ds.Columns].reshape(ds.Rows, ds.Columns)
    red = np.frombuffer(ds.RedPaletteColorLookupTableData, "<u2")[index]
    assert np.array_equal(read(Path(get_testdata_file("examples_palette.dcm"))).image[0], red)


def test_dicom_without_preamble_and_meta_is_read() -> None:
    whole = Path(get_testdata_file("MR_small_implicit.dcm")).read_bytes()
    ds = pydicom.dcmread(io.BytesIO(whole))
    start = whole.index(b"\x08\x00", 132 + 12 + ds.file_meta.FileMetaInformationGroupLength)
    for data in (whole[132:], whole[start:]):
        assert np.array_equal(read(data).image, read(whole).image)


def test_voi_window_by_the_formula_of_the_standard() -> None:
    slope, intercept, center, width = 2.0, -1000.0, 40.0, 400.0
    data = dicom(STORED, RescaleSlope=slope, RescaleIntercept=intercept, WindowCenter=center, WindowWidth=width)
    scan = read(data)
    values = slope * STORED + intercept
    expected = np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)  # PS3.3 C.11.2.1.2.1
    assert 0 < expected.mean() < 1
    assert np.allclose(prepare(scan, (1, 16, 24))[0], expected, atol=1e-5)
    shown = apply_windowing(values, pydicom.dcmread(io.BytesIO(data)))
    assert np.allclose(prepare(scan, (1, 16, 24))[0], (shown - shown.min()) / np.ptp(shown), atol=1e-5)
    exact = read(dicom(STORED, WindowCenter=[100, 7], WindowWidth=[50, 3], VOILUTFunction="LINEAR_EXACT"))
    assert exact.window == (75, 125)
    assert read(dicom(STORED, WindowCenter=100, WindowWidth=1)).window is None


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_monochrome1_reads_the_right_way_round(dtype: type) -> None:
    offset = 2048 if dtype is np.int16 else 0
    options = {"RescaleSlope": 3, "RescaleIntercept": 5, "WindowWidth": 900, "PhotometricInterpretation": "MONOCHROME1"}
    normal = read(
        dicom(
            (STORED - offset).astype(dtype),
            **options | {"PhotometricInterpretation": "MONOCHROME2", "WindowCenter": 1000},
        )
    )
    mirror = read(
        dicom((4095 - STORED - offset).astype(dtype), **options, WindowCenter=3 * (4095 - 2 * offset) + 10 - 1000 + 1)
    )
    assert np.array_equal(normal.image, mirror.image)
    assert normal.window == mirror.window and np.array_equal(prepare(normal, (1, 16, 24)), prepare(mirror, (1, 16, 24)))
    assert "MONOCHROME1" in mirror.notices[0]


def test_nothing_of_the_patient_is_kept_or_said() -> None:
    scan = read(VALID["plain.dcm"], "plain.dcm")
    assert scan.spacing == (0.5, 0.7)
    assert scan.modality == "" and scan.windows == (("window 1", scan.window),)
    broken = VALID["plain.dcm"].replace(b"Curie^Marie", b"Curie\\^=^\xff")[:-200]
    for said in (repr(scan), refusal(broken, "a.dcm")):
        assert "Curie" not in said and "1867" not in said


# ---- NIfTI

SPACING = np.array([2.0, 1.5, 3.0])
SHAPE = (20, 24, 28)
TO_MM = nibabel.affines.from_matvec(np.diag(SPACING), [-19.0, -17.0, -40.0])
MARKER = (16, 19, 22)  # right, front, top of the middle, in RAS+ indices


def marked() -> np.ndarray:
    voxels = np.zeros(SHAPE, np.float32)
    voxels[4:18, 5:21, 6:25] = 100
    voxels[MARKER] = 500
    return voxels


def stored_as(codes: str) -> bytes:
    """The marked volume, its axes in the order and direction of `codes`, as a file."""
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    return nibabel.Nifti1Image(marked(), TO_MM).as_reoriented(turn).to_bytes()


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPI", "PSR", "IRA"])
def test_stored_orientation_does_not_matter(codes: str) -> None:
    scan = read(stored_as(codes), "a.nii")
    assert (
        np.array_equal(scan.image[0], marked())
        and np.allclose(scan.affine, TO_MM)
        and np.allclose(scan.spacing, SPACING)
    )
    # Display order, counted by hand: axial from the front and the right, coronal from the top and the right, sagittal from the
    # top and the front.
    right, front, top = 20 - 1 - 16, 24 - 1 - 19, 28 - 1 - 22
    world = (TO_MM @ (*MARKER, 1))[:3]
    for axis, expected in ((2, (front, right)), (1, (top, right)), (0, (top, front))):
        plane = take_slice(scan, axis, MARKER[axis])
        assert np.unravel_index(plane.image[0].argmax(), plane.image[0].shape) == expected
        assert np.allclose(plane.affine @ (*expected, 0, 1), (*world, 1))
        assert plane.image.shape[1:] == tuple(np.delete(SHAPE, axis)[::-1])
        assert np.allclose(plane.spacing, np.delete(SPACING, axis)[::-1])


def test_default_slice_is_the_middle_of_the_object() -> None:
    scan = read(stored_as("LPI"), "head.nii")
    for axis, (first, last) in enumerate([(4, 17), (5, 20), (6, 24)]):
        middle = (first + last) // 2
        assert np.array_equal(take_slice(scan, axis).image, take_slice(scan, axis, middle).image)
        assert str(middle) in take_slice(scan, axis).name


@pytest.mark.parametrize(("axis", "index"), [(2, 28), (2, -1), (3, 0), (-1, 3), (2, 0)])
def test_a_slice_outside_or_empty_is_refused(axis: int, index: int) -> None:
    with pytest.raises(InputError):
        take_slice(read(stored_as("RAS")), axis, index)


def test_an_image_has_no_slices() -> None:
    with pytest.raises(InputError, match=r"16 x 24"):
        take_slice(read(VALID["png8.png"]))


def test_bundled_volume_agrees_with_nibabels_canonical_form() -> None:
    for name in ("anatomical.nii", "reoriented_anat_moved.nii"):
        path = Path(data_path) / name
        expected = nibabel.as_closest_canonical(nibabel.load(path))
        scan = read(path)
        assert np.allclose(scan.image[0], expected.get_fdata(), rtol=1e-6)
        assert np.allclose(scan.affine, expected.affine) and np.allclose(scan.spacing, expected.header.get_zooms())


@pytest.mark.parametrize("singleton", [None, 2, 1])
def test_nifti_of_one_slice_is_an_image_in_display_order(singleton: int | None) -> None:
    plane = volume(10, 12)
    voxels = plane if singleton is None else np.expand_dims(plane, singleton)
    scan = read(nifti(voxels, np.diag([2.0, 3.0, 3.0, 1.0])), "slice.nii")
    assert (
        scan.name == "slice.nii"
        and np.array_equal(scan.image[0], plane.T[::-1, ::-1])
        and np.allclose(scan.spacing, (3, 2))
    )


def test_scaling_packing_names_and_trailing_axes_of_nifti() -> None:
    image = nibabel.Nifti1Image(volume(9, 10, 11).astype(np.int16)[..., None], np.eye(4))
    image.header.set_slope_inter(0.5, 20)
    image.header.set_xyzt_units("micron")
    image.set_sform(np.diag([200.0, 300.0, 400.0, 1.0]), 1)
    plain = read(image.to_bytes(), "a.nii.gz")
    assert np.allclose(plain.image[0], nibabel.Nifti1Image.from_bytes(image.to_bytes()).get_fdata()[..., 0])
    assert np.allclose(plain.spacing, (0.2, 0.3, 0.4)) and not plain.notices
    packed = read(gzip.compress(image.to_bytes()[:500]) + gzip.compress(image.to_bytes()[500:]), "a.nii")
    assert np.array_equal(packed.image, plain.image) and not packed.notices
    nowhere = nibabel.Nifti1Image(volume(9, 10, 11), None)
    assert "guess" in read(nowhere.to_bytes()).notices[0]


# ---- preparation


def test_resizing_agrees_with_pillow() -> None:
    image = volume(120, 90)
    scan = Scan(image[None], None, None, "x", window=(0, 255))
    for shape in ((48, 36), (200, 150), (40, 30)):
        expected = np.asarray(Image.fromarray(image / 255).resize(shape[::-1], Image.Resampling.BILINEAR))
        assert np.allclose(prepare(scan, (1, *shape))[0], expected, atol=2e-6)


def test_volumes_are_resized_like_images() -> None:
    image = volume(1, 24, 20)
    flat, deep = Scan(image, None, None, "x"), Scan(np.repeat(image[..., None], 16, axis=-1), None, None, "x")
    expected = prepare(flat, (1, 12, 10), (0, 200))
    assert np.allclose(prepare(deep, (1, 12, 10, 8), (0, 200)), expected[..., None], atol=1e-6)


def test_proportions_are_true_and_padding_is_the_minimum() -> None:
    image = np.full((1, 40, 40), 150.0, np.float32)
    image[:, 20, 20], image[:, 5, 5] = 200, 50
    x = prepare(Scan(image, None, (1.0, 2.0), "x"), (3, 80, 80), (0, 200))
    assert x.shape == (3, 80, 80) and x.dtype == np.float32
    inside = x[0] > x[0].min()
    assert np.array_equal(np.flatnonzero(inside.any(1)), np.arange(20, 60)) and inside.any(0).all()
    assert np.array_equal(x[0], x[1]) and np.all(x[:, :20] == x.min())
    exact = prepare(Scan(image, None, (2.0, 2.0), "x"), (1, 40, 40), (0, 200))
    assert np.array_equal(exact, image / np.float32(200))


def test_window_and_luma() -> None:
    scan = read(encode(Image.fromarray(COLOUR)))
    luma = COLOUR @ [0.299, 0.587, 0.114]
    assert np.allclose(prepare(scan, (1, 16, 24))[0], luma / 255, atol=1e-6)
    grey = read(VALID["png8.png"])
    x = prepare(grey, (3, 16, 24), (100, 200))
    assert np.allclose(x, np.clip((RAMP.astype(float) - 100) / 100, 0, 1), atol=1e-6)
    for window in ((5, 5), (9, 1), (0, np.inf), (np.nan, 1)):
        with pytest.raises(InputError, match=r"[Ww]indow"):
            prepare(grey, (1, 16, 24), window)
    sparse = np.zeros((1, 64, 64), np.float32)
    sparse[0, 3, 3] = 7
    assert prepare(Scan(sparse, None, None, "x"), (1, 64, 64)).max() == 1


def test_numbers_too_large_for_float32_never_reach_the_network() -> None:
    far = read(dicom(STORED, WindowCenter="1e300", WindowWidth="1e300", PixelSpacing=["1e300", "1e-300"]))
    assert far.window is None and far.spacing is None
    assert "Inf" in refusal(dicom(STORED, RescaleSlope="1e40", RescaleIntercept=0))
    wide = volume(9, 10, 11)
    wide[:4], wide[4:] = -3e38, 3e38
    with pytest.raises(InputError, match="window"):
        prepare(read(nifti(wide)), (1, 8, 8, 8))
    assert "affine" in refusal(nifti(volume(9, 10, 11), np.diag([1e100, 1, 1, 1]), image=nibabel.Nifti2Image))


def test_ranks_and_channels_that_do_not_fit() -> None:
    deep = read(VALID["one.nii"], "one.nii")
    for scan, shape, way in ((deep, (1, 8, 8), "slice"), (read(VALID["png8.png"]), (1, 8, 8, 8), "volume")):
        with pytest.raises(InputError, match=way):
            prepare(scan, shape)
    with pytest.raises(InputError, match="channels"):
        prepare(read(VALID["rgba.png"]), (2, 16, 24))


# ---- what cannot be used


def beginning_at(byte: int) -> bytes:
    """A NIfTI that says where its voxels begin (vox_offset)."""
    data = VALID["one.nii"]
    return data[:108] + struct.pack("<f", byte) + data[112:]


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (b"", "a.png", "empty"),
        (b"hello, this is no image at all", "scan.png", "its name promises PNG"),
        (b"%PDF-1.7 and so on", "scan.pdf", "something else (PDF, by its name)"),
        (b"\x1f\x8b\x08broken", "scan.nii.gz", "NIfTI"),
        (gzip.compress(VALID["png8.png"]), "scan.nii.gz", "NIfTI"),
        (VALID["png8.png"][:70], "a.png", "truncated"),
        (VALID["plain.dcm"][:-50], "a.dcm", "(16 x 24, 1 x 16 bits each), but it is truncated"),
        (
            dicom(STORED, SamplesPerPixel=None, PixelRepresentation=None),
            "a.dcm",
            "SamplesPerPixel, PixelRepresentation",
        ),
        (VALID["packed.nii.gz"][:-50], "a.nii.gz", "truncated"),
        (VALID["one.nii"][:-50], "a.nii", "3910 are there"),
        (VALID["plain.mha"][:-50], "a.mha", "1930 are there"),
        (VALID["raw.nrrd"][:-50], "a.nrrd", "3910 are there"),
        (VALID["volume.npy"][:-50], "a.npy", "3910 are there"),
        (beginning_at(0), "a.nii", "byte 0"),
        (beginning_at(10**9), "a.nii", "953 MB"),
        (nifti(np.zeros((9, 9, 9), [("R", "u1"), ("G", "u1"), ("B", "u1")])), "a.nii", "a colour"),
        (encode(Image.fromarray(np.full((20, 20), 7, np.uint8))), "a.png", "every value is 7"),
        (encode(Image.new("L", (1, 1))), "a.png", "1 x 1"),
        (encode(Image.fromarray(RAMP[:7])), "a.png", "7 x 24"),
        (nifti(volume(9, 9, 9, 3)), "a.nii", "3 volumes"),
        (nifti(np.where(np.arange(9) == 4, np.nan, volume(9, 9, 9)).astype(np.float32)), "a.nii", "NaN"),
        (nifti(np.where(np.arange(9) == 4, -np.inf, volume(9, 9, 9)).astype(np.float32)), "a.nii", "Inf"),
        (nifti(volume(9, 9, 9).astype(np.complex64)), "a.nii", "complex64"),
        (Path(data_path, "nifti1.hdr").read_bytes(), "nifti1.hdr", "pair"),
        (Path(get_testdata_file("rtplan.dcm")).read_bytes(), "plan.dcm", "pixels"),
    ],
    ids=itertools.count(),
)
def test_refusals_name_the_file_the_rule_and_the_value(data: bytes, name: str, words: str) -> None:
    text = refusal(data, name)
    assert name in text and words in text


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    assert "folder" in refusal(tmp_path)
    assert "absent.png" in refusal(tmp_path / "absent.png")
    huge = tmp_path / "huge.nii"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "512 MB" in refusal(huge)


def test_a_wrong_extension_is_read_and_noted() -> None:
    scan = read(VALID["grey.jpg"], "scan.png")
    assert scan.notices == ("scan.png is named .png but holds JPEG; it was read as JPEG.",)
    for name in ("scan.JPEG", "scan", "1.2.840.10008", "scan.v2"):
        assert not read(VALID["grey.jpg"], name).notices


def test_the_name_is_only_a_label(tmp_path: Path) -> None:
    for name in ("../../etc/passwd", "..\\x\\passwd", "/passwd", "pass\nwd\x00"):
        assert read(VALID["png8.png"], name).name == "passwd"
    assert len(read(VALID["png8.png"], "a" * 5000 + ".png").name) <= 80
