"""The files of a folder, a zip or an upload: counted and weighed before any is read, none is ever written to disk.

Names come from outside: they are labels, and are compared with each other, never opened. Only the folder's own listing is.
"""

from __future__ import annotations

import io
import os
import re
import stat
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from hfcviz.limits import MAX_FILES, MAX_RATIO, MAX_TOTAL_BYTES, RATIO_FROM, label_of
from hfcviz.settings import InputError

Beside = Callable[[str], bytes | None]
"""The content of a file of that plain name that lies or came beside a header, if there is one."""
HEADER = 2**20
"""Longest header of text."""


class Entry(NamedTuple):
    """A file: its label, the folder and name that a header beside it may call it by, its size, and what opens it."""

    label: str
    folder: str
    name: str
    size: int
    open: Callable[[], BinaryIO]


def of_upload(uploads: Sequence[tuple[str, bytes]], label: str) -> list[Entry]:
    """The entries of uploaded files (name, content)."""
    _check_count(label, len(uploads))
    _check_total(label, sum(len(data) for _, data in uploads))

    def entry(given: str, data: bytes) -> Entry:
        return Entry(label_of(given), "", label_of(given), len(data), lambda: io.BytesIO(data))

    return [entry(given, data) for given, data in uploads if not _hidden(re.split(r"[\\/]", given))]


def of_folder(folder: Path, label: str) -> list[Entry]:
    """The entries of a folder and of those below it, in the order of their paths; links to folders are not followed."""
    found: list[tuple[tuple[str, ...], Path, int]] = []
    total = 0
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not _hidden([one]))
        for name in files:
            path = Path(where, name)
            if _hidden([name]) or not path.is_file():  # a pipe or a device would never end
                continue
            size = path.stat().st_size
            found.append((path.relative_to(folder).parts, path, size))
            total += size
            _check_count(label, len(found))
            _check_total(label, total)

    return [
        Entry(
            label_of(path.name),
            "/".join(parts[:-1]),
            path.name,
            size,
            cast(Callable[[], BinaryIO], partial(open, path, "rb")),
        )
        for parts, path, size in sorted(found)
    ]


def of_zip(data: bytes, label: str) -> tuple[list[Entry], int]:
    """The entries of a zip in the order of their names, and how many were passed over as their names are unsafe or they are links.

    Raises InputError for an encrypted or nested one, an unusual compression, and more than the limits allow.
    """
    # Each member costs memory when the directory is read, and a small file may list a million.
    _check_count(label, data.count(b"PK\x01\x02"))
    archive = zipfile.ZipFile(io.BytesIO(data))
    members = sorted((one for one in archive.infolist() if not one.is_dir()), key=lambda one: one.filename)
    _check_total(label, sum(one.file_size for one in members))
    entries: list[Entry] = []
    unsafe = 0
    for member in members:
        own = label_of(member.filename)
        parts = re.split(r"[\\/]", member.orig_filename)
        if (
            ".." in parts
            or parts[0] == ""
            or "\\" in member.orig_filename
            or re.match(r"[A-Za-z]:", parts[0])
            or _link(member)
        ):
            unsafe += 1
            continue
        if _hidden(parts):
            continue
        if member.flag_bits & 1:
            raise InputError(
                f"{label} must be unpacked to be read, as {own} in it is encrypted; make a zip without a password."
            )
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(
                f"{label} must be an ordinary zip, but {own} in it is packed by a rare method; make the zip again."
            )
        if member.file_size > max(RATIO_FROM, MAX_RATIO * member.compress_size):
            raise InputError(
                f"{label} must not inflate beyond {MAX_RATIO} times its size, but {own} in it declares {member.file_size >> 20} MB "
                f"from {member.compress_size >> 10} kB; give the file itself."
            )
        entries.append(Entry(own, "/".join(parts[:-1]), parts[-1], member.file_size, partial(_opened, archive, member)))
    if unsafe and not entries:
        raise InputError(
            f"{label} must hold files below its own folder, but all {unsafe} have unsafe names or are links; make the zip again."
        )
    return entries, unsafe


def is_zip(data: bytes) -> bool:
    return data[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def is_npz(data: bytes) -> bool:
    """Whether all that a zip lists are .npy files."""
    if not is_zip(data) or data.count(b"PK\x01\x02") > MAX_FILES:
        return False
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    return bool(names) and all(name.endswith(".npy") for name in names)


def _opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    """A member in memory, no longer than it declares, whatever it inflates to."""
    with archive.open(member) as file:
        return io.BytesIO(file.read(member.file_size))  # to ask for more would inflate more


def _hidden(parts: Sequence[str]) -> bool:
    """Whether a file is what a Mac, Windows or an editor leaves beside others."""
    return any(part.startswith(".") or part in ("__MACOSX", "Thumbs.db", "desktop.ini") for part in parts)


def _link(member: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(member.external_attr >> 16)
    return kind not in (0, stat.S_IFREG)


def _check_count(label: str, count: int) -> None:
    if count > MAX_FILES:
        raise InputError(f"{label} must hold at most {MAX_FILES} files, but it holds more; give a part of it.")


def _check_total(label: str, total: int) -> None:
    if total > MAX_TOTAL_BYTES:
        raise InputError(
            f"{label} must hold at most {MAX_TOTAL_BYTES >> 20} MB, but its files add up to {total >> 20} MB or more; give a part of it."
        )


def beside_of(label: str, name: str, beside: Beside) -> bytes:
    """The content of the data file that a header names. Raises InputError for anything but the plain name of a file at hand."""
    name = name.strip()
    if not name or re.search(r"[\\/:%\s]|^\.+$|^LIST", name):
        raise InputError(
            f"{label} must name one data file that lies beside it, but names a path, a list or a pattern; save it as one file."
        )
    found = beside(name)
    if found is None:
        raise InputError(
            f"{label} holds only a header: give its data file, which it names, together with it, or the folder or zip of both."
        )
    return found
