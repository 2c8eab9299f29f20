from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from hfcviz.settings import InputError
from hfcviz.store import Store, digest, load_arrays, save_arrays

ARRAYS = {
    "layer1.0": np.arange(12, dtype=np.float32).reshape(3, 4),
    "attack/steps": np.array([[True, False]]),
    "ids": np.array(["a", "Ω"]),
    "file": np.array(3.5),
    "about": np.zeros((0, 2), dtype=np.int16),
}
ABOUT = {"name": "Ω", "eps": 4 / 255, "layers": ["a", None], "nested": {"k": 1}}

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def same(a: object, b: object) -> bool:
    """Equality as digests see it: unlike ==, it tells 1 from 1.0 and True, and 0.0 from -0.0. repr() does just that."""
    return repr(ordered(a)) == repr(ordered(b))


def ordered(value: object) -> object:
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value)}
    return [ordered(item) for item in value] if isinstance(value, list) else value


@given(plain, plain)
@example([["ab", "c"]], [["a", "bc"]])
@example(["ab", "c"], ["a", "bc"])
@example([["a"], "b"], [["a", "b"]])
@example([[], "a"], [["a"], []])
@example({"a": "b"}, ["a", "b"])
@example({"a": {"b": 1}}, {"a": {}, "b": 1})
@example("1", 1)
@example(1, 1.0)
@example(1, True)
@example(None, "None")
@example(b"a", "a")
@example(0.1 + 0.2, 0.3)
@example(0.30000000000000004, 0.3000000000000001)
@example(1234567, 1234568)
@example("str 1;a", "a")
def test_digests_agree_exactly_when_values_do(a: object, b: object) -> None:
    assert (digest(a) == digest(b)) == same(a, b)


@given(st.lists(plain, max_size=3), st.lists(plain, max_size=3))
@example(["ab", "c"], ["a", "bc"])
@example([], [[]])
def test_parts_are_told_apart(a: list, b: list) -> None:
    assert (digest(*a) == digest(*b)) == same(a, b)


