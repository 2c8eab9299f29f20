"""Make of the hippocampus crops (Medical Segmentation Decathlon, task 4, 28^3 voxels) a set with a validation part.

    python -m scripts.prepare_hippocampus hippocampus3d_28.npz out/hippocampus-end.npz
    python -m scripts.prepare_hippocampus hippocampus3d_28.npz out/hippocampus-volume.npz --label volume

The labels are the two ends of the hippocampus (anterior, posterior), or, harder, whether the whole hippocampus is larger
than the median of the training cases. 15 % of the training cases are the validation part; both crops of a case stay together,
and ids name the case, so that an evaluation does not part them either.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np


def prepare(arrays: dict[str, np.ndarray], label: str, seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays in the MedMNIST layout, with ids, from those of the crops: images, labels, case, hippocampus_voxels."""
    median = np.median(arrays["train_hippocampus_voxels"])
    cases = np.unique(arrays["train_case"])
    lent = np.random.default_rng(seed).permutation(cases)[: round(0.15 * len(cases))]
    names = arrays["class_names"] if label == "end" else np.array(["small", "large"])
    made: dict[str, np.ndarray] = {"class_names": names}
    for source in ("train", "test"):
        case = arrays[f"{source}_case"].ravel()
        y = arrays[f"{source}_labels"].ravel()
        ids = np.array([f"case-{number:03d}-{end}" for number, end in zip(case, y, strict=True)])
        if label == "volume":
            y = (arrays[f"{source}_hippocampus_voxels"].ravel() > median).astype(np.uint8)
        parts = {"test": np.ones(len(case), bool)}
        if source == "train":
            parts = {"train": ~np.isin(case, lent), "val": np.isin(case, lent)}
        for part, rows in parts.items():
            made |= {f"{part}_images": arrays[f"{source}_images"][rows], f"{part}_labels": y[rows][:, None]}
            made[f"{part}_ids"] = ids[rows]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--label", choices=("end", "volume"), default="end")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with np.load(arguments.crops, allow_pickle=False) as file:
        made = prepare(dict(file), arguments.label, arguments.seed)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.out, **made)
    counts = {part: np.bincount(made[f"{part}_labels"].ravel()).tolist() for part in ("train", "val", "test")}
    print(f"{arguments.out}: {', '.join(map(str, made['class_names']))}: {counts}")


if __name__ == "__main__":
    main()
