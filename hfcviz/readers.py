"""Read scans from files, folders, zips and uploads: what they contain decides their format, not their names.

What a file declares is checked before memory is taken for it, and whatever a library raises becomes one `InputError`.
Nothing of a DICOM header but pixels, grey scale, kind of image and place is kept.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from hfcviz import entries, headers, series
from hfcviz.entries import Beside, Entry
from hfcviz.formats import FORMATS, HEAD, beside_path, empty, format_of, kind_of, nothing, read_one
from hfcviz.limits import MAX_REFUSALS, MAX_TOTAL_VALUES, check_bytes, label_of, library, pick
from hfcviz.scans import Scan
from hfcviz.settings import InputError, Progress, silent

Uploads = Sequence[tuple[str, bytes]]
SINGLE = ("PNG", "JPEG", "TIFF", "DICOM series")
"""Formats that never hold several volumes."""


def read(source: Path | bytes, name: str | None = None, *, volume: int | None = None) -> Scan:
    """The one scan of a file, folder or zip, whatever it is called.

    source: a path, or the bytes themselves. name: a label for people, by default the path's last part; never used as a path.
    volume: which one of a file of several volumes, counted from 0. Raises InputError, in one sentence, for everything that
    cannot be used, and where the source holds several scans.
    """
    found = read_all(source, name, volume=volume)
    scans = [one for one in found if isinstance(one, Scan)]
    errors = [one for one in found if isinstance(one, InputError)]
    if not scans:
        raise errors[0]
    if len(scans) > 1:
        label = _label(source, name)
        raise InputError(
            f"{label} must hold one scan, but it holds {len(scans)} ({', '.join(scan.name for scan in scans[:3])}"
            f"{', ...' if len(scans) > 3 else ''}); give the file, or a folder or zip of the files, of one of them."
        )
    if volume is not None and scans[0].format in SINGLE:
        pick(scans[0].name, 1, volume)  # a choice without effect would be a guess
    if errors:
        return series.with_notice(scans[0], f"{len(errors)} more could not be read: {errors[0]}")
    return scans[0]


def read_all(
    source: Path | bytes | Uploads,
    name: str | None = None,
    *,
    volume: int | None = None,
    progress: Progress = silent,
) -> list[Scan | InputError]:
    """Every scan of a file, folder, zip or a number of uploaded files [(label, content)], in the order of their names.

    DICOM files are put together to series, the header of a MetaImage or NRRD with its data file; each other file stands for
    itself. What cannot be used has an InputError in its place, and never stops the others. Names are labels only.
    """
    label = _label(source, name)
    try:
        inside: list[Entry] | None = None
        data, said = b"", ""
        beside: Beside = nothing
        with library(f"{label} cannot be opened; give a file or folder that exists and that you may read."):
            if isinstance(source, bytes):
                check_bytes(label, len(source))
                data = source
            elif not isinstance(source, Path):
                inside = entries.of_upload(source, label)
            elif source.is_dir():
                inside = entries.of_folder(source, label)
            elif source.is_file():
                check_bytes(label, source.stat().st_size)
                data, beside = source.read_bytes(), beside_path(source.parent)
            else:  # a pipe would never end
                raise FileNotFoundError
        with library(f"{label} cannot be read as a zip: it is truncated or damaged; make or download it again."):
            if entries.is_zip(data) and not entries.is_npz(data):
                inside, unsafe = entries.of_zip(data, label)
                said = f"{unsafe} of its entries have unsafe names or are links; they were passed over." * bool(unsafe)
        if inside is not None:
            return _said(_many(inside, label, volume, progress), said)
        if not data:
            raise InputError(empty(label))
        return [read_one(data, label, volume, beside)]
    except InputError as error:
        return [error]


def _many(found: Sequence[Entry], source: str, volume: int | None, progress: Progress) -> list[Scan | InputError]:
    """All that the files of a folder, zip or upload show, in the order of their first files."""
    files: list[tuple[int, headers.File]] = []
    results: list[tuple[int, Scan | InputError]] = []
    passed: list[Entry] = []
    used: set[tuple[str, str]] = set()
    values = refused = 0
    for place, entry in enumerate(found):
        progress(place / len(found) / 2, f"file {place} of {len(found)}")
        if refused >= MAX_REFUSALS:
            results.append(
                (place, InputError(f"{source} has {refused} files that cannot be read; the others were not tried."))
            )
            break
        try:
            if values > MAX_TOTAL_VALUES:
                raise InputError(f"{entry.label} is too much beside the others; give it alone.")
            check_bytes(entry.label, entry.size)
            data = b""
            with library(
                f"{entry.label} cannot be read: it is damaged, or you may not read it; copy or export it again."
            ):
                with entry.open() as stream:
                    head = stream.read(HEAD)
                    kind = kind_of(entry, head)
                    if kind and not head:
                        raise InputError(empty(entry.label))
                    stream.seek(0)
                    if kind == "DICOM" and format_of(head):
                        file = headers.parse(stream, entry.label)
                        if file is not None:
                            files.append((place, file))
                            continue
                    elif kind is not None:
                        data = stream.read()
                if kind == "NumPy" and not entries.is_npz(data) and entries.is_zip(data):
                    # Documents and programs are zips too.
                    if entry.label.lower().endswith((".zip", ".npz")):
                        raise InputError(f"{entry.label} must not be a zip within {source}; unpack it first.")
                    data = b""
            if not data:
                passed.append(entry)
                continue
            scan = read_one(data, entry.label, volume, _beside_entries(found, entry.folder, used))
            values += scan.image.size
            results.append((place, scan))
        except InputError as error:
            refused += 1
            results.append((place, error))
    results += _series(files, source, values, volume, progress)
    passed = [entry for entry in passed if (entry.folder, entry.name) not in used]
    ordered = [one for _, one in sorted(results, key=lambda pair: pair[0])]
    if not ordered:
        what = _files(len(passed), "other ") if passed else "no files at all"
        *some, last = FORMATS
        raise InputError(
            f"{source} must hold {', '.join(some)} or {last} files, but it holds {what}; choose another folder or zip."
        )
    if not passed:
        return ordered
    names = ", ".join(entry.label for entry in passed[:3]) + (", ..." if len(passed) > 3 else "")
    return _said(
        ordered,
        f"{_files(len(passed))} beside it without images passed over: {names}.",
    )


def _files(count: int, which: str = "") -> str:
    return f"{count} {which}{'file' if count == 1 else 'files'}"


def _series(
    files: list[tuple[int, headers.File]], source: str, values: int, volume: int | None, progress: Progress
) -> list[tuple[int, Scan | InputError]]:
    place_of = {id(file): place for place, file in files}
    try:
        with library(f"{source} cannot be read as DICOM series: its headers are damaged; export or download it again."):
            stacks = series.grouped([file for _, file in files])
            names = [file.header.get("SeriesInstanceUID") for stack in stacks for file in stack[:1]]
    except InputError as error:
        return [(files[0][0], error)]
    several = len(stacks) > 1
    results: list[tuple[int, Scan | InputError]] = []
    total, done = max(1, len(files)), 0
    files.clear()
    for number in range(len(stacks)):
        stack = stacks[number]
        stacks[number] = []  # the pixels as stored are not needed twice
        start, share = 0.5 + done / total / 2, len(stack) / total / 2
        done += len(stack)
        label = f"{source}, series {number + 1}" if several else source
        size = sum(math.prod(file.size) * file.frames * (1 if file.grey else 3) for file in stack)
        if values + size > MAX_TOTAL_VALUES:
            what = label if len(stack) > 1 else stack[0].label
            results.append(
                (place_of[id(stack[0])], InputError(f"{what} is too much beside the others; give its files alone."))
            )
            continue
        made = series.scans_of(stack, label, volume=volume, progress=_part_of(progress, start, share))
        if names[number] and names.count(names[number]) > 1:
            made = [
                series.with_notice(
                    one,
                    "Its series holds images of another size, direction or kind, or without a place, too: they are scans of "
                    "their own.",
                )
                if isinstance(one, Scan)
                else one
                for one in made
            ]
        values += sum(one.image.size for one in made if isinstance(one, Scan))
        results += [(place_of[id(stack[0])], one) for one in made]
    return results


def _part_of(progress: Progress, start: float, share: float) -> Progress:
    return lambda part, what: progress(start + share * part, what)


def _said(found: list[Scan | InputError], notice: str) -> list[Scan | InputError]:
    """The results, with a notice on the first scan."""
    first = next((place for place, one in enumerate(found) if isinstance(one, Scan)), None)
    if notice and first is not None:
        scan = found[first]
        assert isinstance(scan, Scan)
        found[first] = dataclasses.replace(scan, notices=(*scan.notices, notice))
    return found


def _label(source: Path | bytes | Uploads, name: str | None) -> str:
    if name is None and isinstance(source, Path):
        name = source.name or source.absolute().name
    if name is None and not isinstance(source, bytes | Path) and source:
        first = label_of(source[0][0])
        return first if len(source) == 1 else f"{first} and {len(source) - 1} more"
    return label_of(name or "")


def _beside_entries(found: Sequence[Entry], folder: str, used: set[tuple[str, str]]) -> Beside:
    def load(name: str) -> bytes | None:
        entry = next((one for one in found if (one.folder, one.name) == (folder, name)), None)
        if entry is None:
            return None
        used.add((folder, name))
        check_bytes(entry.label, entry.size)
        with entry.open() as stream:
            return stream.read()

    return load
