"""Data sets: the bundled one, and .npz files in the MedMNIST layout, sound and unsound."""

import dataclasses
import zipfile

import nibabel
import numpy as np
import pytest

from hfcviz.datasets import DATASETS, Dataset, Split, load_dataset
from hfcviz.settings import InputError

RANDOM = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def write(folder, **arrays):
    path = folder / "some.npz"
    np.savez_compressed(path, **arrays)
    return path


def good(count: int = 5, **changes) -> dict[str, np.ndarray]:
    arrays = {f"{part}_images": pixels(count, 6, 7) for part in ("train", "val", "test")}
    arrays |= {f"{part}_labels": (np.arange(count) % 2)[:, None].astype(np.uint8) for part in ("train", "val", "test")}
    return arrays | changes


def test_images_keep_their_place_and_scale(tmp_path):
    arrays = good()
    dataset = load_dataset(write(tmp_path, **arrays))
    split = dataset.splits["test"]
    assert dataset.name == "some" and dataset.class_names == ("class 0", "class 1")
    assert split.x.shape == (5, 1, 6, 7) and len(split) == 5
    assert split.y.dtype == np.int64 and split.y.tolist() == [0, 1, 0, 1, 0]
    assert split.ids == ("test-0000", "test-0001", "test-0002", "test-0003", "test-0004")
    chosen = split.images([3, 1])
    assert chosen.dtype == np.float32 and chosen.shape == (2, 1, 6, 7)
    np.testing.assert_allclose(chosen[0, 0] * 255, arrays["test_images"][3], atol=1e-4)
    np.testing.assert_array_equal(split.images(), split.images(range(5)))
    np.testing.assert_array_equal(split.images(2), split.images(slice(2, 3)))
    np.testing.assert_array_equal(split.images(-1), split.images([4]))
    np.testing.assert_array_equal(split.images(split.y == 1), split.images(np.array([1, 3])))
    with pytest.raises(TypeError):
        dataset.splits["extra"] = split


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((4, 6, 7), (1, 6, 7)), ((4, 6, 7, 1), (1, 6, 7)), ((4, 6, 7, 3), (3, 6, 7)), ((4, 6, 7, 8), (1, 6, 7, 8))],
)
def test_channels_come_first_and_volumes_gain_one(tmp_path, shape, expected):
    images = pixels(*shape)
    split = load_dataset(write(tmp_path, test_images=images, test_labels=np.zeros(4, dtype=int))).splits["test"]
    assert split.x.shape == (4, *expected)
    if shape[-1] == 3:
        np.testing.assert_array_equal(split.x[2, 1], images[2, :, :, 1])
    else:
        np.testing.assert_array_equal(split.x[2, 0], images[2].reshape(expected[1:]))


def test_class_names_come_from_the_file(tmp_path):
    dataset = load_dataset(write(tmp_path, **good(class_names=np.array(["well", "ill", "never seen"]))))
    assert dataset.class_names == ("well", "ill", "never seen")


def test_a_part_alone_is_that_of_the_whole_and_no_other_is_unpacked(tmp_path):
    path = write(tmp_path, **good(test_images=pixels(3, 6, 7), test_labels=np.arange(3) % 2))
    whole, part = load_dataset(path), load_dataset(path, parts=("test",))
    assert set(part.splits) == {"test"} < set(whole.splits)
    np.testing.assert_array_equal(part.splits["test"].x, whole.splits["test"].x)
    assert part.splits["test"].ids == whole.splits["test"].ids
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | {"train_images.npy": b"half of it"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match=r"some\.npz is damaged: train_images is no array"):
        load_dataset(path)
    load_dataset(path, parts=("test",))
    with pytest.raises(InputError, match="must hold val_images and val_labels; it holds"):
        load_dataset(write(tmp_path, test_images=pixels(3, 4, 4), test_labels=np.zeros(3, int)), parts=("val",))


