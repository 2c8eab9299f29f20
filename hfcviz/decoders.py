"""The pixels of a DICOM as they are stored, one frame at a time, whatever they are packed with.

Which package decodes what is fixed here, so that a result does not hang on what else is installed: GDCM, which pydicom would
take first, ends the whole process on some damaged JPEGs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

PLUGIN = "hfcviz"
RLE = "1.2.840.10008.1.2.5"
DECODERS = {
    "1.2.840.10008.1.2.4.50": "pillow",  # baseline
    "1.2.840.10008.1.2.4.51": "imagecodecs",  # extended, 12 bits
    "1.2.840.10008.1.2.4.57": "imagecodecs",  # lossless
    "1.2.840.10008.1.2.4.70": "imagecodecs",  # lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg",  # high-throughput JPEG 2000
    "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
    RLE: "imagecodecs",
}
"""Transfer syntaxes (PS3.5 A.4) and who decodes them."""
_adding = threading.Lock()
DECODER_DEPENDENCIES = {uid: ("numpy", packager) for uid, packager in DECODERS.items()}
"""Asked for by pydicom of every plug-in, as is `is_available`."""


def is_available(uid: str) -> bool:
    return uid in DECODERS


def stored_frames(header: Any, frames: Sequence[int]) -> Iterator[np.ndarray]:
    """The chosen frames as they are stored, (rows, columns) or RGB (rows, columns, 3). Raises whatever the libraries raise."""
    from pydicom.pixels.decoders.base import get_decoder

    uid = header.file_meta.TransferSyntaxUID
    decoder = get_decoder(uid)
    with _adding:
        if uid in DECODERS and PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, ("hfcviz.decoders", "decode_frame"))
    plugin = PLUGIN if uid in DECODERS else ""
    if len(frames) == 1 and int(header.get("NumberOfFrames") or 1) == 1:
        yield decoder.as_array(header, index=0, decoding_plugin=plugin)[0]
        return
    for array, _ in decoder.iter_array(header, indices=list(frames), decoding_plugin=plugin):
        yield array


def decode_frame(src: bytes, runner: Any) -> Any:
    """A plug-in for pydicom: one frame, decoded by the package that JPEG names once its own size is that of the header."""
    from pydicom.pixels.decoders import pillow, pyjpegls, pylibjpeg

    uid = str(runner.transfer_syntax)
    if uid == RLE:
        return _runs(src, runner)
    if DECODERS[uid] == "pylibjpeg":
        from openjpeg.utils import get_parameters

        said = get_parameters(src)
        size = said["rows"], said["columns"], said["samples_per_pixel"]
    else:
        from pydicom.pixels.utils import _get_jpg_parameters

        said = _get_jpg_parameters(bytes(src))
        size = said["height"], said["width"], said["components"]
    if size != (runner.rows, runner.columns, runner.samples_per_pixel):
        raise ValueError  # a small codestream may declare gigabytes
    if DECODERS[uid] == "imagecodecs":
        return _jpeg(src, runner, int(said["precision"]))
    plugin = {"pillow": pillow, "pyjpegls": pyjpegls, "pylibjpeg": pylibjpeg}[DECODERS[uid]]
    return plugin._decode_frame(src, runner)


def _jpeg(src: bytes, runner: Any, precision: int) -> bytes:
    from imagecodecs import jpeg8_decode

    colours = runner.samples_per_pixel
    shape = (runner.rows, runner.columns, colours)[: 2 if colours == 1 else 3]
    out = np.empty(shape, np.uint8 if precision <= 8 else np.uint16)
    space = "GRAYSCALE" if colours == 1 else "YCBCR" if runner.photometric_interpretation.startswith("YBR") else "RGB"
    jpeg8_decode(src, colorspace=space, outcolorspace=space, out=out)  # pydicom itself makes RGB of YBR
    runner.set_option("bits_allocated", 8 * out.itemsize)
    runner.set_option("planar_configuration", 0)
    return out.tobytes()


def _runs(src: bytes, runner: Any) -> bytes:
    """Run lengths (PS3.5 G): one PackBits stream for each byte of each sample, the high byte first, none longer than the image."""
    from imagecodecs import packbits_decode
    from pydicom.pixels.decoders.rle import _rle_parse_header

    depth, pixels = runner.bits_allocated // 8, runner.rows * runner.columns
    starts = _rle_parse_header(bytes(src[:64]))
    if len(starts) != depth * runner.samples_per_pixel:
        raise ValueError
    planes = np.empty((runner.samples_per_pixel, depth, pixels), np.uint8)
    for plane, start, end in zip(planes.reshape(-1, pixels), starts, [*starts[1:], len(src)], strict=True):
        if len(packbits_decode(src[start:end], out=plane.data)) != pixels:
            raise ValueError
    runner.set_option("planar_configuration", 1)
    return planes[:, ::-1].transpose(0, 2, 1).tobytes()
