"""How much a file may ask for, and how libraries are kept quiet and within it while they read.

What is declared is checked before memory is taken: sizes of files, shapes, inflated sizes, numbers of files.
"""

from __future__ import annotations

import bz2
import contextlib
import io
import logging
import math
import os
import re
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hfcviz.scans import sides
from hfcviz.settings import InputError

MAX_BYTES = 512 * 2**20
"""Largest file, and largest inflated content of a compressed one."""
MAX_TOTAL_BYTES = 2 * 2**30
"""Most bytes of all files of a folder or a zip."""
MAX_DEFLATED = 128 * 2**20
"""Largest inflated content of a deflated DICOM: a file is seldom more than a few frames."""
MAX_ELEMENTS = 20_000
"""Most elements of a DICOM header."""
MAX_VALUES = 2**27
"""Most values of a scan, pixels x channels: 512 x 512 x 512, or 512 MiB as float32."""
MAX_TOTAL_VALUES = 2**29
"""Most values of all scans that one folder or zip may give at a time."""
MAX_SIDE = 2**16
MAX_FILES = 20_000
"""Most files of a folder, members of a zip, or uploaded files."""
MAX_REFUSALS = 100
"""After so many refused files the others of a folder or zip are not tried."""
MAX_RATIO, RATIO_FROM = 200, 64 * 2**20
"""A member of a zip may inflate to this many times its size, or to RATIO_FROM bytes."""
DENSE, DENSE_FROM = 50, 2**27
"""What declares more bytes than DENSE_FROM and than DENSE times its packed size is measured before any of it is kept."""
MAX_SCANNED = 2**32
"""Most pixels x passes of a progressive JPEG: a small file may ask for thousands of passes."""
PIECE = 2**20

_quiet, _stderr = threading.Lock(), threading.Lock()
_readers = 0
_catcher: warnings.catch_warnings | None = None
_before: list[tuple[logging.Logger, str, Any]] = []


class ChooseVolume(InputError):
    """A file holds `count` volumes, and none was chosen."""

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count


def label_of(name: str, otherwise: str = "The file") -> str:
    """A file's name for people: its last part, printable, of at most 80 characters."""
    last = re.split(r"[\\/]", name)[-1]
    return "".join(c for c in last if c.isprintable())[-80:] or otherwise


@contextlib.contextmanager
def library(refusal: str) -> Iterator[None]:
    """Whatever a library raises on a broken file becomes `refusal`; its warnings and logs, which may quote patient fields, stay
    quiet. Readers in several threads may overlap: the last one restores both.
    """
    with _hushed(), np.errstate(all="ignore"):
        try:
            yield
        except InputError:
            raise
        except Exception:  # each of the libraries has its own dozen of types, and a damaged file reaches all of them
            raise InputError(refusal) from None


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    global _readers, _catcher
    with _quiet:
        _readers += 1
        if _readers == 1:
            _catcher = warnings.catch_warnings()
            _catcher.__enter__()
            warnings.simplefilter("ignore")
            # Modules of pydicom and PIL have loggers of their own below these; nibabel's one logger has a handler to stderr.
            switches: tuple[tuple[str, str, Any], ...] = (
                ("pydicom", "propagate", False),
                ("PIL", "propagate", False),
                ("PIL", "handlers", [logging.NullHandler()]),  # without any, stderr would be the last resort
                ("nibabel.global", "disabled", True),
            )
            for name, switch, value in switches:
                logger = logging.getLogger(name)
                _before.append((logger, switch, getattr(logger, switch)))
                setattr(logger, switch, value)
    try:
        yield
    finally:
        with _quiet:
            _readers -= 1
            if _readers == 0:
                assert _catcher is not None
                _catcher.__exit__(None, None, None)
                while _before:
                    logger, switch, value = _before.pop()
                    setattr(logger, switch, value)


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Nothing reaches the process's standard error: libtiff, in C, writes there about damaged files, and Pillow cannot stop it."""
    with _stderr:
        try:
            kept = os.dup(2)
        except OSError:  # there is none
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def check_size(label: str, shape: Sequence[int]) -> None:
    """InputError if (C, *spatial), as a header declares it, is more than can be shown, or nothing."""
    if min(shape) < 1:
        raise InputError(f"{label} must have pixels, but it declares {sides(shape[1:])} of them; export it again.")
    if max(shape) > MAX_SIDE or math.prod(shape) > MAX_VALUES:
        limit = f"at most {MAX_VALUES // 10**6} million values and {MAX_SIDE} on a side"
        raise InputError(f"{label} must have {limit}, but it declares {sides(shape[1:])}; crop or resample it.")


