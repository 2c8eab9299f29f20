"""The header of a DICOM file: what is needed of it, and nothing of the patient."""

from __future__ import annotations

import functools
import io
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from hfcviz.limits import MAX_DEFLATED, MAX_ELEMENTS, check_size, inflated
from hfcviz.placement import plausible
from hfcviz.settings import InputError

TAGS = """
    SOPClassUID SOPInstanceUID Modality ImageType SeriesInstanceUID AcquisitionNumber AcquisitionTime ContentTime
    InstanceNumber StackID EchoTime EchoNumbers TemporalPositionIdentifier TemporalPositionIndex TriggerTime
    DiffusionBValue FrameTime FrameTimeVector CineRate ImagePositionPatient ImageOrientationPatient PixelSpacing
    ImagerPixelSpacing NominalScannedPixelSpacing SequenceOfUltrasoundRegions SharedFunctionalGroupsSequence
    PerFrameFunctionalGroupsSequence GridFrameOffsetVector DoseGridScaling SamplesPerPixel PhotometricInterpretation
    PlanarConfiguration NumberOfFrames Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation RescaleSlope
    RescaleIntercept RescaleType ModalityLUTSequence WindowCenter WindowWidth VOILUTFunction
    RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor
    RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData
    SegmentedRedPaletteColorLookupTableData SegmentedGreenPaletteColorLookupTableData
    SegmentedBluePaletteColorLookupTableData ExtendedOffsetTable ExtendedOffsetTableLengths FloatPixelData
    DoubleFloatPixelData PixelData
"""
"""All that is read of a header: no name, no date, no text."""
NEEDED = "SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated"
"""Without these, nothing is known of how pixels are stored (PS3.3 C.7.6.3.1)."""
DEFERRED = 2**15
"""Elements of so many bytes stay in their file until they are asked for: all headers of a folder are looked at first."""


@dataclass(frozen=True, eq=False)
class Groups:
    """What a frame's functional groups say (PS3.3 C.7.6.16), or the header itself: where it lies, its units, its window."""

    position: np.ndarray | None
    orientation: np.ndarray | None
    measures: Any
    units: Any
    window: Any


@dataclass(frozen=True, eq=False)
class File:
    """A parsed DICOM file that holds an image. groups: of its first frame; size: rows and columns; spacing: mm between them."""

    label: str
    header: Any
    frames: int
    size: tuple[int, int]
    groups: Groups
    spacing: tuple[float, ...] | None

    @property
    def position(self) -> np.ndarray | None:
        return self.groups.position

    @property
    def orientation(self) -> np.ndarray | None:
        return self.groups.orientation

    @property
    def grey(self) -> bool:
        return str(self.header.get("PhotometricInterpretation", "")).startswith("MONOCHROME")


