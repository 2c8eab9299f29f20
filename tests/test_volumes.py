"""NIfTI of several volumes, NRRD, MetaImage, NumPy and TIFF, against nibabel, pynrrd, SimpleITK, numpy and Pillow."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK
from imagecodecs import tiff_encode
from PIL import Image

from hfcviz.readers import read, read_all
from hfcviz.scans import Scan, take_slice
from hfcviz.settings import InputError
from tests.samples import (
    COLOUR,
    MHD,
    RAMP,
    RAW,
    STORED,
    encode,
    itk_image,
    metaimage,
    nifti,
    nrrd_file,
    pages,
    saved,
    saved_many,
    volume,
    zipped,
)

DATA = Path(nibabel.__file__).parent / "tests" / "data"
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def same(scan: Scan, expected: nibabel.Nifti1Image) -> None:
    assert np.allclose(scan.affine, expected.affine, atol=1e-5)
    assert np.allclose(scan.image[0], expected.get_fdata(), rtol=1e-6)
    assert np.allclose(scan.spacing, expected.header.get_zooms()[:3], rtol=1e-5)


def refusal(data: bytes | Path, name: str | None = None, **options: int) -> str:
    with pytest.raises(InputError) as caught:
        read(data, name, **options)
    assert str(caught.value).endswith(".") and len(str(caught.value)) < 300
    return str(caught.value)


# ---- NIfTI


@pytest.mark.parametrize("name", ["example4d.nii.gz", "functional.nii", "example_nifti2.nii.gz"])
def test_one_volume_of_several_is_chosen(name: str) -> None:
    image = nibabel.load(DATA / name)
    count = image.shape[3]
    assert f"{count} volumes" in refusal(DATA / name) and "--volume" in refusal(DATA / name)
    for chosen in (0, count - 1):
        same(read(DATA / name, volume=chosen), nibabel.as_closest_canonical(image.slicer[..., chosen]))
    assert f"between 0 and {count - 1}" in refusal(DATA / name, volume=count)


def test_axes_beyond_the_fourth_count_on() -> None:
    voxels = volume(9, 10, 11, 2, 3)
    scan = read(nifti(voxels), "a.nii", volume=3)
    assert np.array_equal(scan.image[0], voxels[..., 1, 1])  # the fourth axis counts first


def test_the_brain_template_where_it_is_installed() -> None:
    data = pytest.importorskip("nilearn.datasets").__file__
    path = Path(data).parent / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    same(read(path), nibabel.as_closest_canonical(nibabel.load(path)))


# ---- NRRD

SPACES = {
    "left-posterior-superior": LPS,
    "right-anterior-superior": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
}
STEPS = np.array([[0.0, 1.5, 0.3], [-0.8, 0.0, 0.0], [0.0, -0.2, 2.0]])


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_nrrd_lies_where_its_space_says(space: str, encoding: str) -> None:
    voxels = volume(9, 10, 11).astype(np.int16)
    header = {"space": space, "space directions": STEPS, "space origin": [5.0, -6.0, 7.0], "encoding": encoding}
    affine = SPACES[space] @ nibabel.affines.from_matvec(STEPS.T, header["space origin"])
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels, affine))
    scan = read(nrrd_file(voxels, header))
    same(scan, expected)
    assert scan.stored_orientation == "".join(nibabel.aff2axcodes(affine)) and scan.format == "NRRD"


def test_nrrd_without_a_space_keeps_its_spacing_only() -> None:
    voxels = volume(9, 10, 11)
    scan = read(nrrd_file(voxels, {"spacings": [1.0, 2.0, 3.0]}))
    assert np.array_equal(scan.image[0], voxels) and scan.affine is None and scan.spacing == (1, 2, 3)
    assert "unknown" in scan.notices[0]
    flat = read(nrrd_file(voxels[..., 0], {"spacings": [1.0, 2.0]}))
    assert np.array_equal(flat.image[0], voxels[..., 0].T) and flat.spacing == (2, 1)


def test_nrrd_of_volumes_and_of_colours() -> None:
    voxels = volume(3, 9, 10, 11)
    header = {"kinds": ["list", "domain", "domain", "domain"], "space": "right-anterior-superior"}
    header |= {"space directions": np.vstack([[np.nan] * 3, np.eye(3)]), "space origin": [0, 0, 0]}
    data = nrrd_file(voxels, header)
    assert "3 volumes" in refusal(data)
    assert np.array_equal(read(data, volume=2).image[0], voxels[2])
    colours = nrrd_file(np.moveaxis(COLOUR, -1, 0), {"kinds": ["RGB-color", "domain", "domain"]})
    scan = read(colours)
    assert np.array_equal(scan.image, np.moveaxis(COLOUR, -1, 0).swapaxes(1, 2)) and scan.window == (0, 255)


def test_nrrd_in_two_files(tmp_path: Path) -> None:
    voxels = volume(9, 10, 11)
    nrrd.write(str(tmp_path / "a.nhdr"), voxels, {"encoding": "gzip"}, detached_header=True)
    assert np.array_equal(read(tmp_path / "a.nhdr").image[0], voxels)
    (found,) = read_all(tmp_path)
    assert isinstance(found, Scan) and np.array_equal(found.image[0], voxels) and len(found.notices) == 1
    header = (tmp_path / "a.nhdr").read_bytes()
    assert "data file" in refusal(header, "a.nhdr")
    for name in (b"../a.raw.gz", b"/etc/passwd", b"a%03d.raw 1 9 1", b"LIST", b"..", b"C:a.raw"):
        other = header.replace(b"data file: a.raw.gz", b"data file: " + name)
        assert other != header
        (tmp_path / "b.nhdr").write_bytes(other)
        assert "path" in refusal(tmp_path / "b.nhdr")


# ---- MetaImage


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float64, np.int32])
def test_metaimage_lies_where_itk_puts_it(packed: bool, kind: type) -> None:
    image = itk_image(volume(9, 10, 11).astype(kind))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    corner = image.TransformIndexToPhysicalPoint((3, 5, 7))
    assert np.allclose((affine @ [3, 5, 7, 1])[:3], corner)
    stored = SimpleITK.GetArrayFromImage(image).T.astype(float)
    scan = read(metaimage(image, packed=packed))
    same(scan, nibabel.as_closest_canonical(nibabel.Nifti1Image(stored, LPS @ affine)))
    assert scan.format == "MetaImage" and not scan.notices


def test_metaimage_in_two_files_from_folder_zip_and_upload(tmp_path: Path) -> None:
    (tmp_path / "image.mhd").write_bytes(MHD)
    (tmp_path / "image.raw").write_bytes(RAW)
    files = {"image.mhd": MHD, "image.raw": RAW}
    expected = read(metaimage(itk_image(volume(9, 10, 11).astype(np.int16))))
    for found in (
        [read(tmp_path / "image.mhd")],
        read_all(tmp_path),
        read_all(zipped({f"x/{name}": data for name, data in files.items()}), "a.zip"),
        read_all(list(files.items())),
    ):
        (scan,) = found
        assert np.array_equal(scan.image, expected.image) and np.allclose(scan.affine, expected.affine)
        assert not scan.notices
    assert "data file" in refusal(MHD, "image.mhd")
    for name in (b"../image.raw", b"/image.raw", b"LIST", b"%03d.raw", b"a b.raw", b".."):
        (tmp_path / "other.mhd").write_bytes(MHD.replace(b"= image.raw", b"= " + name))
        assert "path" in refusal(tmp_path / "other.mhd")
    short = MHD.replace(b"image.raw", b"short.raw")
    (tmp_path / "short.raw").write_bytes(RAW[:-10])
    (tmp_path / "short.mhd").write_bytes(short)
    assert "truncated" in refusal(tmp_path / "short.mhd")


def test_metaimage_of_volumes_colours_and_two_dimensions() -> None:
    several = np.stack([volume(9, 10, 11) + n for n in range(3)])
    data = metaimage(SimpleITK.JoinSeries([itk_image(one) for one in several]))
    assert "3 volumes" in refusal(data)
    single = read(metaimage(itk_image(several[1])))
    chosen = read(data, volume=1)
    assert np.array_equal(chosen.image, single.image) and np.allclose(chosen.affine, single.affine)
    colour = read(metaimage(SimpleITK.GetImageFromArray(COLOUR, isVector=True)))
    assert np.array_equal(colour.image, np.moveaxis(COLOUR, -1, 0))
    flat = SimpleITK.GetImageFromArray(STORED)
    flat.SetSpacing((0.5, 2.0))
    scan = read(metaimage(flat))
    assert np.array_equal(scan.image[0], STORED) and scan.spacing == (2.0, 0.5)


# ---- NumPy


def test_arrays_are_images_colours_volumes_or_several() -> None:
    voxels = volume(9, 10, 11)
    assert np.array_equal(read(saved(voxels[0])).image[0], voxels[0])
    assert np.array_equal(read(saved(COLOUR)).image, np.moveaxis(COLOUR, -1, 0))
    scan = read(saved(np.asfortranarray(voxels)))
    assert np.array_equal(scan.image[0], voxels) and scan.affine is None and "unknown" in scan.notices[0]
    assert np.array_equal(read(saved_many(a=voxels)).image[0], voxels)
    for array in (np.stack([voxels] * 3), np.stack([voxels] * 3, -1)):
        assert "3 volumes" in refusal(saved(array))
        assert np.array_equal(read(saved(array), volume=2).image[0], voxels)
    assert read(saved(RAMP.astype(">i4"))).image.dtype == np.float32


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (saved(volume(9, 9).astype(complex)), "complex"),
        (saved(np.array([["a"] * 9] * 9)), "text"),
        (saved(volume(9)), "9"),
        (saved(np.array([RAMP, {"a": 1}, None], dtype=object)), "objects"),
        (saved_many(train_images=RAMP[None], train_labels=np.zeros(1)), "--dataset"),
        (saved_many(a=RAMP, b=RAMP), "2"),
        (saved(RAMP)[:-5], "truncated"),
    ],
)
def test_arrays_that_are_no_scans(data: bytes, words: str) -> None:
    assert words in refusal(data, "a.npy")


# ---- TIFF


def test_tiff_of_all_depths_and_packings() -> None:
    for array, options in (
        (RAMP, {}),
        (STORED, {"compression": "tiff_lzw"}),
        (STORED.astype(np.float32) / 7, {"compression": "tiff_deflate"}),
        (STORED.astype(np.int32), {}),
    ):
        scan = read(encode(Image.fromarray(array), "TIFF", **options), "a.TIF")
        assert np.array_equal(scan.image[0], array.astype(np.float32)) and not scan.notices
    assert np.array_equal(read(encode(Image.fromarray(COLOUR), "TIFF")).image, np.moveaxis(COLOUR, -1, 0))
    assert read(encode(Image.fromarray(RAMP), "TIFF")).window == (0, 255)


def test_tiff_of_signed_bytes_and_of_16_bit_colour() -> None:
    plain = encode(Image.fromarray(RAMP), "TIFF", tiffinfo={339: 2})  # SampleFormat: signed
    scan = read(plain)
    assert np.array_equal(scan.image[0], RAMP.astype(np.int8)) and scan.window is None
    deep = read(tiff_encode(COLOUR.astype(np.uint16) * 257, photometric="rgb"))
    assert np.array_equal(deep.image, np.moveaxis(COLOUR, -1, 0)) and "16-bit" in deep.notices[0]


def test_tiff_with_white_as_zero_is_turned_round() -> None:
    for array, entry_bits in ((RAMP, 8), (STORED, 16)):
        plain = encode(Image.fromarray(array), "TIFF")
        entry = np.array([262, 3], "<u2").tobytes() + np.array([1, 1], "<u4").tobytes()  # photometric: black is zero
        assert plain.count(entry) == 1
        scan = read(plain.replace(entry, entry[:8] + bytes(4)))
        assert np.array_equal(scan.image[0], 2.0**entry_bits - 1 - array)


def test_tiff_pages_are_a_volume_shown_as_they_are() -> None:
    planes = [STORED + np.uint16(page) for page in range(9)]
    scan = read(pages(*planes))
    assert scan.image.shape == (1, 24, 16, 9) and scan.affine is None and "unknown" in scan.notices[0]
    for page in (0, 5):
        assert np.array_equal(take_slice(scan, 2, page).image[0], planes[page])
    assert "page 2" in refusal(pages(STORED, STORED[:-1]))


def test_gzip_around_anything_but_nifti_is_refused() -> None:
    assert "NIfTI" in refusal(gzip.compress(encode(Image.fromarray(RAMP))), "a.png.gz")
    stream = io.BytesIO()
    nibabel.Nifti1Image(volume(9, 10, 11), np.eye(4)).to_stream(stream)
    assert read(gzip.compress(stream.getvalue()) + bytes(100), "a.txt").image.shape == (1, 9, 10, 11)