UNSOUND = {
    "no part": ({"images": pixels(3, 4, 4)}, "must hold train_images"),
    "no labels": ({"train_images": pixels(3, 4, 4)}, "train_images but not its partner"),
    "no images": ({"val_labels": np.zeros(3, int)}, "val_labels but not its partner"),
    "unequal": (good(val_labels=np.zeros(4, int)), "5 images and 4 labels"),
    "label above names": (
        good(test_labels=np.full(5, 2), class_names=np.array(["a", "b"])),
        "label 2, .* between 0 and 1",
    ),
    "label below 0": (good(test_labels=np.full(5, -1)), "count from 0; got -1"),
    "labels not whole": (good(test_labels=np.zeros(5)), "whole number per image; got float64"),
    "many labels": (good(test_labels=np.zeros((5, 14), int)), r"shape \(5, 14\)"),
    "float images": (good(test_images=np.zeros((5, 6, 7))), "must be uint8 .*; got float64"),
    "one image": (good(test_images=pixels(6, 7)), r"got the shape \(6, 7\)"),
    "five axes": (good(test_images=pixels(5, 4, 4, 4, 2)), r"got the shape \(5, 4, 4, 4, 2\)"),
    "empty": (good(test_images=pixels(0, 6, 7), test_labels=np.zeros(0, int)), "at least one image"),
    "two shapes": (good(test_images=pixels(5, 8, 8)), "one shape in all parts"),
    "objects": (good(test_images=np.array([None] * 5, dtype=object)), "never unpickled"),
    "object names": (good(class_names=np.array(["a", None], dtype=object)), "never unpickled"),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_an_unsound_file_gives_one_clear_sentence(tmp_path, case):
    arrays, sentence = UNSOUND[case]
    with pytest.raises(InputError, match=sentence) as caught:
        load_dataset(write(tmp_path, **arrays))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_archive_or_damaged_are_refused(tmp_path):
    with pytest.raises(InputError, match="neither a file nor a bundled set; bundled: brain2d"):
        load_dataset(tmp_path / "missing.npz")
    path = tmp_path / "text.npz"
    path.write_text("not an archive")
    with pytest.raises(InputError, match="cannot be read"):
        load_dataset(path)
    path = write(tmp_path, **good(50))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError):
        load_dataset(path)
    path.write_bytes(whole[:200] + bytes(2000) + whole[2200:])
    with pytest.raises(InputError):
        load_dataset(path)


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("hfcviz.datasets.LARGEST", 10_000)
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("test_images.npy", bytes(1_000_000))
    with pytest.raises(InputError, match="unpacks to"):
        load_dataset(path)


