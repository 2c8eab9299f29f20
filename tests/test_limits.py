"""What asks for too much is refused before memory is taken; archives never reach beyond themselves."""

from __future__ import annotations

import functools
import gzip
import io
import logging
import os
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames

from hfcviz import limits
from hfcviz.limits import inflated
from hfcviz.readers import SINGLE, read, read_all
from hfcviz.scans import Scan
from hfcviz.settings import InputError
from tests.samples import COLOUR, RAMP, SERIES, STORED, VALID, dicom, encode, nrrd_file, packaged, saved, volume, zipped

ROOT = Path(__file__).resolve().parent.parent


def refusal(data: bytes | Path, name: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read(data, name)
    assert str(caught.value).endswith(".") and len(str(caught.value)) < 300
    return str(caught.value)


def zeros(size: int) -> bytes:
    """A raw deflate stream of so many zeros: after a full flush, a piece may be repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * (size >> 20) + packer.flush()


def gzipped(head: bytes, more: int) -> bytes:
    return (
        gzip.compress(head) + b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + zeros(more) + struct.pack("<II", 0, more & 0xFFFFFFFF)
    )


def declaring(*shape: int, dtype: type = np.uint8) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["vox_offset"] = 352
    return header.binaryblock + bytes(4)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + body
        + struct.pack(">I", zlib.crc32(body))
        + VALID["png8.png"][33:]
    )


def packed_zeros(size: int, declared: int) -> bytes:
    """A zip of one file of so many zeros, that declares another size."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.nii", "w") as file:
        for _ in range(size >> 20):
            file.write(bytes(2**20))
    data = bytearray(stream.getvalue())
    place = data.rindex(b"PK\x01\x02") + 24
    assert data[place : place + 4] == struct.pack("<I", size)
    data[place : place + 4] = struct.pack("<I", declared)
    return bytes(data)


def encapsulated(frame: bytes, syntax: str, **elements: object) -> bytes:
    data = dicom(STORED, **elements)
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    stream = io.BytesIO()
    ds.save_as(stream)
    return stream.getvalue()


def frame_of(name: str) -> tuple[bytes, str]:
    ds = pydicom.dcmread(io.BytesIO(packaged(name)))
    return next(generate_frames(ds.PixelData, number_of_frames=1)), ds.file_meta.TransferSyntaxUID


