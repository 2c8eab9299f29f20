"""What the scripts that prepare and train must not get wrong."""

from __future__ import annotations

import argparse
import re
import zipfile

import numpy as np
import pytest
import torch
from networks import tiny_cnn

from hfcviz.datasets import Dataset, Split, load_dataset
from scripts import prepare_natural, three_classes
from scripts.prepare_hippocampus import prepare
from scripts.training import balanced_order, fit, measure


def crops(cases: int = 40) -> dict[str, np.ndarray]:
    """Two crops a case, as in the file of hippocampus crops; every third case is a test case."""
    rng = np.random.default_rng(0)
    case = np.repeat(np.arange(cases), 2)
    voxels = np.repeat(rng.permutation(cases) + 1000, 2)
    arrays = {"class_names": np.array(["anterior", "posterior"])}
    for part, rows in {"train": case % 3 > 0, "test": case % 3 == 0}.items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (rows.sum(), 5, 6, 7), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.tile([0, 1], rows.sum() // 2)[:, None].astype(np.uint8)
        arrays[f"{part}_case"], arrays[f"{part}_hippocampus_voxels"] = case[rows][:, None], voxels[rows][:, None]
    return arrays


@pytest.mark.parametrize("label", ["end", "volume"])
def test_no_case_is_in_two_parts_and_no_crop_is_lost(tmp_path, label):
    arrays = crops()
    made = prepare(arrays, label)
    np.savez(tmp_path / "set.npz", **made)
    splits = load_dataset(tmp_path / "set.npz").splits
    cases = {part: {name.split("-")[1] for name in split.ids} for part, split in splits.items()}
    assert sum(map(len, cases.values())) == len(set().union(*cases.values())) == 40
    assert len(splits["train"]) + len(splits["val"]) == len(arrays["train_images"])
    assert np.array_equal(splits["test"].x[:, 0], arrays["test_images"])
    assert 0.1 < len(splits["val"]) / len(arrays["train_images"]) < 0.2


def test_the_volume_label_says_which_hippocampi_are_larger_than_the_median_of_training():
    arrays = crops()
    made = prepare(arrays, "volume")
    large = arrays["test_hippocampus_voxels"].ravel() > np.median(arrays["train_hippocampus_voxels"])
    assert made["class_names"].tolist() == ["small", "large"]
    assert made["test_labels"].ravel().tolist() == large.tolist()


def test_both_classes_are_drawn_equally_often_and_none_of_the_larger_is_left_out():
    labels = np.array([0] * 10 + [1] * 3)
    order = balanced_order(labels, torch.Generator().manual_seed(0)).numpy()
    assert np.bincount(labels[order]).tolist() == [10, 10]
    assert sorted(order[labels[order] == 0]) == list(range(10))


def test_the_epoch_with_the_highest_auc_and_then_the_lowest_loss_is_kept(tmp_path, capsys):
    record = fit(tiny_cnn(3, seed=2).net.requires_grad_(), tiny_cnn(3), brightness(12), lambda x, g: x, flags(tmp_path))
    found = re.findall(r"epoch (\d+): .*val auc ([\d.]+).*val loss ([\d.]+)", capsys.readouterr().out)
    best = max(found, key=lambda one: (float(one[1]), -float(one[2])))
    assert len(found) == 4 and record["chosen_epoch"] == int(best[0])
    assert best[0] not in ("1", "4"), "the first or the last might be kept without being chosen"


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path):
    dataset, whole = brightness(), tiny_cnn(3, seed=1)
    record = fit(tiny_cnn(3, seed=2).net.requires_grad_(), whole, dataset, lambda x, g: x, flags(tmp_path / "a"))
    assert record["val"]["auc"] > 0.9 and measure(whole, dataset.splits["val"])["auc"] == record["val"]["auc"]

    class Stopped(Exception):
        pass

    def stop(x, generator, seen=[]):  # noqa: B006
        seen.append(len(x))
        if len(seen) > 7:
            raise Stopped
        return x

    resumed = tiny_cnn(3, seed=1)
    with pytest.raises(Stopped):
        fit(tiny_cnn(3, seed=2).net.requires_grad_(), resumed, dataset, stop, flags(tmp_path / "b"))
    fit(tiny_cnn(3, seed=2).net.requires_grad_(), resumed, dataset, lambda x, g: x, flags(tmp_path / "b"))
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, resumed.net.state_dict()[name]), name


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_auc_of_several_classes_is_the_mean_of_each_against_all_others(classes):
    from sklearn.metrics import roc_auc_score

    classifier = tiny_cnn(2, classes=classes, seed=4)
    rng = np.random.default_rng(classes)
    split = Split(rng.integers(0, 256, (90, 1, 12, 12)).astype(np.uint8), np.arange(90) % classes, ())
    found = measure(classifier, split)
    odds = classifier(torch.from_numpy(split.images())).double().softmax(1).numpy()
    expected = np.mean([roc_auc_score(split.y == label, odds[:, label]) for label in range(classes)])
    assert found["auc"] == pytest.approx(expected, abs=1e-3)
    right = odds.argmax(1) == split.y
    assert found["accuracy"] == pytest.approx(right.mean())
    assert found["balanced_accuracy"] == pytest.approx(np.mean([right[split.y == k].mean() for k in range(classes)]))


