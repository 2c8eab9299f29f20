"""Classifiers on disk.

A model is a folder with `classifier.safetensors` (weights) and `classifier.json` (architecture, class names, layers,
input shape, normalisation, how it was trained). Nothing is unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from hfcviz.classifiers import Classifier
from hfcviz.networks import ARCHITECTURES, NothingDrawn
from hfcviz.settings import InputError

ASSETS = Path(__file__).resolve().parent.parent / "assets"

MODELS: dict[str, Path] = {
    "brain2d-resnet18": ASSETS / "brain2d",
    "brain3d-densenet": ASSETS / "brain3d",
    "chest-resnet18": ASSETS / "chest",
    "chest-vgg16": ASSETS / "chest-vgg16",
}
"""Bundled models: name -> folder."""


def save_model(
    classifier: Classifier, folder: Path, architecture: Mapping[str, Any], training: Mapping[str, Any] | None = None
) -> None:
    """Write a model folder that `load_model` gives back exactly.

    `architecture` holds a key of ARCHITECTURES as "name" and the arguments of its function; `training` is any record
    of how the weights came about. Weights that half precision holds without loss are stored so: half the size.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.net.state_dict().items()}
    floats = [name for name, tensor in weights.items() if tensor.is_floating_point()]
    if all(torch.equal(weights[name].half().to(weights[name].dtype), weights[name]) for name in floats):
        weights |= {name: weights[name].half() for name in floats}
    about = {
        "name": classifier.name,
        "architecture": dict(architecture),
        "class_names": classifier.class_names,
        "layer_names": classifier.layer_names,
        "head": classifier.head,
        "input_shape": classifier.input_shape,
        "mean": classifier.mean,
        "std": classifier.std,
        "training": dict(training or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classifier.safetensors").write_bytes(safetensors.torch.save(weights))
    (folder / "classifier.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def describe_model(name_or_path: str | Path) -> dict[str, Any]:
    """What classifier.json says of a model, without loading the network. InputError if it is missing or no such file."""
    folder = MODELS.get(str(name_or_path), Path(name_or_path))
    described = folder / "classifier.json"
    for file in (described, folder / "classifier.safetensors"):
        if not file.is_file():
            known = ", ".join(MODELS)
            raise InputError(
                f"Model {str(name_or_path)!r} needs the file {file}, which does not exist; bundled: {known}."
            )
    try:
        about = json.loads(described.read_text(encoding="utf-8"))
        return dict(about) | {name: tuple(map(str, about[name])) for name in ("class_names", "layer_names")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The model description {described} is damaged: {type(error).__name__} {error}.") from error


def load_model(name_or_path: str | Path) -> Classifier:
    """The classifier of a name in MODELS, or of a model folder, on the CPU. InputError if it is missing or damaged."""
    about = describe_model(name_or_path)
    folder = MODELS.get(str(name_or_path), Path(name_or_path))
    described, stored = folder / "classifier.json", folder / "classifier.safetensors"
    try:
        architecture = dict(about["architecture"])
        build = ARCHITECTURES[architecture.pop("name")]
        # On the meta device nothing is allocated, so a wrong size fails before it costs memory.
        with torch.device("meta"), NothingDrawn():
            net = build(**architecture)
        classifier = Classifier(
            net=net,
            name=str(about["name"]),
            class_names=about["class_names"],
            layer_names=about["layer_names"],
            head=str(about["head"]),
            input_shape=tuple(map(int, about["input_shape"])),
            mean=float(about["mean"]),
            std=float(about["std"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(f"The model description {described} is damaged: {type(error).__name__} {error}.") from error
    if not (math.isfinite(classifier.mean) and math.isfinite(classifier.std) and classifier.std > 0):
        raise InputError(f"The model description {described} must give a finite mean and a positive std.")
    try:
        weights = safetensors.torch.load_file(stored)
        weights = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
        net.load_state_dict(weights, assign=True)
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"The weights {stored} are damaged or belong to another network: {reason}.") from error
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise InputError(f"The weights {stored} must be finite numbers, but some are not: train or copy them again.")
    classifier.settle()  # once more: the weights have replaced those that were settled
    return classifier