def check_bytes(label: str, size: int, most: int = MAX_BYTES) -> None:
    """InputError if a file, or what it declares to hold, is larger than `most` bytes."""
    if size > most:
        raise InputError(f"{label} must be at most {most >> 20} MB, but it is {size >> 20} MB; crop or resample it.")


def check_enough(label: str, found: int, declared: int) -> None:
    """InputError if fewer bytes of voxels are there than a header declares."""
    if found < declared:
        raise InputError(
            f"{label} must hold the {declared} bytes of voxels that it declares, but only {max(0, found)} are there: it is "
            "truncated; export or download it again."
        )


def pick(label: str, count: int, volume: int | None) -> int:
    """Which of `count` volumes of a file is read: the only one, or the chosen one; ChooseVolume where none is chosen, InputError
    for a wrong one.
    """
    if volume is None and count > 1:
        raise ChooseVolume(
            f"{label} holds {count} volumes, but one is read at a time; choose Volume (--volume) 0 to {count - 1}.",
            count,
        )
    if not 0 <= (volume or 0) < count:
        raise InputError(f"The volume of {label} must be between 0 and {count - 1}; got {volume}.")
    return volume or 0


def inflated(data: bytes, most: int, *, start: int = 0, kind: str = "gzip") -> bytes:
    """What data[start:] inflates to: at most one byte more than `most`, however long it goes on.

    kind: "gzip" (also of several members, RFC 1952), "zlib", "deflate" (raw, RFC 1951), "bzip2".
    """
    content = io.BytesIO()
    for piece in _pieces(data, most, start, kind):
        content.write(piece)
    return content.getvalue()  # shared, not copied


def check_inflated(label: str, data: bytes, most: int, *, start: int = 0, kind: str = "gzip") -> None:
    """InputError if densely packed data goes on beyond the `most` bytes that its header declares: found without keeping any."""
    if most <= max(DENSE_FROM, DENSE * len(data)):
        return
    said = int.from_bytes(data[-4:], "little") if kind == "gzip" else 0  # of the last member (RFC 1952 2.3.1)
    if said > most or sum(map(len, _pieces(data, most, start, kind))) > most:
        raise InputError(
            f"{label} must inflate to the {most >> 20} MB that its header declares, but more follows; export or download it again."
        )


def _pieces(data: bytes, most: int, start: int, kind: str) -> Iterator[bytes]:
    bits = {"gzip": 16 + zlib.MAX_WBITS, "zlib": zlib.MAX_WBITS, "deflate": -zlib.MAX_WBITS}
    done, view = 0, memoryview(data)[start:]
    while len(view) and done <= most:
        if kind == "gzip" and done and bytes(view[:2]) != b"\x1f\x8b":
            break  # zeros or a note behind the last member
        packer = bz2.BZ2Decompressor() if kind == "bzip2" else zlib.decompressobj(bits[kind])
        used = 0
        while not packer.eof and done <= most:
            rest = b"" if isinstance(packer, bz2.BZ2Decompressor) else packer.unconsumed_tail
            fresh = b"" if rest or used >= len(view) else bytes(view[used : used + PIECE])
            used += len(fresh)
            piece = packer.decompress(rest or fresh, min(PIECE * 16, most + 1 - done))
            if not (piece or fresh or rest):
                raise EOFError
            done += len(piece)
            yield piece
        if done > most:
            break
        view = view[used - len(packer.unused_data) :]
        if kind != "gzip":
            break
