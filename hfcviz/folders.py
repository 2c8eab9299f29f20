"""Labelled images and volumes in files, in a folder, a zip or a table, brought to the arrays of the MedMNIST layout.

A folder or zip holds ROOT/{train,val,test}/CLASS/file (val may be missing); a table is a CSV with one row an image: its
file, its label and, if it wants, its part. What has no validation part, or no test part, gets one: see `split_off`.
PNG and JPEG keep their grey levels; of all other formats that `readers` knows, each file's own window becomes 0 to 255.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from hfcviz.formats import format_of
from hfcviz.readers import read
from hfcviz.resampling import prepare
from hfcviz.scans import Scan, sides
from hfcviz.settings import InputError, Progress, silent

PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".nii", ".nii.gz", ".nrrd", ".mha", ".npy")
MOST_BYTES = 4 * 2**30
"""Most bytes that all pictures may take in memory."""
SHARES = {"test": 0.25, "val": 0.15}
"""What is split off, of the training part, where a source has no such part."""


class Entry(NamedTuple):
    """One image: its part, its class's name, its name for people, and what reads its bytes."""

    part: str
    label: str
    name: str
    read: Callable[[], bytes]


def from_tree(path: Path, fit: Sequence[int] | None = None, progress: Progress = silent) -> dict[str, np.ndarray]:
    """The images of a folder or zip ROOT/{train,val,test}/CLASS/file, as {part}_images, _labels, _ids and class_names.

    fit: (C, *spatial) of a network, to which each is brought as it is read, so that they may differ in size; without it, they may not.
    """
    if path.is_dir():
        found = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*"))}
        entries = [_placed(path.name, name, file.read_bytes) for name, file in found.items() if _wanted(name)]
        return _arrays(path.name, entries, fit, progress)
    try:
        with zipfile.ZipFile(path) as archive:
            files_inside = sorted(filter(_wanted, archive.namelist()))

            def reader(name: str) -> Callable[[], bytes]:
                return lambda: archive.read(name)

            return _arrays(path.name, [_placed(path.name, name, reader(name)) for name in files_inside], fit, progress)
    except (OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(f"{path.name} cannot be read as a zip: {error}; copy or download it again.") from error


def from_table(path: Path, fit: Sequence[int] | None = None, progress: Progress = silent) -> dict[str, np.ndarray]:
    """The images that a CSV lists: first column file (its suffix may be missing), second label, and a column "split" or
    "part" if there is one. Files lie beside the CSV or in a folder `images` or `{name of the CSV}_images` there, as in
    APTOS 2019 (kaggle.com/c/aptos2019-blindness-detection). fit: as in `from_tree`.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read as a CSV: {error}; save it as comma-separated UTF-8.") from error
    if len(header) < 2 or not rows:
        raise InputError(f"{path.name} must have a header and rows of file and label; it has {len(rows)} such rows.")
    where = next((place for place, name in enumerate(header) if name.strip().lower() in ("split", "part")), None)
    places = [path.parent, path.parent / "images", path.parent / f"{path.stem}_images"]
    entries = []
    for number, row in enumerate(rows, 2):
        if len(row) < len(header):
            raise InputError(f"Row {number} of {path.name} must have {len(header)} columns; it has {len(row)}.")
        name, label = row[0].strip(), row[1].strip()
        if not name or not label:
            raise InputError(f"Row {number} of {path.name} must name a file and its label; got {name!r} and {label!r}.")
        candidates = [place / (name + suffix) for place in places for suffix in ("", *SUFFIXES)]
        found = next((file for file in candidates if file.is_file()), None)
        if found is None:
            raise InputError(f"Row {number} of {path.name} names {name}, which does not lie beside it or in images/.")
        given = row[where].strip().lower() if where is not None else "train"
        if given not in PARTS:
            raise InputError(f"Row {number} of {path.name} must name a part of {', '.join(PARTS)}; got {given!r}.")
        entries.append(Entry(PARTS[given], label, name, found.read_bytes))
    return _arrays(path.name, entries, fit, progress)


def _wanted(name: str) -> bool:
    """Whether a file is an image and not what a Mac or an editor leaves beside it."""
    parts = PurePosixPath(name).parts
    return name.lower().endswith(SUFFIXES) and not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _placed(source: str, name: str, read: Callable[[], bytes]) -> Entry:
    *_, part, label, file = ("", "", *PurePosixPath(name).parts)
    if part.lower() not in PARTS:
        raise InputError(f"{source} must hold {{train,val,test}}/CLASS/file; got {name}: arrange the images so.")
    return Entry(PARTS[part.lower()], label, f"{PARTS[part.lower()]}/{label}/{file}", read)


def _arrays(source: str, entries: list[Entry], fit: Sequence[int] | None, progress: Progress) -> dict[str, np.ndarray]:
    labels = sorted({entry.label for entry in entries}, key=lambda text: (not text.isdecimal(), len(text), text))
    if len(labels) < 2:
        raise InputError(f"{source} must hold images of two classes or more; got {len(labels)} ({', '.join(labels)}).")
    twice = [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]
    if twice:
        raise InputError(
            f"{source} must hold each image once, or it may train and judge; {twice[0]} is there twice: remove one of them."
        )
    parts = split_off(entries)
    pictures: dict[str, np.ndarray] = {}
    size: tuple[int, ...] | None = None
    for number, entry in enumerate(entries):
        progress(number / len(entries), f"image {number} of {len(entries)}")
        picture = _pixels(source, entry, fit)
        size = size or picture.shape[1:]
        if picture.shape[1:] != size:
            raise InputError(
                f"{source} must hold images of one size, but {entry.name} has {sides(picture.shape[1:])} and others "
                f"{sides(size)} (rows first): crop or resize them alike."
            )
        if picture.nbytes * len(entries) > MOST_BYTES:
            raise InputError(
                f"{source} would take more than {MOST_BYTES >> 30} GiB in memory: take fewer or smaller images."
            )
        pictures[entry.name] = picture
    if any(len(picture) == 3 for picture in pictures.values()):
        pictures = {name: np.broadcast_to(p, (3, *p.shape[1:])) for name, p in pictures.items()}
    found = {"class_names": np.array(labels)}
    for part in ("train", "val", "test"):
        chosen = [entry for entry, own in zip(entries, parts, strict=True) if own == part]
        if chosen:
            stacked = np.stack([pictures[entry.name] for entry in chosen])
            found[f"{part}_images"] = stacked[:, 0] if stacked.shape[1] == 1 else np.moveaxis(stacked, 1, -1)
            found[f"{part}_labels"] = np.array([labels.index(entry.label) for entry in chosen])
            found[f"{part}_ids"] = np.array([entry.name for entry in chosen])
    return found


def _pixels(source: str, entry: Entry, fit: Sequence[int] | None) -> np.ndarray:
    """uint8 (C, *spatial), C = 3 where the image has colour; `fit`, as the network with this input takes it."""
    data = entry.read()
    if format_of(data) not in ("PNG", "JPEG", None):
        scan = read(data, entry.name)
        return np.rint(prepare(scan, fit or scan.image.shape) * 255).astype(np.uint8)
    picture = _picture(source, entry.name, data)
    if fit is None or picture.shape == tuple(fit):
        return picture
    scan = Scan(picture.astype(np.float32), None, None, entry.name, (), (0.0, 255.0))
    return np.rint(prepare(scan, fit) * 255).astype(np.uint8)


def _picture(source: str, name: str, data: bytes) -> np.ndarray:
    """A PNG or JPEG; JPEG stores grey with channels that differ by a level or two."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode.startswith("I"):  # 16 bits
                return np.rint(np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8)[None]
            picture = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{name} of {source} cannot be read as an image: remove it or copy it again.") from error
    if picture.ndim == 3 and int(np.ptp(picture, axis=2).max()) <= 3:
        picture = picture[..., 1]
    return picture[None].copy() if picture.ndim == 2 else np.moveaxis(picture, -1, 0)


def split_off(entries: Iterable[Entry]) -> list[str]:
    """The part of every entry, where a missing test or validation part is taken from the training part.

    What a digest of the patient's name decides never changes with the order or number of files, and keeps a patient's
    images together.
    """
    listed = list(entries)
    parts = [entry.part for entry in listed]
    patients = patients_of([entry.name for entry in listed])
    for wanted, share in SHARES.items():
        if wanted not in parts:
            chance = [int(hashlib.sha256(f"{wanted} {who}".encode()).hexdigest()[:8], 16) / 2**32 for who in patients]
            parts = [
                wanted if part == "train" and luck < share else part for part, luck in zip(parts, chance, strict=True)
            ]
    return parts


def patients_of(names: Sequence[str]) -> list[str]:
    """Whose image each file is, as far as the names tell; where that would leave fewer than 20, each file counts as one.

    A patient is "person123" or "IM-0123" at the start of a file's name, as in Kermany et al. 2018, else what stands before
    the name's last number.
    """
    found = [patient(name) for name in names]
    return found if len(set(found)) >= 20 else list(names)


def patient(name: str) -> str:
    """The part of a file's name that tells the patient."""
    stem = PurePosixPath(name).stem
    found = re.match(r"person\d+|(?:NORMAL\d*-)?IM-\d+|.+(?=[-_ ]\d+$)", stem)
    return found[0] if found else stem
