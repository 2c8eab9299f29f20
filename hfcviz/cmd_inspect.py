"""`python -m hfcviz inspect PATH`: what the app sees in files, folders and zips."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfcviz.scans import Scan


def declare(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        type=Path,
        help="file, folder or zip: PNG, JPEG, TIFF, DICOM, NIfTI, NRRD, MetaImage, NPY, NPZ",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object a line for each scan")
    command.add_argument("--volume", metavar="N", type=int, help="which volume of a file of several, counted from 0")


def perform(arguments: argparse.Namespace) -> int:
    """Print what each scan is, and in the place of each that is refused its sentence, on stderr; 2 if there was one, else 0."""
    from hfcviz import readers
    from hfcviz.scans import Scan

    refused = 0
    for path in arguments.paths:
        for found in readers.read_all(path, volume=arguments.volume):
            if isinstance(found, Scan):
                seen = described(found)
                print(json.dumps(seen, ensure_ascii=False) if arguments.json else block(seen), flush=True)
                continue
            print("hfcviz:", *str(found).split(), file=sys.stderr, flush=True)
            refused = 2
    return refused


def described(scan: Scan) -> dict[str, Any]:
    """What there is to say about a scan, as plain numbers and words; null where its file does not say."""
    low, high = float(scan.image.min()), float(scan.image.max())
    volume = scan.image.ndim == 4
    return {
        "file": scan.name,
        "format": scan.format,
        "kind": "volume" if volume else "image",
        "shape": [int(side) for side in scan.image.shape[1:]],
        "channels": len(scan.image),
        "spacing_mm": None if scan.spacing is None else [float(step) for step in scan.spacing],
        "orientation": "RAS" if volume and scan.affine is not None else None,
        "stored_orientation": scan.stored_orientation or None,
        "value_range": [low, high],
        "unit": scan.unit or None,
        "window": None if scan.window is None else [float(end) for end in scan.window],
        "modality": scan.modality or None,
        "notices": list(scan.notices),
    }


def block(seen: dict[str, Any]) -> str:
    """The same as lines of text."""

    def joined(numbers: list[float] | None, between: str) -> str:
        return "unknown" if numbers is None else between.join(f"{number:.6g}" for number in numbers)

    unit = f" {seen['unit']}" if seen["unit"] else ""
    lines = [
        seen["file"],
        f"  format       {seen['format']}{', ' + seen['modality'] if seen['modality'] else ''}",
        f"  kind         {seen['kind']}, {joined(seen['shape'], ' x ')}{', colour' if seen['channels'] > 1 else ''}",
        f"  spacing      {joined(seen['spacing_mm'], ' x ')}{' mm' if seen['spacing_mm'] else ''}",
        f"  orientation  {seen['orientation'] or 'as stored'}, stored as {seen['stored_orientation'] or 'unknown'}",
        f"  values       {joined(seen['value_range'], ' to ')}{unit}",
        f"  window       {joined(seen['window'], ' to ')}{unit if seen['window'] else ''}",
        *(f"  notice       {notice}" for notice in seen["notices"]),
    ]
    return "\n".join(lines)