def test_order_of_a_dict_and_kind_of_sequence_do_not_matter() -> None:
    assert digest({"a": 1, "b": (1, 2)}) == digest({"b": [1, 2], "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_numpy_scalars_count_as_pythons() -> None:
    scalars = [np.float64(0.1), np.int32(3), np.bool_(True), np.str_("a")]
    assert digest(scalars) == digest([0.1, 3, True, "a"])


X = np.arange(6, dtype=np.float32).reshape(2, 3)
OTHERS = {
    "another value": np.where(X == 3, 9, X).astype(np.float32),
    "another shape of the same bytes": X.reshape(3, 2),
    "another type": X.astype(np.float64),
    "another type of the same bytes": X.view(np.int32),
    "the transpose": X.T,
    "its bytes": X.tobytes(),
    "its list": X.tolist(),
    "part of it": X[:1],
    "none of it": X[:0],
}


def test_arrays_differ_by_value_shape_and_type() -> None:
    found = {name: digest(value) for name, value in OTHERS.items()} | {"itself": digest(X)}
    assert len(set(found.values())) == len(found)


def test_an_arrays_place_in_memory_does_not_matter() -> None:
    wide = np.zeros((4, 6), dtype=np.float32)
    wide[::2, ::2] = X
    assert digest(X) == digest(X.copy()) == digest(np.asfortranarray(X)) == digest(wide[::2, ::2])


def test_digests_stay_the_same_in_another_process_and_version() -> None:
    # Stored results are found again by these: change the encoding only together with the version that is digested.
    parts = ["hfcviz", 1, 0.1, None, {"b": [True], "a": b"x"}, X]
    line = "import numpy as np; from hfcviz.store import digest; print(digest(" + (
        "'hfcviz', 1, 0.1, None, {'a': b'x', 'b': [True]}, np.arange(6, dtype='<f4').reshape(2, 3)))"
    )
    root = Path(__file__).resolve().parent.parent
    other = subprocess.run([sys.executable, "-c", line], cwd=root, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(*parts)
    assert digest(*parts) == "6c95cacce00dcfa5857cf3e59d3ca9d7bdeafc01f9899f6745bb2fc43071e7b3"


@pytest.mark.parametrize(
    "value",
    [{1}, object(), Path("a"), {1: 2}, 1j, np.array([object()])],
    ids=["set", "object", "path", "dict", "complex", "array"],
)
def test_what_has_no_safe_text_is_not_digested(value: object) -> None:
    with pytest.raises(TypeError, match="cannot digest"):
        digest("before", [value])


def assert_same_arrays(found: dict, expected: dict) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_saved_arrays_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.npz"
    save_arrays(path, ARRAYS, ABOUT)
    arrays, about = load_arrays(str(path))
    assert_same_arrays(arrays, ARRAYS)
    assert about == ABOUT
    assert [file.name for file in path.parent.iterdir()] == ["a.npz"]


def test_numpy_alone_reads_the_file(tmp_path: Path) -> None:
    save_arrays(tmp_path / "a.npz", ARRAYS, ABOUT)
    with np.load(tmp_path / "a.npz") as found:
        assert_same_arrays({name: found[name] for name in found if name != "about.json"}, ARRAYS)
        assert json.loads(found["about.json"]) == ABOUT


def test_equal_contents_make_equal_files_and_they_are_compressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = {"zeros": np.zeros(100_000)}
    save_arrays(tmp_path / "a.npz", zeros, ABOUT)
    monkeypatch.setattr("time.time", lambda: 2e9)
    save_arrays(tmp_path / "b.npz", zeros, ABOUT)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (tmp_path / "a.npz").stat().st_size < 10_000


@given(
    st.dictionaries(st.text("ab/._ é", max_size=6), some.arrays(some.scalar_dtypes(), some.array_shapes(min_dims=0)))
)
def test_any_names_and_arrays_come_back(tmp_path_factory: pytest.TempPathFactory, arrays: dict) -> None:
    path = tmp_path_factory.mktemp("any") / "a.npz"
    save_arrays(path, arrays, {})
    assert_same_arrays(load_arrays(path)[0], arrays)


def test_a_failed_save_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    save_arrays(path, {"x": np.ones(3)}, {"version": 1})
    before = path.read_bytes()

    def full(*arguments: object) -> None:
        raise OSError("no space left")

    for step in ("zipfile.ZipFile.writestr", "os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(step, full)
            with pytest.raises(OSError, match="no space"):
                save_arrays(path, {"x": np.zeros(3)}, {"version": 2})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_objects_are_neither_saved_nor_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        save_arrays(tmp_path / "a.npz", {"x": np.array([object()])}, {})
    assert list(tmp_path.iterdir()) == []
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}]))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("about.json", "{}")
    with pytest.raises(InputError, match=r"a\.npz is not readable .*allow_pickle"):
        load_arrays(tmp_path / "a.npz")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^gone\.npz is not in .*make it again or name another file\.$"):
        load_arrays(tmp_path / "gone.npz")