@functools.cache
def bombs() -> dict[str, tuple[bytes, str]]:
    """{name: (bytes, words of the limit they exceed)}"""
    deflated, plain = VALID["deflated.dcm"], VALID["plain.dcm"]
    start = 132 + 12 + pydicom.dcmread(io.BytesIO(deflated)).file_meta.FileMetaInformationGroupLength
    sides = struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 16), struct.pack("<HH2sHH", 0x28, 0x11, b"US", 2, 24)
    rows = plain.replace(sides[0], sides[0][:-2] + b"\xff\xff").replace(sides[1], sides[1][:-2] + b"\xff\xff")
    jpeg, picture = VALID["grey.jpg"], VALID["png8.png"]
    size = jpeg.index(b"\xff\xc0") + 5
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "<f8", "fortran_order": False, "shape": (4000, 4000, 4000)})
    lossless, syntax = frame_of("MR_small_jp2klossless.dcm")
    nrrd = nrrd_file(np.zeros((9, 9, 9), np.uint8))
    nrrd_start = nrrd.index(b"\n\n") + 2
    meta = b"ObjectType = Image\nNDims = 3\nDimSize = 9 9 9\nElementType = MET_UCHAR\nCompressedData = True\n"
    return {
        "zeros.gz": (gzipped(b"", 2**30), "PNG, JPEG"),
        "honest.nii.gz": (gzipped(declaring(2000, 2000, 500), 2**31), "2000 x 2000 x 500"),
        "lying.nii.gz": (gzipped(declaring(20, 20, 20), 2**31), "more than 1 MB follows"),
        "dense.nii.gz": (gzipped(declaring(500, 500, 500, dtype=np.float32), 2**31), "477 MB that its header declares"),
        "doubles.nii.gz": (gzipped(declaring(512, 512, 500, dtype=np.float64), 2**30), "1000 MB"),
        "pixels.png": (png_header(20000, 20000), "20000 x 20000"),
        "thin.png": (png_header(8, 10_000_000), "10000000 x 8"),
        "pixels.jpg": (jpeg[:size] + b"\xff\x00\xff\x00" + jpeg[size + 4 :], "65280 x 65280"),
        "passes.jpg": (VALID["progressive.jpg"] + b"\xff\xda" * 2**20 * 12, "passes"),
        "deflated.dcm": (deflated[:start] + zeros(2**30), "inflate"),
        "rows.dcm": (rows, "65535 x 65535"),
        "codestream.dcm": (encapsulated(_wide_codestream(lossless), syntax), "decoded"),
        "elements.dcm": (deflated[:start] + zeros(100 * 2**20), "elements"),
        "nothing.dcm": (VALID["plain.dcm"][132:] + bytes(20 * 2**20), "elements"),
        "runs.dcm": (
            encapsulated(struct.pack("<16L", 2, 64, 2**20, *[0] * 13) + b"\x81\0" * 2**20, "1.2.840.10008.1.2.5"),
            "decoded",
        ),
        "shape.npy": (array.getvalue() + bytes(64), "4000 x 4000 x 4000"),
        "nrrd.nrrd": (nrrd.replace(b"9 9 9", b"4000 4000 4000"), "4000 x 4000 x 4000"),
        "lying.nrrd": (nrrd[:nrrd_start] + gzipped(b"", 2**31), "every value is 0"),
        "dense.nrrd": (
            nrrd[:nrrd_start].replace(b"9 9 9", b"500 500 500").replace(b"uint8", b"float") + gzipped(b"", 2**31),
            "477 MB that its header declares",
        ),
        "lying.mha": (meta + b"ElementDataFile = LOCAL\n" + b"\x78\x9c" + zeros(2**30), "every value is 0"),
        "dense.mha": (
            meta.replace(b"9 9 9", b"500 500 536") + b"ElementDataFile = LOCAL\n" + b"\x78\x9c" + zeros(2**30),
            "128 MB that its header declares",
        ),
        "shape.mha": (meta.replace(b"9 9 9", b"4000 4000 4000") + b"ElementDataFile = LOCAL\n", "4000 x 4000 x 4000"),
        "ratio.zip": (packed_zeros(2**24, 2**30), "200 times"),
        "many.zip": (zipped({"a.png": picture}) + b"PK\x01\x02" * 20001, "20000 files"),
        "inside.npz": (packed_zeros(2**24, 2**30).replace(b"a.nii", b"a.npy"), "512 MB"),
    }


def _wide_codestream(frame: bytes) -> bytes:
    """The JPEG 2000 image, its reference grid and tile 60000 x 60000 in place of 64 x 64."""
    start = frame.index(b"\xff\x51") + 6
    return frame[:start] + struct.pack(">LL", 60000, 60000) + frame[start + 8 :]


def test_bombs_are_refused_quickly_and_in_little_memory() -> None:
    for name, (data, words) in bombs().items():
        assert len(data) < 30 * 2**20
        tracemalloc.start()
        began = time.process_time()
        text = refusal(data, name)
        seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert words in text, (name, text)
        assert seconds < 2 and peak < 400 * 2**20, (name, seconds, peak >> 20)


