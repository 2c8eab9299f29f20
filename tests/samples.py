"""Small files of every format, made here by the libraries of the field."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pydicom
import SimpleITK
from PIL import Image
from pydicom.data import get_testdata_file

RAMP = (np.arange(16 * 24).reshape(16, 24) * 7 % 256).astype(np.uint8)
COLOUR = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=-1)
STORED = (np.arange(16 * 24).reshape(16, 24) * 10).astype(np.uint16)
AXIAL = (1, 0, 0, 0, 1, 0)


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def dicom(pixels: np.ndarray, *, bits: int = 12, **elements: object) -> bytes:
    """A small DICOM file with a patient in it; of (frames, rows, columns) a multi-frame one."""
    ds = pydicom.Dataset()
    ds.PatientName, ds.PatientID = "Curie^Marie", "ID-18671107"
    ds.SOPClassUID, ds.SOPInstanceUID = pydicom.uid.SecondaryCaptureImageStorage, pydicom.uid.generate_uid()
    ds.Rows, ds.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        ds.NumberOfFrames = len(pixels)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 * pixels.itemsize, bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = elements.pop("syntax", pydicom.uid.ExplicitVRLittleEndian)
    for key, value in elements.items():
        setattr(ds, key, value)
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def ct_slices(
    voxels: np.ndarray,
    positions: np.ndarray,
    *,
    orientation: Sequence[float] = AXIAL,
    spacing: Sequence[float] = (0.8, 0.6),
    series: str = "1.2.3",
    **elements: object,
) -> list[bytes]:
    """Stored values (slices, rows, columns) as one CT file a slice, at positions (slices, 3) in LPS mm."""
    common = {
        "SOPClassUID": pydicom.uid.CTImageStorage,
        "Modality": "CT",
        "SeriesInstanceUID": series,
        "ImageOrientationPatient": [float(number) for number in orientation],
        "PixelSpacing": list(spacing),
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "WindowCenter": [40, 600],
        "WindowWidth": [400, 1500],
    } | elements
    return [
        dicom(plane, ImagePositionPatient=[f"{number:.6f}" for number in place], InstanceNumber=count, **common)
        for count, (plane, place) in enumerate(zip(voxels, positions, strict=True), 1)
    ]


def along(step: Sequence[float], count: int, first: Sequence[float] = (-7.0, 12.0, 30.0)) -> np.ndarray:
    return np.array(first) + np.arange(count)[:, None] * np.array(step)


def stored_volume(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4096, shape).astype(np.uint16)


def volume(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)


def nifti(
    voxels: np.ndarray, affine: np.ndarray | None = None, *, packed: bool = False, image: type = nibabel.Nifti1Image
) -> bytes:
    content = image(voxels, np.eye(4) if affine is None else affine).to_bytes()
    return gzip.compress(content, 1) if packed else content


def nrrd_file(voxels: np.ndarray, header: dict | None = None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "a.nrrd"))
        nrrd.write(path, voxels, header or {})
        return Path(path).read_bytes()


def metaimage(image: SimpleITK.Image, *, packed: bool = False) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "a.mha"))
        SimpleITK.WriteImage(image, path, packed)
        return Path(path).read_bytes()


def itk_image(voxels: np.ndarray) -> SimpleITK.Image:
    """An ITK image of (z, y, x) that lies askew."""
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing((0.7, 0.9, 2.0))
    image.SetOrigin((-11.0, 5.0, 31.0))
    turn = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    tilt = np.array([[1.0, 0.0, 0.0], [0.0, 0.96, -0.28], [0.0, 0.28, 0.96]])
    image.SetDirection((tilt @ turn).ravel())
    return image


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def saved_many(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def pages(*planes: np.ndarray) -> bytes:
    first, *others = (Image.fromarray(plane) for plane in planes)
    return encode(first, "TIFF", save_all=True, append_images=others)


def packaged(name: str) -> bytes:
    """One of pydicom's own test files."""
    return Path(get_testdata_file(name)).read_bytes()