def test_the_bundled_set_is_balanced_disjoint_and_large_enough():
    dataset = load_dataset("brain2d")
    assert dataset.class_names == ("healthy", "lesion") and "imulated" in dataset.about
    least = {"train": 1200, "val": 200, "test": 400}
    seen = set()
    for part, split in dataset.splits.items():
        assert len(split) >= least[part]
        assert split.x.shape[1:] == (1, 128, 128)
        assert np.bincount(split.y).tolist() == [len(split) // 2] * 2
        seen |= {image.tobytes() for image in split.x}
    assert set(dataset.splits) == set(least)
    assert len(seen) == sum(len(split) for split in dataset.splits.values())
    assert DATASETS["brain2d"].path.stat().st_size < 22 * 2**20


def test_bundled_slices_are_shown_with_the_front_of_the_head_up():
    """The head is longer than wide, and the frontal end of the mean slice is the narrower one."""
    mean = load_dataset("brain2d").splits["train"].x[:, 0].mean(axis=0)
    head = mean > 40
    rows, columns = np.flatnonzero(head.any(axis=1)), np.flatnonzero(head.any(axis=0))
    assert np.ptp(rows) > 1.1 * np.ptp(columns)
    span = np.ptp(rows) // 4
    front, back = head[rows[0] + span // 2 : rows[0] + span].sum(), head[rows[-1] - span : rows[-1] - span // 2].sum()
    assert front < back


def test_bundled_slices_can_be_made_again_from_their_seeds():
    pytest.importorskip("nilearn", reason="requirements-assets.txt is not installed")
    from scripts.build_brain2d import SPLITS, load_anatomy, simulate

    anatomy, splits = load_anatomy(), load_dataset("brain2d").splits
    for part, i in (("train", 1599), ("val", 0), ("test", 7)):
        again = simulate(anatomy, SPLITS[part][0] + i, bool(splits[part].y[i]))
        # One grey level of room: other versions of numpy may round differently.
        assert np.abs(again.astype(int) - splits[part].x[i, 0]).max() <= 1


@pytest.fixture(scope="module")
def volumes() -> Dataset:
    """Unpacked once: it takes seconds."""
    return load_dataset("brain3d")


def test_the_bundled_volumes_are_balanced_disjoint_and_large_enough(volumes):
    dataset = volumes
    assert dataset.class_names == ("healthy", "lesion") and "imulated" in dataset.about
    least, seen = {"train": 300, "val": 50, "test": 100}, set()
    for part, split in dataset.splits.items():
        assert len(split) >= least[part] and split.x.shape[1:] == (1, 64, 64, 64)
        assert np.bincount(split.y).tolist() == [len(split) // 2] * 2
        seen |= {volume.tobytes() for volume in split.x}
    assert set(dataset.splits) == set(least)
    assert len(seen) == sum(len(split) for split in dataset.splits.values())
    assert sum(file.stat().st_size for file in DATASETS["brain2d"].path.parent.parent.rglob("*.*")) < 80 * 10**6


def test_bundled_volumes_lie_as_their_affine_says(volumes):
    """A head is longest from back to front; its lowest part, the cerebellum, lies at the back; its two halves are alike."""
    dataset = volumes
    assert nibabel.aff2axcodes(dataset.affine) == ("R", "A", "S")
    assert nibabel.affines.voxel_sizes(dataset.affine).tolist() == [3, 3, 3]
    mean = dataset.splits["train"].x[::2, 0].mean(axis=0)  # healthy ones
    inside = mean > 40
    lengths = [np.ptp(np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))) for axis in range(3)]
    assert lengths[1] == max(lengths)
    heights = np.argwhere(inside)
    lowest = heights[heights[:, 2] < np.quantile(heights[:, 2], 0.15)]
    assert lowest[:, 1].mean() < heights[:, 1].mean() - 5
    assert np.corrcoef(mean.ravel(), mean[::-1].ravel())[0, 1] > 0.95


def test_bundled_slices_lie_as_their_affine_says():
    """Rows run from the front to the back, columns from the patient's right to the left: radiological order."""
    assert nibabel.aff2axcodes(load_dataset("brain2d").affine)[:2] == ("P", "L")


def test_bundled_volumes_can_be_made_again_from_their_seeds(volumes):
    pytest.importorskip("nilearn", reason="requirements-assets.txt is not installed")
    from scripts.build_brain3d import SPLITS, load_anatomy, simulate

    anatomy, splits = load_anatomy(), volumes.splits
    for part, i in (("train", 399), ("test", 6)):
        again = simulate(anatomy, SPLITS[part][0] + i, bool(splits[part].y[i]))
        # Other versions of numpy may round differently, and a grey level is a multiple of five.
        assert (np.abs(again.astype(int) - splits[part].x[i, 0]) > 0).mean() < 0.001


def test_a_set_on_another_grid_does_not_keep_the_affine(volumes):
    dataset = volumes
    assert dataset.fitted((1, 64, 64, 64)).affine is dataset.affine
    few = {"test": Split(dataset.splits["test"].x[:2], dataset.splits["test"].y[:2], ("a", "b"))}
    assert dataclasses.replace(dataset, splits=few).fitted((1, 32, 32, 32)).affine is None


def test_names_of_samples_come_from_the_file_and_must_differ(tmp_path):
    arrays = good(50)
    count = len(arrays["test_labels"])
    names = np.array([f"case-{i:03d}" for i in range(count)])
    assert load_dataset(write(tmp_path, **arrays, test_ids=names)).splits["test"].ids == tuple(names)
    names[1] = names[0]
    with pytest.raises(InputError, match="must name each image once"):
        load_dataset(write(tmp_path, **arrays, test_ids=names))
