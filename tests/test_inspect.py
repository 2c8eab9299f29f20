"""`python -m hfcviz inspect`: one answer a scan on stdout, one sentence a refusal on stderr."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import pytest
from nibabel.testing import data_path

from benchmarks.reading import write_series
from hfcviz.__main__ import main
from tests.samples import SERIES, VALID

ROOT = Path(__file__).resolve().parent.parent

KEYS = """
    file format kind shape channels spacing_mm orientation stored_orientation value_range unit window modality notices
"""


def inspect(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["inspect", *map(str, words)])
    return code, *capsys.readouterr()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("png8.png", "plain.dcm", "packed.nii.gz", "series.zip", "gzip.nrrd", "volume.npy"):
        (tmp_path / name).write_bytes(VALID[name])
    (tmp_path / "broken.png").write_bytes(VALID["png8.png"][:70])
    (tmp_path / "series").mkdir()
    for number, data in enumerate(SERIES):
        (tmp_path / "series" / f"{number}.dcm").write_bytes(data)
    return tmp_path


def test_json_says_what_the_app_sees(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("png8.png", "plain.dcm", "packed.nii.gz", "series", "series.zip", "gzip.nrrd", "volume.npy")
    code, out, err = inspect(capsys, *(folder / name for name in names), "--json")
    seen = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and not err and [one["file"] for one in seen] == list(names)
    assert all(list(one) == KEYS.split() for one in seen)
    formats = ["PNG", "DICOM", "NIfTI", "DICOM series", "DICOM series", "NRRD", "NumPy"]
    assert [one["format"] for one in seen] == formats
    assert [one["kind"] for one in seen] == ["image", "image", *["volume"] * 5]
    png, dicom, nifti, series, packed, nrrd, npy = seen
    assert png["shape"] == [16, 24] and png["window"] == [0, 255] and png["spacing_mm"] is None
    assert dicom["value_range"] == [-1000, 2 * 3830 - 1000] and dicom["window"] == [-160, 239]
    assert dicom["spacing_mm"] == [0.5, 0.7] and dicom["orientation"] is None and dicom["modality"] is None
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(VALID["packed.nii.gz"])).get_fdata()
    assert nifti["value_range"] == [image.min(), image.max()] and nifti["orientation"] == "RAS"
    assert series["shape"] == [12, 16, 9] and series["spacing_mm"] == pytest.approx([0.6, 0.8, 2.5])
    assert (series["unit"], series["modality"], series["stored_orientation"]) == ("HU", "CT", "LPS")
    assert {**packed, "file": "series"} == series
    assert nrrd["spacing_mm"] == [1, 2, 3] and nrrd["stored_orientation"] == "LPS"
    assert npy["orientation"] is None and npy["stored_orientation"] is None and len(npy["notices"]) == 1


def test_text_is_readable(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = inspect(capsys, folder / "series")
    assert code == 0 and not err
    for words in (
        "series\n",
        "DICOM series, CT",
        "12 x 16 x 9",
        "0.6 x 0.8 x 2.5 mm",
        "stored as LPS",
        "-160 to 239 HU",
    ):
        assert words in out


def test_refusals_are_lines_of_their_own_and_good_ones_are_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "empty").mkdir()
    paths = ["broken.png", "png8.png", "absent.nii", "pipe", "empty", "plain.dcm"]
    code, out, err = inspect(capsys, *(folder / name for name in paths), "--json")
    assert code == 2
    assert [json.loads(line)["file"] for line in out.splitlines()] == ["png8.png", "plain.dcm"]
    lines = err.splitlines()
    assert [line.split()[1] for line in lines] == ["broken.png", "absent.nii", "pipe", "empty"]
    assert all(line.startswith("hfcviz: ") and line.endswith(".") for line in lines)
    assert str(folder) not in out + err


def test_a_folder_shows_all_that_is_in_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = inspect(capsys, folder, "--json")
    assert code == 2 and len(err.splitlines()) == 2 and "broken.png" in err and "series.zip" in err
    assert len(out.splitlines()) == 6


def test_what_is_refused_is_said_in_its_place_and_the_rest_goes_on(tmp_path: Path) -> None:
    for name in ("a", "c"):
        (tmp_path / f"{name}.nii.gz").write_bytes(VALID["packed.nii.gz"])
    (tmp_path / "b.nii.gz").write_bytes(Path(data_path, "example4d.nii.gz").read_bytes())
    words = [sys.executable, "-m", "hfcviz", "inspect", str(tmp_path)]
    run = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, check=False)
    first = [line.split()[0] if ".nii.gz holds" not in line else line for line in run.stdout.splitlines()]
    named = [line for line in first if ".nii.gz" in line]
    assert run.returncode == 2 and named[0] == "a.nii.gz" and named[2] == "c.nii.gz" and len(named) == 3
    assert named[1] == "hfcviz: b.nii.gz holds 2 volumes, but one is read at a time; choose Volume (--volume) 0 to 1."


def test_one_volume_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(data_path, "example4d.nii.gz")
    code, out, err = inspect(capsys, path)
    assert code == 2 and not out and "--volume" in err
    code, out, _ = inspect(capsys, path, "--volume", 1, "--json")
    image = nibabel.load(path).slicer[..., 1].get_fdata()
    assert code == 0 and json.loads(out)["value_range"] == pytest.approx([image.min(), image.max()])


def test_the_process_itself_is_quiet_and_quick(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", 64, 300)
    start = time.perf_counter()
    command = [sys.executable, "-m", "hfcviz", "inspect", "ct", "absent"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert time.perf_counter() - start < 20  # about 1 s on an idle machine
    assert done.returncode == 2 and "64 x 64 x 300" in done.stdout
    assert done.stderr.splitlines() == [
        "hfcviz: absent cannot be opened; give a file or folder that exists and that you may read."
    ]


def test_it_asks_for_a_path(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = inspect(capsys)
    assert code == 2 and not out and "PATH" in err and len(err.splitlines()) == 1