def test_a_process_that_reads_all_bombs_stays_small(tmp_path: Path) -> None:
    for name, (data, _) in bombs().items():
        (tmp_path / name).write_bytes(data)
    status = Path("/proc/self/status")  # what getrusage says of a child includes its parent
    if not status.exists():
        pytest.skip("only Linux says how much memory a process took at most")
    code = (
        "import sys; from pathlib import Path; from hfcviz.readers import read_all; "
        "found = [read_all(path) for path in sorted(Path(sys.argv[1]).iterdir())]; "
        "print(len(found), Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    count, kilobytes = map(int, done.stdout.split())
    assert count == len(bombs()) and kilobytes < 500 * 2**10 and not done.stderr


def test_inflating_stops_one_byte_beyond_the_limit() -> None:
    content = np.random.default_rng(0).bytes(3 * 2**20)
    assert inflated(gzip.compress(content), 2**30) == content
    assert inflated(gzip.compress(content[:9]) + gzip.compress(content[9:]) + bytes(7), 2**30) == content
    assert len(inflated(gzipped(b"abc", 2**28), 1000)) == 1001
    assert inflated(b"x" + zlib.compress(content), 2**30, start=1, kind="zlib") == content
    for broken in (gzip.compress(content)[:-9], b"\x1f\x8b\x08\0"):
        with pytest.raises((EOFError, zlib.error)):
            inflated(broken, 2**30)


def test_run_lengths_that_end_too_early_are_refused() -> None:
    ds = pydicom.dcmread(io.BytesIO(packaged("MR_small_RLE.dcm")))
    frame = bytearray(next(generate_frames(ds.PixelData, number_of_frames=1)))
    second = struct.unpack("<L", frame[8:12])[0]
    frame[second - 300 : second] = b"\x80" * 300  # "no operation" (PS3.5 G.3.2)
    ds.PixelData = encapsulate([bytes(frame)])
    stream = io.BytesIO()
    ds.save_as(stream)
    assert "decoded" in refusal(stream.getvalue(), "a.dcm")


def test_a_frame_of_another_size_than_its_header_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    monkeypatch.setattr("pydicom.pixels.decoders.pillow._decode_frame", lambda *_: decoded.append(1))
    monkeypatch.setattr("imagecodecs.jpeg8_decode", lambda *_, **__: decoded.append(1))
    frame = encode(Image.fromarray(np.zeros((500, 500), np.uint8)), "JPEG")
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    for syntax in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"):
        assert "decoded" in refusal(encapsulated(frame, syntax, **eight), "a.dcm")
        assert not decoded
        read_all(encapsulated(frame, syntax, **eight, Rows=500, Columns=500), "a.dcm")
        assert decoded.pop()


# ---- zips


@pytest.mark.parametrize(
    "name", ["../../escape.png", "/tmp/escape.png", "..\\escape.png", "C:/escape.png", "a/../../b.png"]
)
def test_entries_with_unsafe_names_are_passed_over(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = {"a/ramp.png": VALID["png8.png"]}
    (scan,) = read_all(zipped({name: VALID["rgba.png"], **good}), "a.zip")
    assert isinstance(scan, Scan) and scan.name == "ramp.png" and "1 of its entries" in scan.notices[-1]
    assert "unsafe" in refusal(zipped({name: VALID["rgba.png"]}), "a.zip")
    assert not list(tmp_path.rglob("*")) and not Path("/tmp/escape.png").exists()


def test_links_encrypted_and_nested_entries() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert "links" in refusal(stream.getvalue(), "a.zip")
    plain = bytearray(zipped({"a.png": VALID["png8.png"]}))
    plain[6] |= 1
    plain[plain.index(b"PK\x01\x02") + 8] |= 1
    assert "password" in refusal(bytes(plain), "a.zip")
    assert "unpack" in refusal(zipped({"b.zip": zipped({"a.png": VALID["png8.png"]})}), "a.zip")
    assert "rare method" in refusal(zipped({"a.png": VALID["png8.png"]}, zipfile.ZIP_LZMA), "a.zip")
    assert "no files" in refusal(zipped({}), "a.zip")
    assert "truncated" in refusal(zipped({"a.png": VALID["png8.png"]})[:-30], "a.zip")


def test_a_zip_that_lies_about_sizes_inflates_no_further() -> None:
    data = packed_zeros(2**27, 4000)
    tracemalloc.start()
    refusal(data, "a.zip")
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


def test_one_bad_entry_never_stops_the_good_ones(tmp_path: Path) -> None:
    files = {"a.png": VALID["png8.png"], "b.png": VALID["png8.png"][:70], "c.nii": VALID["one.nii"], "d.txt": b"d"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for found in (read_all(tmp_path), read_all(zipped(files), "a.zip"), read_all(list(files.items()))):
        assert [type(one) for one in found] == [Scan, InputError, Scan]
        assert "b.png" in str(found[1]) and "d.txt" in found[0].notices[-1]
    (tmp_path / "c.nii").unlink()
    assert "b.png" in read(tmp_path).notices[0]


def test_an_empty_file_or_one_that_only_its_name_calls_dicom_is_refused_beside_others() -> None:
    files = {"a.png": VALID["png8.png"], "b.dcm": b"", "c.dcm": b"no DICOM at all", "plan.dcm": packaged("rtplan.dcm")}
    scan, empty, other = read_all(list(files.items()))
    assert "b.dcm" in str(empty) and "0 bytes" in str(empty) and "c.dcm must hold" in str(other)
    assert "plan.dcm" in scan.notices[-1]


# ---- folders


def test_folders_that_hold_nothing_or_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no files" in refusal(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    assert "1 other" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    assert "1 other" in refusal(tmp_path)
    assert "cannot be opened" in refusal(tmp_path / "pipe.png") and "cannot be opened" in refusal(Path("/dev/zero"))
    (tmp_path / "round").symlink_to(tmp_path, target_is_directory=True)
    assert "1 other" in refusal(tmp_path)
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(b"no png")
    monkeypatch.setattr("hfcviz.readers.MAX_REFUSALS", 3)
    found = read_all(tmp_path)
    assert len(found) == 4 and "not tried" in str(found[-1])
    monkeypatch.setattr("hfcviz.entries.MAX_FILES", 5)
    assert "at most 5 files" in refusal(tmp_path)
    monkeypatch.setattr("hfcviz.entries.MAX_TOTAL_BYTES", 30)
    monkeypatch.setattr("hfcviz.entries.MAX_FILES", 50)
    assert "add up" in refusal(tmp_path)


def test_scans_beyond_what_memory_holds_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hfcviz.readers.MAX_TOTAL_VALUES", 1000)
    found = read_all(
        [("a.png", VALID["rgba.png"]), ("b.png", VALID["png8.png"]), *((f"{n}", one) for n, one in enumerate(SERIES))]
    )
    assert [type(one) for one in found[:2]] == [Scan, InputError] and "b.png" in str(found[1])
    assert all("too much" in str(one) for one in found[1:])
    (series,) = read_all([(f"{n}", one) for n, one in enumerate(SERIES)], "ct")
    assert "ct is too much" in str(series)


# ---- quiet


def test_logs_and_standard_error_are_as_before_when_readers_overlap(capfd: pytest.CaptureFixture[str]) -> None:
    loggers = [logging.getLogger(name) for name in ("pydicom", "nibabel.global", "PIL")]
    before = [(one.propagate, one.disabled, list(one.handlers)) for one in loggers]
    kinds = ["deflated.tif", "plain.dcm", "one.nii", "series.zip"]

    def work() -> None:
        for kind in kinds * 5:
            read_all(VALID[kind][:-50], kind)

    filters = list(warnings.filters)
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(one.propagate, one.disabled, list(one.handlers)) for one in loggers] == before
    assert limits._readers == 0 and list(warnings.filters) == filters
    os.write(2, b"heard")
    assert capfd.readouterr().err.endswith("heard")


def test_what_pillow_says_of_a_tiff_stays_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    plain = VALID["jpeg.tif"]
    samples = np.array([277, 3], "<u2").tobytes() + np.array([1, 3], "<u4").tobytes()
    assert plain.count(samples) == 1
    assert "TIFF" in refusal(plain.replace(samples, samples[:8] + np.array([2048], "<u4").tobytes()), "a.tif")
    assert capfd.readouterr() == ("", "")


def test_limits_hold_at_their_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_VALUES", RAMP.size)
    assert read(encode(Image.fromarray(RAMP))).image.shape == (1, *RAMP.shape)
    assert "declares" in refusal(encode(Image.fromarray(COLOUR)))
    assert "declares" in refusal(saved(volume(17, 24)))


@pytest.mark.parametrize("name", ["png8.png", "grey.jpg", "series.zip"])
def test_a_volume_of_what_never_holds_several_is_refused(name: str) -> None:
    assert read(VALID[name], volume=0).format in SINGLE
    with pytest.raises(InputError, match="must be between 0 and 0; got 3"):
        read(VALID[name], volume=3)


def test_a_volume_chosen_for_one_of_several_files_does_not_refuse_the_others() -> None:
    several = nibabel.Nifti1Image(np.stack([volume(9, 10, 11)] * 4, -1), np.eye(4)).to_bytes()
    found = read_all([("png8.png", VALID["png8.png"]), ("several.nii", several)], volume=3)
    assert not [one for one in found if isinstance(one, InputError)]
