"""MedMNIST sets by name: fetched once, checked by their MD5, and kept.

Yang et al. 2023, "MedMNIST v2", https://doi.org/10.1038/s41597-022-01721-8; files of https://zenodo.org/record/6496656
(CC BY 4.0). ChestMNIST is left out, since its images have several labels each, and TissueMNIST for its size.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import NamedTuple

from hfcviz.settings import InputError

ADDRESS = "https://zenodo.org/record/6496656/files/{name}.npz?download=1"


class Known(NamedTuple):
    """The MD5 of a set's file, and its classes in order."""

    md5: str
    classes: tuple[str, ...]


_ORGANS = (
    *("bladder", "left femur", "right femur", "heart", "left kidney", "right kidney"),
    *("liver", "left lung", "right lung", "pancreas", "spleen"),
)
_ORGANS_3D = (
    *("liver", "right kidney", "left kidney", "right femur", "left femur", "bladder"),
    *("heart", "right lung", "left lung", "spleen", "pancreas"),
)
_TISSUE = (
    *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal mucosa"),
    *("cancer-associated stroma", "adenocarcinoma epithelium"),
)
_SKIN = (
    *("actinic keratoses", "basal cell carcinoma", "benign keratosis", "dermatofibroma", "melanoma"),
    *("melanocytic nevi", "vascular lesions"),
)
_BLOOD = (
    *("basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte"),
    *("neutrophil", "platelet"),
)
_RETINA = ("0", "1", "2", "3", "4")
_FRACTURES = ("buckle", "nondisplaced", "displaced")

MEDMNIST: dict[str, Known] = {
    "pathmnist": Known("a8b06965200029087d5bd730944a56c1", _TISSUE),
    "dermamnist": Known("0744692d530f8e62ec473284d019b0c7", _SKIN),
    "octmnist": Known("c68d92d5b585d8d81f7112f81e2d0842", ("neovascularization", "macular edema", "drusen", "normal")),
    "pneumoniamnist": Known("28209eda62fecd6e6a2d98b1501bb15f", ("normal", "pneumonia")),
    "retinamnist": Known("bd4c0672f1bba3e3a89f0e4e876791e4", _RETINA),
    "breastmnist": Known("750601b1f35ba3300ea97c75c52ff8f6", ("malignant", "normal or benign")),
    "bloodmnist": Known("7053d0359d879ad8a5505303e11de1dc", _BLOOD),
    "organamnist": Known("866b832ed4eeba67bfb9edee1d5544e6", _ORGANS),
    "organcmnist": Known("0afa5834fb105f7705a7d93372119a21", _ORGANS),
    "organsmnist": Known("e5c39f1af030238290b9557d9503af9d", _ORGANS),
    "organmnist3d": Known("21f0a239e7f502e6eca33c3fc453c0b6", _ORGANS_3D),
    "nodulemnist3d": Known("8755a7e9e05a4d9ce80a24c3e7a256f3", ("benign", "malignant")),
    "adrenalmnist3d": Known("bbd3c5a5576322bc4cdfea780653b1ce", ("normal", "hyperplasia")),
    "fracturemnist3d": Known("6aa7b0143a6b42da40027a9dda61302f", _FRACTURES),
    "vesselmnist3d": Known("2ba5b80617d705141f3f85627108fce8", ("vessel", "aneurysm")),
    "synapsemnist3d": Known("1235b78a3cd6280881dd7850a78eadb6", ("inhibitory", "excitatory")),
}
"""Sets that can be named, as in the record above."""


def fetch(name: str) -> Path:
    """The file of a set in MEDMNIST, from $HFCVIZ_DATA (default ~/.cache/hfcviz/data), where it is downloaded if need be.

    InputError says where to put the file when there is no network, and when the file there is another one.
    """
    folder = Path(os.environ.get("HFCVIZ_DATA") or "~/.cache/hfcviz/data").expanduser()
    path, address = folder / f"{name}.npz", ADDRESS.format(name=name)
    if path.is_file():
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != MEDMNIST[name].md5:
            raise InputError(
                f"{path} must be the file of {address} (MD5 {MEDMNIST[name].md5}), but its MD5 is {found}: delete it, and it "
                "is fetched again."
            )
        return path
    from monai.apps import download_url

    talk = logging.getLogger("monai.apps")
    before = talk.level
    try:
        talk.setLevel(logging.CRITICAL)  # it writes to standard output, which belongs to results
        folder.mkdir(parents=True, exist_ok=True)
        download_url(address, path, hash_val=MEDMNIST[name].md5, hash_type="md5", progress=True)
    except Exception as error:  # no network, a full disk, a changed file: each library layer has its own kinds
        path.unlink(missing_ok=True)
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{name} cannot be downloaded ({reason}): fetch {address} where there is a network and save it as {path}."
        ) from error
    finally:
        talk.setLevel(before)
    return path
