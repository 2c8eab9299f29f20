"""Damaged files of every format: a scan or our own error, in one sentence, quietly, in bounded time.

HFCVIZ_FUZZ=5000 tries so many a file in place of the few of a regular run.
"""

from __future__ import annotations

import itertools
import os
import time
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfcviz.readers import read_all
from hfcviz.resampling import prepare
from hfcviz.scans import Scan
from hfcviz.settings import InputError
from tests.samples import SERIES, VALID

MANY = int(os.environ.get("HFCVIZ_FUZZ", "0"))
SECONDS = 5
"""Longest time for one damaged file; each is smaller than a megabyte."""
quiet = settings(
    max_examples=MANY or 30, deadline=None, database=None, derandomize=not MANY, suppress_health_check=list(HealthCheck)
)


def accept(source: bytes | list[tuple[str, bytes]], name: str) -> int:
    """Read it, and how many scans came out; anything but scans and plain sentences fails."""
    good = 0
    start = time.process_time()
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        found = read_all(source, name)
    assert found and not leaked
    for one in found:
        if isinstance(one, Scan):
            good += 1
            assert one.image.dtype == np.float32 and np.isfinite(one.image).all()
            sentences = list(one.notices)
            try:
                x = prepare(one, (1, *itertools.repeat(8, one.image.ndim - 1)))
                assert 0 <= x.min() <= x.max() <= 1
            except InputError as error:
                sentences.append(str(error))
        else:
            assert type(one) is InputError
            sentences = [str(one)]
        for sentence in sentences:
            assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 400, sentence
            assert "Curie" not in sentence and "1867" not in sentence
    assert time.process_time() - start < SECONDS
    return good


@st.composite
def damage(draw: st.DrawFn, size: int) -> tuple[list[tuple[int, int]], int | None, tuple[int, bytes] | None]:
    """What happens to a file: bytes changed, most of them in the header, the end cut off, something put in between."""
    place = st.integers(0, min(400, size - 1)) | st.integers(0, size - 1)
    value = st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255)
    changes = draw(st.lists(st.tuples(place, value), max_size=6))
    cut = draw(st.none() | st.none() | st.integers(0, size))
    extra = draw(st.none() | st.tuples(place, st.binary(max_size=8)))
    return changes, cut, extra


def damaged(original: bytes, changes: list[tuple[int, int]], cut: int | None, extra: tuple[int, bytes] | None) -> bytes:
    data = bytearray(original)
    for position, value in changes:
        data[position] = value
    if extra:
        data[extra[0] : extra[0]] = extra[1]
    return bytes(data[:cut])


@pytest.mark.parametrize("name", VALID)
def test_damaged_bytes_give_scans_or_sentences(
    name: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    original = VALID[name]
    assert accept(original, name) == (2 if name == "mixed.zip" else 1)

    @quiet
    @given(damage(len(original)))
    def run(changes: tuple) -> None:
        accept(damaged(original, *changes), name)

    run()
    assert capfd.readouterr() == ("", "") and not caplog.records


def test_a_series_with_damaged_files_gives_scans_or_sentences(capfd: pytest.CaptureFixture[str]) -> None:
    size = min(len(data) for data in SERIES)

    @quiet
    @given(st.lists(st.tuples(st.integers(0, len(SERIES) - 1), damage(size)), min_size=1, max_size=4))
    def run(changes: list) -> None:
        files = list(SERIES)
        for place, one in changes:
            files[place] = damaged(SERIES[place], *one)
        accept([(f"{place}.dcm", data) for place, data in enumerate(files)], "series")

    run()
    assert capfd.readouterr() == ("", "")


HEADS = {
    "png": b"\x89PNG\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff",
    "tiff": b"II*\x00\x08\x00\x00\x00",
    "dicom": bytes(128) + b"DICM",
    "nifti": VALID["one.nii"][:348],
    "nrrd": b"NRRD0004\n",
    "metaimage": b"ObjectType = Image\n",
    "npy": b"\x93NUMPY\x01\x00",
    "zip": b"PK\x03\x04",
    "gzip": b"\x1f\x8b\x08\x00",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", HEADS)
def test_random_bytes_give_sentences(kind: str) -> None:
    @quiet
    @given(st.binary(max_size=600))
    def run(data: bytes) -> None:
        accept(HEADS[kind] + data, f"random.{kind}")

    run()


NUMBERS = st.sampled_from(["0", "-1", "1e400", "nan", "inf", "99999999999", "2147483648", "1", "3", "", "x", "0.5"])


@pytest.mark.parametrize("name", ["gzip.nrrd", "raw.nrrd", "text.nrrd", "plain.mha", "packed.mha"])
def test_headers_of_text_with_other_numbers(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    original = VALID[name]
    end = original.index(b"\n\n") if name.endswith("nrrd") else original.index(b"ElementDataFile")
    words = original[:end].decode("latin-1").split(" ")

    @quiet
    @given(st.lists(st.tuples(st.integers(1, len(words) - 1), NUMBERS), min_size=1, max_size=3))
    def run(changes: list[tuple[int, str]]) -> None:
        other = list(words)
        for place, word in changes:
            other[place] = word + "\n" + other[place].partition("\n")[2] if "\n" in other[place] else word
        accept(" ".join(other).encode("latin-1") + original[end:], name)

    run()
    assert capfd.readouterr() == ("", "")
