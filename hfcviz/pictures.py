"""PNG, JPEG and TIFF, by Pillow, to arrays in the units of the file."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from hfcviz.limits import MAX_SCANNED, check_size, silent_stderr
from hfcviz.placement import UPRIGHT, placed
from hfcviz.scans import PNG_WINDOW, Scan, Window
from hfcviz.settings import InputError

TRANSPARENT = "Its transparent parts are taken as black."
REDUCED = "Its 16-bit colour or transparency was read with 8 bits."
UNKNOWN_PLACE = "It does not say how its slices lie: spacing and orientation are unknown."


def read_png(data: bytes, label: str) -> Scan:
    """A PNG of any depth and colour: 16-bit grey as it is, 16-bit colour with 8 bits (all that Pillow has)."""
    from PIL import PngImagePlugin

    # The plugins' own classes here and below, as Image.open judges sizes by a process-wide limit before ours is asked.
    picture: Any = PngImagePlugin.PngImageFile(io.BytesIO(data))
    check_size(label, (len(picture.getbands()), *picture.size[::-1]))
    if data[24:26] == b"\x10\x04":  # 16-bit grey with transparency, of which Pillow makes 8-bit colour
        return _grey_of_two(data, label)
    reduced = data[24] == 16 and not picture.mode.startswith("I")
    pixels, notices = _pixels(picture)
    window: Window | None = (0.0, 255.0)
    if picture.mode.startswith("I"):
        window = (0.0, 65535.0) if picture.info.get(PNG_WINDOW[0]) == PNG_WINDOW[1] else None
    if reduced:
        notices = (REDUCED, *notices)
    return Scan(pixels, None, None, label, notices, window)


def _grey_of_two(data: bytes, label: str) -> Scan:
    from imagecodecs import png_decode

    grey, alpha = np.moveaxis(png_decode(data), -1, 0).astype(np.float32)
    clear = alpha < 65535
    np.multiply(grey, alpha / np.float32(65535), out=grey, where=clear)
    return Scan(grey[None], None, None, label, (TRANSPARENT,) if clear.any() else ())


def read_jpeg(data: bytes, label: str) -> Scan:
    """A JPEG in grey, RGB or CMYK, turned the way its EXIF header says."""
    from PIL import JpegImagePlugin

    picture: Any = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    check_size(label, (len(picture.getbands()), *picture.size[::-1]))
    passes = data.count(b"\xff\xda")
    if passes * picture.width * picture.height > MAX_SCANNED:
        raise InputError(
            f"{label} must be drawn in few passes, but it has {passes}; save it as an ordinary (baseline) JPEG."
        )
    pixels, notices = _pixels(picture)
    return Scan(pixels, None, None, label, notices, (0.0, 255.0))


def read_tiff(data: bytes, label: str) -> Scan:
    """A TIFF of 8 or 16 bits or real numbers; pages of one size are the slices of a volume (C, x, y, page)."""
    from PIL import TiffImagePlugin

    picture: Any = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    pages = 0
    sizes = set()
    while True:
        sizes.add((len(picture.getbands()), *picture.size[::-1], picture.mode))
        pages += 1
        bands, height, width, mode = sizes.pop() if len(sizes) == 1 else (0, 0, 0, "")
        if not bands:
            raise InputError(
                f"{label} must hold one picture or pages of one size, but page {pages} differs; save the one that you need."
            )
        sizes.add((bands, height, width, mode))
        check_size(label, (bands, pages, height, width))
        try:
            picture.seek(pages)
        except EOFError:
            break
    found = []
    notices: tuple[str, ...] = ()
    for page in range(pages):
        picture.seek(page)
        white_is_zero = picture.tag_v2.get(262) == 0 and mode.startswith("I;16")  # of 8 bits, Pillow turns it round
        signed = mode == "L" and picture.tag_v2.get(339) in (2, (2,))
        deep = mode[:1] not in ("I", "F") and max(picture.tag_v2.get(258, (1,))) > 8
        with silent_stderr():
            image, said = _pixels(picture)
        if signed:
            image[image > 127] -= 256  # Pillow has no signed bytes
        if deep:
            said = (REDUCED, *said)
        if white_is_zero:
            image, said = 65535 - image, ("Its grey values were inverted, as its file stores white as 0.",)
        found.append(image)
        notices = tuple(dict.fromkeys((*notices, *said)))
    window = None if mode[:1] in ("I", "F") or signed else (0.0, 255.0)
    if pages == 1:
        return Scan(found[0], None, None, label, notices, window)
    volume = np.stack(found, axis=-1).swapaxes(1, 2)
    return placed(Scan(volume, None, None, label, (*notices, UNKNOWN_PLACE), window), UPRIGHT, known=False)


def _pixels(picture: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """A Pillow image as float32 (1 or 3, rows, columns), and what was done to it."""
    from PIL import Image, ImageOps

    notices: tuple[str, ...] = ()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode[:1] not in ("I", "F"):
        mode = "L" if picture.mode in ("1", "L", "LA", "La") else "RGB"
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            if picture.getextrema()[3][0] < 255:
                notices = (TRANSPARENT,)
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
        picture = picture.convert(mode)
    pixels = np.atleast_3d(np.asarray(picture, dtype=np.float32))
    return np.moveaxis(pixels, -1, 0), notices
