"""Time to read a CT series against plain pydicom: `python -m benchmarks.reading`.

Plain means: dcmread and pixel_array of each file, and np.stack. That is neither sorted, nor in Hounsfield units or RAS+ order; the
reader does all that. The series is made up, uncompressed, in a temporary folder, and read from the page cache. Both take turns, and
each turn gives one ratio, so that a busy machine disturbs both alike. Exit code 1 means that the median ratio is above its limit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom

from hfcviz.readers import read

LIMIT = 1.5


def main() -> int:
    """Measure, print a line, write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--side", type=int, default=512, help="rows and columns of a slice (default 512)")
    parser.add_argument("--slices", type=int, default=300, help="files of the series (default 300)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each variant (default 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hfcviz-") as folder:
        write_series(Path(folder), options.side, options.slices)
        seconds: dict[str, list[float]] = {"pydicom": [], "hfcviz": []}
        variants = {"pydicom": plain, "hfcviz": read}
        for variant in variants.values():
            variant(Path(folder))  # the first call imports
        for turn in range(options.repeats):
            for name in list(variants)[:: -1 if turn % 2 else 1]:
                start = time.perf_counter()
                variants[name](Path(folder))
                seconds[name].append(time.perf_counter() - start)
    ratios = [ours / theirs for ours, theirs in zip(seconds["hfcviz"], seconds["pydicom"], strict=True)]
    row = {
        "series": f"{options.side} x {options.side} x {options.slices}",
        "hfcviz_s": statistics.median(seconds["hfcviz"]),
        "pydicom_s": statistics.median(seconds["pydicom"]),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "limit": LIMIT,
        "met": statistics.median(ratios) <= LIMIT,
    }
    print(
        f"{'reading a series':<18} {row['series']}: {row['hfcviz_s']:.2f} s, pydicom {row['pydicom_s']:.2f} s, ratio {row['ratio']:.2f} "
        f"({row['least']:.2f}-{row['most']:.2f}), limit {LIMIT}  {'met' if row['met'] else 'MISSED'}"
    )
    if options.json:
        options.json.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
    return 0 if row["met"] else 1


def plain(folder: Path) -> np.ndarray:
    """The stored values as pydicom gives them, in the order of file names."""
    return np.stack([pydicom.dcmread(path).pixel_array for path in sorted(folder.iterdir())])


def write_series(folder: Path, side: int, slices: int) -> None:
    """An axial CT of noise, one uncompressed file a slice."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    series = pydicom.uid.generate_uid()
    for number in range(slices):
        header = pydicom.Dataset()
        header.SOPClassUID, header.SOPInstanceUID = pydicom.uid.CTImageStorage, pydicom.uid.generate_uid()
        header.SeriesInstanceUID, header.Modality, header.InstanceNumber = series, "CT", number + 1
        header.ImageOrientationPatient, header.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.7, 0.7]
        header.ImagePositionPatient = [-180, -180, 1.25 * number]
        header.Rows = header.Columns = side
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
        header.RescaleSlope, header.RescaleIntercept, header.WindowCenter, header.WindowWidth = 1, -1024, 40, 400
        header.PixelData = generator.integers(0, 4096, (side, side), dtype=np.uint16).tobytes()
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        header.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    raise SystemExit(main())
