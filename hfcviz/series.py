"""DICOM files that belong together: grouped into stacks, sorted by position, put into one volume."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from hfcviz.dicoms import decoded, described, fill_between, image_of, put_grey, volume_of
from hfcviz.headers import File
from hfcviz.limits import check_size, library
from hfcviz.placement import UPRIGHT, Line, as_placed, line_up, placed
from hfcviz.scans import Scan, checked
from hfcviz.settings import InputError, Progress, silent

APART = """
    AcquisitionNumber EchoNumbers EchoTime TemporalPositionIdentifier TemporalPositionIndex DiffusionBValue StackID
    ImageType TriggerTime AcquisitionTime ContentTime
"""
"""What may tell images at one place apart; the first that does is taken."""
SLICES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128")
"""Images that are slices of a body even where they do not say of which part: CT, MR and PET."""
IN_TURN = (
    "Its slices do not say how they lie: they stand in the order of their instance numbers, and spacing and orientation are "
    "unknown."
)


def grouped(files: Sequence[File]) -> list[list[File]]:
    """The files in stacks: same series, kind, size, direction and spacing of pixels. Whatever has several frames or colours is a
    group of its own, and so is what has no place, but for slices that are numbered. In the order of first appearance.
    """
    groups: list[list[File]] = []
    by_series: dict[tuple, list[list[File]]] = {}
    for file in files:
        header = file.header
        series = header.get("SeriesInstanceUID")
        alone = file.frames > 1 or not file.grey or not series
        if alone or not (_has_place(file) or (_number(file) is not None and header.get("SOPClassUID") in SLICES)):
            groups.append([file])
            continue
        localizer = "LOCALIZER" in (header.get("ImageType") or ())
        kind = header.get("SOPClassUID"), file.size, header.PhotometricInterpretation, localizer
        stacks = by_series.setdefault((series, *kind, _has_place(file)), [])
        found = next((stack for stack in stacks if not _has_place(file) or _parallel(stack[0], file)), None)
        if found is None:
            found = []
            stacks.append(found)
            groups.append(found)
        found.append(file)
    return [part for group in groups for part in ([group] if _has_place(group[0]) else _numbered(group))]


def scans_of(
    files: Sequence[File], label: str, *, volume: int | None = None, progress: Progress = silent
) -> list[Scan | InputError]:
    """What one group of `grouped` shows: a scan, or several where images share places; InputErrors for the files that are damaged.

    Stacks are float32 (1, x, y, z) in RAS+ order, CT in HU; one file alone keeps its own label.
    """
    if len(files) == 1:
        return [_one(files[0], volume)]
    notices: tuple[str, ...] = ()
    try:
        with library(_damaged(label)):
            instances = {
                file.header.get("SOPInstanceUID") or number: file for number, file in reversed([*enumerate(files)])
            }
            kept = {id(file) for file in instances.values()}
            different = [file for file in files if id(file) in kept]
            if len(different) < len(files):
                notices = (f"{len(files) - len(different)} of its files are there twice.",)
            turns, parts = [different], [(1, different)]
            if _has_place(files[0]):
                turns = _apart(different, label)
                parts = [(turn, run) for turn, stack in enumerate(turns, 1) for run in _runs(stack)]
    except InputError as error:
        return [error]
    found: list[Scan | InputError] = []
    for number, (turn, part) in enumerate(parts, 1):
        said, own = notices, label
        if len(parts) > 1:
            own = f"{label}, part {number}"
        if len(turns) > 1:
            said = (*said, f"Its series holds {len(turns)} images at every place; this is number {turn} of them.")
        if len(parts) > len(turns):
            said = (*said, "Its series is in pieces that lie far apart: they are scans of their own.")
        found += _stack(part, own, said, progress) if len(part) > 1 else [_one(part[0], volume)]
    return found


def _one(file: File, volume: int | None) -> Scan | InputError:
    try:
        with library(_damaged(file.label)):
            return checked(image_of(file) if file.frames == 1 else volume_of(file, volume))
    except InputError as error:
        return error


def _stack(files: Sequence[File], label: str, notices: tuple[str, ...], progress: Progress) -> list[Scan | InputError]:
    """The volume of files at different places, and an error for each whose pixels are damaged: it counts as missing."""
    first = files[0]
    errors: dict[int, InputError] = {}
    buffer = np.empty((0, 0, 0), np.float32)
    try:
        while True:
            good = [file for number, file in enumerate(files) if number not in errors]
            if len(good) < 2:
                return [*([_one(good[0], None)] if good else []), *errors.values()]
            line = _line(good, label)
            count = int(line.slots[-1]) + 1
            check_size(label, (1, count, *first.size))
            ordered = [good[place] for place in line.order]
            if len(buffer) != count:
                buffer = np.empty((count, *first.size), np.float32)
            turned = as_placed(buffer, line.affine)
            known, changed = len(errors), False
            for number, (slot, file) in enumerate(zip(line.slots, ordered, strict=True)):
                progress(number / len(ordered), f"slice {number} of {len(ordered)}")
                try:
                    with library(_damaged(file.label)):
                        (stored,) = decoded(file)
                        changed |= put_grey(file, stored, file.groups.units, turned[slot])
                except InputError as error:
                    errors[files.index(file)] = error
            if len(errors) == known:
                break
        fill_between(turned, line.slots)
        middle = ordered[len(ordered) // 2]
        if errors:
            notices = (*notices, f"{len(errors)} of its files could not be read.")
        scan = Scan(
            turned.transpose(2, 1, 0)[None], None, None, label, (*notices, *line.notices), format="DICOM series"
        )
        with library(_damaged(label)):
            scan = placed(scan, line.affine, known=_has_place(first))
            return [checked(described(middle, scan, middle.groups, changed)), *errors.values()]
    except InputError as error:
        return [error, *errors.values()]


def _line(files: list[File], label: str) -> Line:
    """The files of a stack in their order: by their places, or else by their numbers."""
    first = files[0]
    if first.position is None or first.orientation is None or first.spacing is None:
        order = np.argsort([_number(file) or 0 for file in files], kind="stable")
        return Line(order, np.arange(len(files)), UPRIGHT, (IN_TURN,))
    return line_up(label, np.array([file.position for file in files]), first.orientation, first.spacing)


def _damaged(label: str) -> str:
    return f"{label} cannot be read as DICOM: it is damaged or of an unusual kind; export or download it again."


def _has_place(file: File) -> bool:
    return file.position is not None and file.orientation is not None and file.spacing is not None


def _number(file: File) -> int | None:
    text = str(file.header.get("InstanceNumber"))
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else None


def _numbered(files: list[File]) -> list[list[File]]:
    """The files together if each image has a number of its own, else one by one."""
    images = {(str(file.header.get("SOPInstanceUID")), _number(file)) for file in files}
    together = len(images) == len({number for _, number in images})
    return [files] if together else [[file] for file in files]


def _parallel(one: File, other: File) -> bool:
    assert one.orientation is not None and other.orientation is not None
    assert one.spacing is not None and other.spacing is not None
    turned = abs(one.orientation - other.orientation).max() > 2e-3
    return not turned and all(
        math.isclose(*pair, rel_tol=1e-3) for pair in zip(one.spacing, other.spacing, strict=True)
    )


def _apart(files: Sequence[File], label: str) -> list[list[File]]:
    """The files in as many stacks as there are images at each place. Raises InputError where nothing tells them apart."""
    assert files[0].orientation is not None
    depth = np.array([file.position for file in files]) @ np.cross(*files[0].orientation)
    order = np.argsort(depth, kind="stable")
    between = np.diff(depth[order])
    level = np.empty(len(files), int)
    level[order] = np.concatenate([[0], np.cumsum(between > 1e-3)])
    most = int(np.bincount(level).max())
    if most == 1:
        return [list(files)]
    for name in APART.split():
        values = [str(file.header.get(name)) for file in files]
        distinct = list(dict.fromkeys(values))
        if len(distinct) == most and len({*zip(values, level.tolist(), strict=True)}) == len(files):
            return [[file for file, value in zip(files, values, strict=True) if value == one] for one in distinct]
    counts = Counter(level.tolist())
    numbers = [str(file.header.get("InstanceNumber")) for file in files]
    if len(set(counts.values())) == 1 and len(set(numbers)) == len(files) and all(map(str.isdecimal, numbers)):
        ranked = sorted(range(len(files)), key=lambda place: int(numbers[place]))
        parts: list[list[File]] = [[] for _ in range(most)]
        seen: Counter[int] = Counter()
        for place in ranked:
            parts[seen[level[place]]].append(files[place])
            seen[level[place]] += 1
        return parts
    twice = [file.label for file, own in zip(files, level.tolist(), strict=True) if counts[own] > 1]
    raise InputError(
        f"{label} must hold one image at each place, but {len(twice)} of its {len(files)} share one ({', '.join(twice[:2])}); "
        "keep one of them."
    )


def _runs(files: Sequence[File]) -> list[list[File]]:
    """The files as they are, or, if most slices between them are missing, in pieces of neighbours."""
    assert files[0].orientation is not None
    depth = np.array([file.position for file in files]) @ np.cross(*files[0].orientation)
    order = np.argsort(depth, kind="stable")
    between = np.diff(depth[order])
    if not len(between) or between.sum() / np.median(between) < 1.5 * len(files):
        return [list(files)]
    far = np.flatnonzero(between > 5 * np.median(between)) + 1
    return [[files[place] for place in sorted(run)] for run in np.split(order, far)]


def with_notice(scan: Scan, *notices: str) -> Scan:
    return dataclasses.replace(scan, notices=(*notices, *scan.notices))