def test_a_chest_x_rays_class_is_told_by_its_folder_and_its_name(tmp_path):
    names = {
        "root/train/NORMAL/IM-0001-0001.jpeg": "root/train/normal/IM-0001-0001.jpeg",
        "root/train/PNEUMONIA/person1_bacteria_2.jpeg": "root/train/bacterial/person1_bacteria_2.jpeg",
        "root/test/PNEUMONIA/person1_virus_7.jpeg": "root/test/viral/person1_virus_7.jpeg",
    }
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for name in (*names, "root/", "root/readme.txt"):
            archive.writestr(name, name)
    counts = three_classes.rearrange(tmp_path / "two.zip", tmp_path / "three.zip")
    assert counts == {"train/normal": 1, "train/bacterial": 1, "test/viral": 1}
    with zipfile.ZipFile(tmp_path / "three.zip") as archive:
        assert {archive.read(name).decode(): name for name in archive.namelist()} == names
    for unclear in ("root/train/PNEUMONIA/person1_2.jpeg", "root/train/PNEUMONIA/a_bacteria_virus_1.jpeg"):
        with pytest.raises(ValueError, match="bacteria or virus"):
            three_classes.class_of(unclear)


def test_natural_images_become_grey_and_a_part_of_training_validates(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        f"{part}_{what}": rng.integers(0, 256, shape).astype(np.uint8)
        for part, count in {"train": 100, "test": 20}.items()
        for what, shape in {"images": (count, 4, 4, 3), "labels": (count, 1)}.items()
    } | {"class_names": np.array(["frog", "ship"])}
    arrays["train_images"][:, 0, 0] = arrays["train_labels"] = np.arange(100)[:, None] % 2
    arrays["test_labels"] = np.arange(20)[:, None] % 2
    np.savez(tmp_path / "grey.npz", **prepare_natural.prepare(arrays, seed=1))
    splits = load_dataset(tmp_path / "grey.npz").splits
    assert {part: len(split) for part, split in splits.items()} == {"train": 85, "val": 15, "test": 20}

    def grey(images, index):
        red, green, blue = images[index, 1, 2].astype(float)
        return round(0.299 * red + 0.587 * green + 0.114 * blue)

    assert splits["test"].x[3, 0, 1, 2] == grey(arrays["test_images"], 3)
    seen = [tuple(x.ravel()) for part in ("train", "val") for x in splits[part].x]
    assert len(set(seen)) == 100, "no image is lost or in two parts"
    for part in ("train", "val"):
        assert splits[part].x[:, 0, 0, 0].tolist() == splits[part].y.tolist(), "each keeps its own label"


def brightness(by: int = 80) -> Dataset:
    """Random volumes; those of the second class are brighter by so many grey levels."""
    rng = np.random.default_rng(0)
    splits = {}
    for part, count in {"train": 40, "val": 40, "test": 40}.items():
        y = np.arange(count) % 2
        x = rng.integers(0, 120, (count, 1, 8, 8, 8)) + by * y[:, None, None, None, None]
        splits[part] = Split(x.astype(np.uint8), y, tuple(f"{part}-{i}" for i in range(count)))
    return Dataset("brightness", ("a", "b"), splits, "")


def flags(out) -> argparse.Namespace:
    return argparse.Namespace(
        out=out, work=None, epochs=4, batch=10, rate=0.02, decay=0.0, threads=1, seed=0, bf16=False
    )
