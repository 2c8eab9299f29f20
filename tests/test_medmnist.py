"""MedMNIST sets by name, fetched here from a file in place of the network."""

import hashlib

import numpy as np
import pytest

from hfcviz import medmnist
from hfcviz.datasets import load_dataset
from hfcviz.medmnist import MEDMNIST, Known, fetch
from hfcviz.settings import InputError


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder in the place of the server, with one small set in it, and an empty folder for what is fetched."""
    folder = tmp_path / "server"
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = {f"{part}_images": rng.integers(0, 256, (6, 8, 8), dtype=np.uint8) for part in ("train", "val", "test")}
    arrays |= {f"{part}_labels": (np.arange(6) % 2)[:, None] for part in ("train", "val", "test")}
    np.savez(folder / "breastmnist.npz", **arrays)
    md5 = hashlib.md5((folder / "breastmnist.npz").read_bytes()).hexdigest()
    monkeypatch.setitem(MEDMNIST, "breastmnist", Known(md5, ("malignant", "normal or benign")))
    monkeypatch.setattr(medmnist, "ADDRESS", folder.as_uri() + "/{name}.npz")
    monkeypatch.setenv("HFCVIZ_DATA", str(tmp_path / "data"))
    return folder


def test_a_named_set_is_fetched_once_and_then_read_from_disk(server, tmp_path, capsys):
    first = load_dataset("breastmnist")
    assert first.name == "breastmnist" and first.class_names == ("malignant", "normal or benign")
    assert (tmp_path / "data" / "breastmnist.npz").is_file()
    (server / "breastmnist.npz").unlink()
    again = load_dataset("breastmnist")
    assert np.array_equal(again.splits["test"].x, first.splits["test"].x)
    assert capsys.readouterr().out == ""


def test_without_a_network_a_sentence_says_where_to_put_the_file(server, tmp_path):
    (server / "breastmnist.npz").unlink()
    with pytest.raises(InputError, match="breastmnist cannot be downloaded") as caught:
        fetch("breastmnist")
    said = str(caught.value)
    assert said.endswith(f"save it as {tmp_path / 'data' / 'breastmnist.npz'}.") and "\n" not in said


def test_what_is_fetched_must_be_what_was_published(server, tmp_path):
    (server / "breastmnist.npz").write_bytes(b"something else")
    with pytest.raises(InputError, match="cannot be downloaded"):
        fetch("breastmnist")
    assert not (tmp_path / "data" / "breastmnist.npz").exists()


def test_another_file_under_the_name_is_refused_and_left_alone(server, tmp_path):
    path = tmp_path / "data" / "breastmnist.npz"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"must be the file of .* but its MD5 is"):
        fetch("breastmnist")
    assert path.read_bytes() == b"mine"


def test_every_set_has_a_whole_md5_and_classes():
    for name, known in MEDMNIST.items():
        assert name.endswith(("mnist", "mnist3d")) and int(known.md5, 16) and len(known.md5) == 32
        assert len(set(known.classes)) == len(known.classes) >= 2
    assert len({known.md5 for known in MEDMNIST.values()}) == len(MEDMNIST)