def parse(stream: BinaryIO, label: str) -> File | None:
    """The header and the undecoded pixels; None if there are no pixels. Raises InputError for more than can be taken."""
    header = _header(stream, label)
    if not any(element in header for element in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        return None
    integers = " BitsStored PixelRepresentation" if "PixelData" in header else ""
    lacks = [name for name in (NEEDED + integers).split() if header.get(name) in (None, "")]
    if lacks:
        what = ", ".join(lacks[:3]) + (", ..." if len(lacks) > 3 else "")
        raise InputError(f"{label} must say how its pixels are stored, but its header lacks {what}; export it again.")
    rows, columns, colours = (int(header.get(key) or 0) for key in ("Rows", "Columns", "SamplesPerPixel"))
    frames = max(1, int(header.get("NumberOfFrames") or 1))
    check_size(label, (colours, frames, rows, columns) if frames > 1 else (colours, rows, columns))
    first = groups_of(header, 0)
    return File(label, header, frames, (rows, columns), first, _spacing(header, first))


def groups_of(header: Any, frame: int) -> Groups:
    """The functional groups of one frame; what neither it nor all frames share is taken from the top of the header."""
    per, shared = header.get("PerFrameFunctionalGroupsSequence"), header.get("SharedFunctionalGroupsSequence")
    places = [per[frame]] if per and frame < len(per) else []
    places += [shared[0]] if shared else []
    if not places:
        position = numbers(header, "ImagePositionPatient", 3)
        return Groups(position, _orientation(header), header, header, header)

    def macro(name: str) -> Any:
        found = next((place[name].value for place in places if place.get(name)), None)
        return found[0] if found else header

    position = numbers(macro("PlanePositionSequence"), "ImagePositionPatient", 3)
    orientation = _orientation(macro("PlaneOrientationSequence"))
    names = ("PixelMeasuresSequence", "PixelValueTransformationSequence", "FrameVOILUTSequence")
    return Groups(position, orientation, *map(macro, names))


def numbers(header: Any, key: str, count: int | None = None) -> np.ndarray | None:
    """Finite numbers of a header, `count` of them if given; None if they are missing or anything else."""
    value = header.get(key)
    if value is None:
        return None
    try:
        found = np.array([float(one) for one in value] if isinstance(value, Sequence) else [float(value)])
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.size and count in (None, found.size) and np.isfinite(found).all() else None


def _orientation(header: Any) -> np.ndarray | None:
    """Two perpendicular unit vectors, (2, 3): along a row and down a column. None for anything else."""
    found = numbers(header, "ImageOrientationPatient", 6)
    if found is None:
        return None
    cosines = found.reshape(2, 3)
    gram = cosines @ cosines.T
    return cosines if max(abs(gram[0, 0] - 1), abs(gram[1, 1] - 1), abs(gram[0, 1])) < 0.02 else None


def _spacing(header: Any, groups: Groups) -> tuple[float, ...] | None:
    """mm between rows and between columns; of an ultrasound image, its one region's, if that is in cm (PS3.3 C.8.5.5)."""
    found: Any
    for place, key in (
        (groups.measures, "PixelSpacing"),
        (header, "ImagerPixelSpacing"),
        (header, "NominalScannedPixelSpacing"),
    ):
        found = numbers(place, key, 2)
        if found is not None:
            return plausible(found)
    regions: Any = header.get("SequenceOfUltrasoundRegions") or ()
    if (
        len(regions) == 1
        and regions[0].get("PhysicalUnitsXDirection") == regions[0].get("PhysicalUnitsYDirection") == 3
    ):
        steps = [numbers(regions[0], key, 1) for key in ("PhysicalDeltaY", "PhysicalDeltaX")]
        found = [10 * abs(float(step[0])) for step in steps if step is not None]
        return plausible(found) if len(found) == 2 else None
    return None


def _header(stream: BinaryIO, label: str) -> Any:
    from pydicom import filereader, uid

    filereader.read_preamble(stream, True)
    count = itertools.count(1)

    def stop(tag: int, vr: str | None, length: int) -> bool:
        if next(count) > MAX_ELEMENTS:  # each costs more memory and time than its bytes
            raise InputError(f"{label} must have at most {MAX_ELEMENTS} elements, but it has more; export it again.")
        return False

    meta = filereader.read_dataset(
        stream, False, True, stop_when=lambda *element: stop(*element) or element[0] >> 16 != 2
    )
    syntax = meta.get("TransferSyntaxUID")
    if not syntax:
        stream.seek(0)
        header: Any = filereader.read_partial(stream, stop, force=True, specific_tags=_tags())
        implicit, little = header.original_encoding
        plain = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        header.file_meta.TransferSyntaxUID = plain if little else uid.ExplicitVRBigEndian
        return header
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        # pydicom would inflate without a limit.
        content = inflated(stream.read(), MAX_DEFLATED, kind="deflate")
        if len(content) > MAX_DEFLATED:
            raise InputError(
                f"{label} must inflate to at most {MAX_DEFLATED >> 20} MB, but its deflated data is longer; save it uncompressed."
            )
        stream = io.BytesIO(content)
    implicit, big = syntax == uid.ImplicitVRLittleEndian, syntax == uid.ExplicitVRBigEndian
    name = getattr(stream, "name", None)  # of a file on disk
    defer = DEFERRED if isinstance(name, str | os.PathLike) else None
    header = filereader.read_dataset(stream, implicit, not big, None, stop, defer, specific_tags=_tags())
    if defer:
        header.filename, header.fileobj_type, header.timestamp, header.buffer = str(name), open, None, None
    header.file_meta = meta
    return header


@functools.cache
def _tags() -> list[Any]:
    from pydicom.tag import Tag

    return [Tag(name) for name in TAGS.split()]
