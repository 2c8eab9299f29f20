"""Read a scan from a file: what it contains decides its format, not its name.

What a file declares is checked before memory is taken for it, and whatever a library raises becomes one `InputError`.
Nothing of a DICOM header but pixels, grey scale and spacing is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import logging
import math
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hfcviz.scans import PNG_WINDOW, Scan, Window, checked, sides, take_slice
from hfcviz.settings import InputError

MAX_BYTES = 512 * 2**20
"""Largest file, and largest inflated content of a compressed one."""
MAX_VALUES = 2**27
"""Most values of a scan, pixels x channels: 512 x 512 x 512, or 512 MiB as float32."""
MAX_SIDE = 2**16
SUFFIXES = {
    "png": "PNG",
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "dcm": "DICOM",
    "dicom": "DICOM",
    "ima": "DICOM",
    "nii": "NIfTI",
}
SUFFIXES |= {
    other: other.upper() for other in ("tif", "tiff", "bmp", "gif", "webp", "nrrd", "mha", "npy", "npz", "zip", "pdf")
}
"""What a name promises: only for notices and refusals, as the content decides."""


def read(source: Path | bytes, name: str | None = None) -> Scan:
    """The scan in a PNG, JPEG, single-frame DICOM or NIfTI (plain or gzip) file, whatever the file is called.

    source: a path, or the bytes themselves. name: a label for people, by default the path's last part; never used as a path.
    Raises InputError, in one sentence, for everything that cannot be used.
    """
    given = re.split(r"[\\/]", name or (source.name if isinstance(source, Path) else ""))[-1]
    label = "".join(c for c in given if c.isprintable())[-80:] or "The file"
    with _library(f"{label} cannot be opened; give a file, not a folder, that exists and that you may read."):
        if isinstance(source, Path) and not source.is_file():  # a pipe would never end
            raise FileNotFoundError
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        if size > MAX_BYTES:
            raise InputError(
                f"{label} must be at most {MAX_BYTES >> 20} MB, but it is {size >> 20} MB; crop or resample it."
            )
        data = source.read_bytes() if isinstance(source, Path) else source
    if not data:
        raise InputError(f"{label} must hold a scan, but it is empty (0 bytes); copy or export it again.")
    suffix = Path(label.lower().removesuffix(".gz")).suffix
    promised = SUFFIXES.get(suffix[1:])
    kind = _format_of(data)
    if kind is None:
        named = f" (its name promises {promised})" if promised else ""
        raise InputError(
            f"{label} must hold {' or '.join(FORMATS)} data{named}, but it holds something else; export it as one of these."
        )
    with _library(
        f"{label} cannot be read as {kind}: it is truncated, damaged or of an unusual kind; export or download it again."
    ):
        scan = FORMATS[kind][1](data, label)
    if promised not in (None, kind):
        scan = dataclasses.replace(
            scan, notices=(f"{label} is named {suffix} but holds {kind}; it was read as {kind}.", *scan.notices)
        )
    return checked(scan)


def _picture(data: bytes, label: str) -> Scan:
    from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin

    # The plugins' own classes, as Image.open judges sizes by a process-wide limit before ours is asked.
    plugin: Any = PngImagePlugin.PngImageFile if data[:1] == b"\x89" else JpegImagePlugin.JpegImageFile
    picture = plugin(io.BytesIO(data))
    _check_size(label, (len(picture.getbands()), *picture.size))
    notices: tuple[str, ...] = ()
    window: Window | None = (0.0, 255.0)
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):
        window = (0.0, 65535.0) if picture.info.get(PNG_WINDOW[0]) == PNG_WINDOW[1] else None
    else:
        if plugin is PngImagePlugin.PngImageFile and data[24] == 16:
            notices += ("Its 16-bit colour or transparency was read with 8 bits.",)
        mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            if np.asarray(picture)[..., 3].min() < 255:
                notices += ("Its transparent parts are taken as black.",)
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
        picture = picture.convert(mode)
    pixels = np.atleast_3d(np.asarray(picture, dtype=np.float32))
    return Scan(np.moveaxis(pixels, -1, 0), None, None, label, notices, window)


def _dicom(data: bytes, label: str) -> Scan:
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array  # type: ignore[attr-defined]

    header = _dicom_header(data, label)
    if not any(element in header for element in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise InputError(f"{label} must hold pixels, but it is a DICOM without any; choose a file of an image series.")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1:
        raise InputError(f"{label} must hold one frame, but it has {frames}; save one frame as a file of its own.")
    _check_size(label, (int(header.SamplesPerPixel), int(header.Rows), int(header.Columns)))
    syntax = header.file_meta.TransferSyntaxUID.name
    with _library(
        f"{label} is truncated, or its encoding ({syntax}) cannot be decoded here; export it again, uncompressed."
    ):
        stored = pixel_array(header)
    bits, signed = int(header.get("BitsStored", 32)), bool(header.get("PixelRepresentation", 0))
    spacing = _plausible(np.ravel(header.get("PixelSpacing") or header.get("ImagerPixelSpacing") or ()))
    mm = spacing if spacing and len(spacing) == 2 else None
    if header.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, header)
        bits = 8 * stored.itemsize
    if stored.ndim == 3:
        return Scan(np.moveaxis(stored, -1, 0), None, mm, label, (), (0.0, 2.0**bits - 1))
    image = apply_modality_lut(stored, header)
    window = _voi_window(header)
    if window is None and bits <= 8 and not signed and np.array_equal(image, stored):
        window = (0.0, 2.0**bits - 1)
    notices: tuple[str, ...] = ()
    if header.PhotometricInterpretation == "MONOCHROME1":
        # Mirrored within what the file can store, not within what this image happens to hold, so that scans stay comparable.
        least = -(2 ** (bits - 1)) if signed else 0
        ends = float(apply_modality_lut(np.array([least, least + 2**bits - 1]), header).sum())
        image, window = ends - image, window and (ends - window[1], ends - window[0])
        notices = ("Its grey values were inverted, as its file (MONOCHROME1) stores black as the highest value.",)
    return Scan(image[None], None, mm, label, notices, window)


def _dicom_header(data: bytes, label: str) -> Any:
    from pydicom import dcmread, filereader, uid

    stream = io.BytesIO(data)
    filereader.read_preamble(stream, True)
    meta = filereader.read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
        # pydicom would inflate without a limit; one frame needs much less than a volume.
        most = MAX_BYTES // 4
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[stream.tell() :], most + 1)
        if len(content) > most:
            raise InputError(
                f"{label} must inflate to at most {most >> 20} MB, but its deflated data is longer; save it uncompressed."
            )
        header: Any = filereader.read_dataset(io.BytesIO(content), False, True)
        header.file_meta = meta
        return header
    header = dcmread(io.BytesIO(data), force=True)
    if "TransferSyntaxUID" not in header.file_meta:
        implicit, little = header.original_encoding
        plain = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        header.file_meta.TransferSyntaxUID = plain if little else uid.ExplicitVRBigEndian
    return header


def _voi_window(header: Any) -> Window | None:
    """The first VOI window by the formulas of DICOM PS3.3 C.11.2.1.2; a sigmoid is taken as the straight line of its width."""
    numbers = [np.ravel(header.get(key) or ())[:1].astype(float) for key in ("WindowCenter", "WindowWidth")]
    if not all(map(len, numbers)):
        return None
    center, width = (float(number[0]) for number in numbers)
    if header.get("VOILUTFunction", "LINEAR") == "LINEAR":
        center, width = center - 0.5, width - 1
    low, high = center - width / 2, center + width / 2
    return (low, high) if -math.inf < np.float32(low) < np.float32(high) < math.inf else None


def _nifti(data: bytes, label: str) -> Scan:
    import nibabel

    head = _inflated(data, 540)
    if b"ni" in (head[344:346], head[4:6]):
        raise InputError(
            f"{label} must hold its voxels, but it is one half of a .hdr and .img pair; save both as one .nii file."
        )
    kind = nibabel.Nifti2Image if head[4:6] == b"n+" else nibabel.Nifti1Image
    header = kind.header_class(head[: kind.header_class.sizeof_hdr], check=False)
    shape, dtype, offset = header.get_data_shape(), header.get_data_dtype(), header.get_data_offset()
    if dtype.kind not in "iuf":
        raise InputError(
            f"{label} must hold one real number a voxel, but its data type is {dtype}; save the magnitude or one channel."
        )
    if math.prod(shape[3:]) != 1:
        raise InputError(
            f"{label} must hold one 3-D volume, but its shape is {sides(shape)}; save one volume as a file of its own."
        )
    _check_size(label, (1, *shape))
    size = math.prod(shape) * dtype.itemsize
    if max(size, offset) > MAX_BYTES:
        raise InputError(
            f"{label} must hold at most {MAX_BYTES >> 20} MB of voxels, but declares {size >> 20} MB; save 16-bit integers."
        )
    most = offset + size + 2**20  # programs append a little
    content = _inflated(data, most)
    if len(content) > most:
        raise InputError(
            f"{label} must end with its {size} bytes of voxels, but more than 1 MB follows; export or download it again."
        )
    image = kind.from_bytes(content)
    affine = np.array(image.affine, dtype=float)
    affine[:3] *= {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0)  # metres and microns to mm
    if (
        not np.isfinite(affine).all()
        or np.linalg.matrix_rank(affine) < 4
        or not _plausible(nibabel.affines.voxel_sizes(affine))
    ):
        raise InputError(
            f"{label} must say where its voxels lie, but its affine is singular or not finite; correct its orientation."
        )
    voxels = image.get_fdata(dtype=np.float32).reshape((*shape[:3], 1, 1)[:3])
    volume = nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels, affine))
    notices: tuple[str, ...] = ()
    if not (header["qform_code"] or header["sform_code"]):
        notices = ("It does not say how the patient lies, so left and right are a guess.",)
    spacing = _plausible(nibabel.affines.voxel_sizes(volume.affine))
    scan = Scan(volume.get_fdata(dtype=np.float32)[None], volume.affine, spacing, label, notices)
    flat = [axis for axis, side in enumerate(volume.shape) if side == 1]
    return scan if not flat else dataclasses.replace(take_slice(scan, flat[0], 0), name=label)


def _format_of(data: bytes) -> str | None:
    try:
        inner = _inflated(data, 540)
    except (OSError, EOFError, zlib.error):
        return None
    for kind, (signature, _) in FORMATS.items():
        if re.match(signature, inner if kind == "NIfTI" else data[:540], re.DOTALL):
            return kind
    return None


def _inflated(data: bytes, most: int) -> bytes:
    """The data, or what it inflates to if it is gzip: at most one byte more than `most`."""
    if data[:2] != b"\x1f\x8b":
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        return file.read(most + 1)


@contextlib.contextmanager
def _library(refusal: str) -> Iterator[None]:
    """Whatever a library raises on a broken file becomes `refusal`; its warnings and logs, which may quote patient fields, stay quiet."""
    # pydicom's modules have loggers of their own below "pydicom"; nibabel's one logger has a handler to stderr.
    quiet = (
        (logging.getLogger("pydicom"), "propagate", False),
        (logging.getLogger("nibabel.global"), "disabled", True),
    )
    before = [getattr(logger, switch) for logger, switch, _ in quiet]
    try:
        for logger, switch, value in quiet:
            setattr(logger, switch, value)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception:  # each of the libraries has its own dozen of types, and a damaged file reaches all of them
        raise InputError(refusal) from None
    finally:
        for (logger, switch, _), value in zip(quiet, before, strict=True):
            setattr(logger, switch, value)


def _check_size(label: str, shape: Sequence[int]) -> None:
    if min(shape) < 1 or max(shape) > MAX_SIDE or math.prod(shape) > MAX_VALUES:
        limit = f"at most {MAX_VALUES // 10**6} million values and {MAX_SIDE} on a side"
        raise InputError(f"{label} must have {limit}, but it declares {sides(shape[1:])}; crop or resample it.")


def _plausible(spacing: Iterable[float]) -> tuple[float, ...] | None:
    """The spacing as plain numbers, if all lie between a picometre and a kilometre."""
    values = tuple(float(value) for value in spacing)
    return values if values and all(1e-9 < value < 1e6 for value in values) else None


FORMATS = {
    "PNG": (rb"\x89PNG\r\n\x1a\n", _picture),
    "JPEG": (rb"\xff\xd8\xff", _picture),
    "DICOM": (rb".{128}DICM|[\x02\x08]\x00.\x00([A-Z]{2}|..\x00\x00)", _dicom),  # the second one: without the preamble
    "NIfTI": (rb".{344}n[i+]1\x00|.{4}n[i+]2\x00", _nifti),
}
"""How a file of each format begins, and its reader (data, label) -> Scan."""