SERIES = ct_slices(stored_volume(9, 16, 12), along((0, 0, 2.5), 9))
MHD, _, RAW = metaimage(itk_image(volume(9, 10, 11).astype(np.int16))).partition(b"ElementDataFile = LOCAL\n")
MHD += b"ElementDataFile = image.raw\n"
VALID = {
    "png8.png": encode(Image.fromarray(RAMP)),
    "png16.png": encode(Image.fromarray(STORED)),
    "rgba.png": encode(Image.fromarray(np.dstack([COLOUR, RAMP]))),
    "palette.png": encode(Image.fromarray(COLOUR).quantize(16)),
    "grey.jpg": encode(Image.fromarray(RAMP), "JPEG"),
    "cmyk.jpg": encode(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
    "progressive.jpg": encode(Image.fromarray(COLOUR), "JPEG", progressive=True),
    "grey16.tif": encode(Image.fromarray(STORED), "TIFF"),
    "packed.tif": encode(Image.fromarray(COLOUR), "TIFF", compression="tiff_lzw"),
    "deflated.tif": encode(Image.fromarray(STORED), "TIFF", compression="tiff_deflate"),
    "jpeg.tif": encode(Image.fromarray(COLOUR), "TIFF", compression="jpeg"),
    "fax.tif": encode(Image.fromarray(RAMP > 99), "TIFF", compression="group4"),
    "pages.tif": pages(*(STORED + np.uint16(page) for page in range(9))),
    "plain.dcm": dicom(
        STORED, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=40, WindowWidth=400, PixelSpacing=[0.5, 0.7]
    ),
    "slice.dcm": SERIES[0],
    "deflated.dcm": dicom(STORED, syntax=pydicom.uid.DeflatedExplicitVRLittleEndian),
    "frames.dcm": dicom(np.stack([STORED] * 8), FrameTime=40),
    "rle.dcm": packaged("MR_small_RLE.dcm"),
    "jpeg.dcm": packaged("SC_rgb_jpeg_dcmtk.dcm"),
    "extended.dcm": packaged("JPGExtended.dcm"),
    "lossless.dcm": packaged("SC_rgb_jpeg_gdcm.dcm"),
    "jpeg-ls.dcm": packaged("MR_small_jpeg_ls_lossless.dcm"),
    "jpeg2000.dcm": packaged("MR_small_jp2klossless.dcm"),
    "palette.dcm": packaged("examples_palette.dcm"),
    "dose.dcm": packaged("rtdose.dcm"),
    "segment.dcm": packaged("liver_1frame.dcm"),
    "one.nii": nifti(volume(9, 10, 11)),
    "two.nii": nifti(volume(9, 10, 11).astype(np.int16), image=nibabel.Nifti2Image),
    "packed.nii.gz": nifti(volume(9, 10, 11).astype(np.int16), packed=True),
    "gzip.nrrd": nrrd_file(
        volume(9, 10, 11).astype(np.int16),
        {"space": "left-posterior-superior", "space directions": np.diag([1.0, 2.0, 3.0]), "space origin": [1, 2, 3]},
    ),
    "raw.nrrd": nrrd_file(volume(9, 10, 11), {"encoding": "raw", "spacings": [1.0, 2.0, 3.0]}),
    "text.nrrd": nrrd_file(volume(9, 10), {"encoding": "ascii"}),
    "bzip2.nrrd": nrrd_file(volume(9, 10, 11), {"encoding": "bzip2"}),
    "plain.mha": metaimage(itk_image(volume(9, 10, 11).astype(np.int16))),
    "packed.mha": metaimage(itk_image(volume(9, 10, 11)), packed=True),
    "volume.npy": saved(volume(9, 10, 11)),
    "colour.npy": saved(COLOUR),
    "one.npz": saved_many(image=volume(12, 13)),
    "series.zip": zipped({f"a/{number}.dcm": data for number, data in enumerate(SERIES)}),
    "mixed.zip": zipped(
        {"x/image.mhd": MHD, "x/image.raw": RAW, "y.png": encode(Image.fromarray(RAMP)), "readme.txt": b"Hello"}
    ),
}
"""A small file of each kind."""
