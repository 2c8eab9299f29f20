"""The chest X-rays of Kermany et al. 2018, doi.org/10.17632/rscbjbr9sj, as three classes: normal, bacterial and viral.

    python -m scripts.three_classes kermany_pneumonia_224.zip chest3.zip

Which pneumonia a child had stands in the files' names (person12_bacteria_46.jpeg, person8_virus_27.jpeg). Parts and files stay
as they are, only their folders change, so what is split off by patient stays the same.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path, PurePosixPath

KINDS = {"_bacteria_": "bacterial", "_virus_": "viral"}


def class_of(name: str) -> str:
    """The class of a file ROOT/PART/{NORMAL,PNEUMONIA}/file; ValueError where its name does not tell."""
    path = PurePosixPath(name)
    if path.parent.name == "NORMAL":
        return "normal"
    found = [label for part, label in KINDS.items() if part in path.name]
    if len(found) != 1:
        raise ValueError(f"{name} must be of NORMAL, or say bacteria or virus in its name")
    return found[0]


def rearrange(source: Path, target: Path) -> dict[str, int]:
    """Copy the images of one zip to another, under their three classes; how many each part and class has."""
    counts: dict[str, int] = {}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:  # they are compressed
        for name in sorted(old.namelist()):
            if not name.lower().endswith((".jpeg", ".jpg", ".png")):
                continue
            root, part, _, file = PurePosixPath(name).parts
            folder = f"{part}/{class_of(name)}"
            new.writestr(zipfile.ZipInfo(f"{root}/{folder}/{file}"), old.read(name))
            counts[folder] = counts.get(folder, 0) + 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    for folder, count in sorted(rearrange(arguments.source, arguments.target).items()):
        print(f"{folder}: {count}")


if __name__ == "__main__":
    main()