DAMAGE = {
    "empty": lambda data: b"",
    "not an archive": lambda data: b"hello" * 100,
    "cut in half": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "a flipped bit in the data": lambda data: data[:60] + bytes([data[60] ^ 4]) + data[61:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_one_sentence(damage, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_arrays(path, ARRAYS, ABOUT)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        InputError, match=r"a\.npz is not readable as saved arrays \(.*\); remove it and make it again\.$"
    ):
        load_arrays(path)


@given(st.data())
def test_a_flipped_byte_anywhere_is_noticed_or_harmless(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    path = tmp_path_factory.mktemp("flip") / "a.npz"
    save_arrays(path, {"x": X, "y": np.arange(5)}, {"a": 1})
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        arrays, about = load_arrays(path)
    except InputError:
        return
    # Member names carry no checksum of their own, so an array may be missing (who wants it notices); none is ever wrong.
    assert about == {"a": 1}
    whole = [X.tolist(), [0, 1, 2, 3, 4]]
    assert [array.tolist() for array in arrays.values()] in (whole, whole[:1], whole[1:], [])


ENTRY = 11_000


def put(store: Store, *keys: str) -> None:
    """Entries of a little less than ENTRY bytes, every one a second younger than the one before."""
    for second, key in enumerate(keys):
        noise = np.random.default_rng(second).integers(0, 256, 10_000, dtype=np.uint8)
        store.put(key, {"x": noise}, {"key": key})
        os.utime(store.folder / f"{key}.npz", (1e9 + second, 1e9 + second))


def kept(store: Store) -> set[str]:
    return {path.stem for path in store.folder.glob("*.npz")}


def test_a_store_returns_what_was_put_and_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.get("a") is None
    store.put("a", ARRAYS, ABOUT)
    for reader in (store, Store(tmp_path)):
        found = reader.get("a")
        assert found is not None
        assert_same_arrays(found[0], ARRAYS)
        assert found[1] == ABOUT
    assert (store.hits, store.misses) == (1, 1)
    store.put("a", {}, {"new": 1})
    assert store.get("a") == ({}, {"new": 1})


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_a_miss_and_is_gone(damage, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("a", ARRAYS, ABOUT)
    (tmp_path / "a.npz").write_bytes(damage((tmp_path / "a.npz").read_bytes()))
    assert store.get("a") is None
    assert (store.hits, store.misses, kept(store)) == (0, 1, set())
    store.put("a", {}, {})
    assert store.get("a") is not None


def test_the_oldest_go_when_the_limit_is_passed(tmp_path: Path) -> None:
    put(Store(tmp_path), "a", "b", "c")
    store = Store(tmp_path, limit_bytes=3 * ENTRY)
    put(store, "d")
    assert kept(store) == {"b", "c", "d"}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 * ENTRY


def test_a_read_entry_counts_as_young(tmp_path: Path) -> None:
    put(Store(tmp_path), "a", "b", "c")
    store = Store(tmp_path, limit_bytes=3 * ENTRY)
    store.get("a")
    put(store, "d")
    assert kept(store) == {"a", "c", "d"}


def test_an_entry_above_the_limit_does_not_push_out_the_others(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=3 * ENTRY)
    put(store, "a", "b")
    store.put("huge", {"x": np.random.default_rng(0).random(ENTRY)}, {})
    assert kept(store) == {"a", "b"}


def test_rests_of_killed_processes_count_and_go_and_other_files_stay(tmp_path: Path) -> None:
    for name in (".x.npz.123.part", "notes.txt"):
        (tmp_path / name).write_bytes(bytes(2 * ENTRY))
        os.utime(tmp_path / name, (1e8, 1e8))
    put(Store(tmp_path, limit_bytes=3 * ENTRY), "a", "b")
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "b.npz", "notes.txt"}


def test_a_folder_that_cannot_be_written_stores_nothing_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder below a file cannot be made by anybody, not even by root, whom permissions do not stop.
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "store")
    # Another library may have disabled or cut off every logger that existed when it set up its own logging.
    monkeypatch.setattr(logging.getLogger("hfcviz"), "disabled", False)
    monkeypatch.setattr(logging.getLogger("hfcviz"), "propagate", True)
    with caplog.at_level(logging.WARNING, "hfcviz"):
        store.put("a", ARRAYS, ABOUT)
        store.put("b", ARRAYS, ABOUT)
        assert store.get("a") is None
    (record,) = caplog.records
    assert "Results are not kept" in record.getMessage()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_still_gives_what_it_holds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    store.put("a", ARRAYS, ABOUT)
    tmp_path.chmod(0o500)
    store.put("b", ARRAYS, ABOUT)
    tmp_path.chmod(0o700)
    assert (store.get("a") is not None, store.get("b"), len(caplog.records)) == (True, None, 1)


def test_the_folder_comes_from_the_argument_the_environment_or_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path / "chosen"))
    assert Store(tmp_path / "given").folder == tmp_path / "given"
    assert Store().folder == tmp_path / "chosen"
    monkeypatch.setenv("HFCVIZ_STORE", "")
    assert Store().folder == tmp_path / "home" / ".cache" / "hfcviz"
    assert list(tmp_path.iterdir()) == []
