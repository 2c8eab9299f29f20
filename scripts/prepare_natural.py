"""Natural images as a network of scans takes them: one grey channel, and a validation part split off by chance.

    python -m scripts.prepare_natural cifar10_lossless_32.npz cifar32.npz

The file is in the MedMNIST layout, colour images N x H x W x 3 in train and test. Grey is Rec. 601 luma, as in PIL.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

SHARE = 0.15
"""Of the training part, as for the chest X-rays."""


def prepare(arrays: dict[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """The same set in grey with a validation part; what is taken from training stays the same for the same seed."""
    count = len(arrays["train_images"])
    order = np.random.default_rng(seed).permutation(count)
    cut = round(SHARE * count)
    rows = {"val": np.sort(order[:cut]), "train": np.sort(order[cut:])}
    found = {"class_names": arrays["class_names"]}
    for part, source, chosen in (
        ("train", "train", rows["train"]),
        ("val", "train", rows["val"]),
        ("test", "test", slice(None)),
    ):
        grey = arrays[f"{source}_images"][chosen] @ np.array([0.299, 0.587, 0.114])
        found[f"{part}_images"] = np.rint(grey).astype(np.uint8)
        found[f"{part}_labels"] = arrays[f"{source}_labels"][chosen]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with np.load(arguments.source, allow_pickle=False) as archive:
        made = prepare(dict(archive), arguments.seed)
    np.savez_compressed(arguments.target, **made)
    print({name: len(array) for name, array in made.items()})


if __name__ == "__main__":
    main()
