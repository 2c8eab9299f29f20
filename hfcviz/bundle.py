"""Bundles: a model with its data set and its reference cohort, the three things that a run needs beside a scan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hfcviz.datasets import DATASETS, Dataset, load_dataset
from hfcviz.models import MODELS, Classifier, describe_model, load_model
from hfcviz.outcome import Outcome, load_outcome
from hfcviz.reference import Reference, load_reference
from hfcviz.settings import InputError


@dataclass(frozen=True, eq=False)
class Bundle:
    """Files that belong together; each piece is read when it is first used, and then kept."""

    name: str
    folder: Path
    """Holds classifier.json, classifier.safetensors, reference.npz and, for the app's first page, first.npz."""
    source: str
    """Data set: a name in DATASETS or the path of an .npz file."""

    @cached_property
    def classifier(self) -> Classifier:
        """The network."""
        return load_model(self.folder)

    @cached_property
    def about(self) -> dict[str, Any]:
        """What is known of the network before it is loaded, which takes seconds: its "class_names", "layer_names"."""
        return describe_model(self.folder)

    @cached_property
    def dataset(self) -> Dataset:
        """The labelled images."""
        return load_dataset(self.source)

    @property
    def source_note(self) -> str:
        """What people should know of the data set, without unpacking a bundled one."""
        return DATASETS[self.source].about if self.source in DATASETS else self.dataset.about

    @cached_property
    def reference(self) -> Reference:
        """The cohort."""
        return load_reference(self.folder / "reference.npz")

    @cached_property
    def first(self) -> Outcome:
        """The finished result on which the app opens."""
        return load_outcome(self.folder / "first.npz")

    def sample(self, sample_id: str) -> tuple[np.ndarray, str]:
        """An image of the data set, float32 (C, *spatial) in [0, 1], and its true class; ids are like "test-0007"."""
        for split in self.dataset.splits.values():
            if sample_id in split.ids:
                index = split.ids.index(sample_id)
                return split.images(index)[0], self.dataset.class_names[int(split.y[index])]
        known = ", ".join(f"{split.ids[0]} to {split.ids[-1]}" for split in self.dataset.splits.values())
        raise InputError(f"A scan of {self.name} must be one of {known}; got {sample_id!r}.")


BUNDLES: dict[str, Bundle] = {
    "brain2d": Bundle("brain2d", MODELS["brain2d-resnet18"], "brain2d"),
}
"""What comes with hfcviz, by name."""


def open_bundle(name_or_path: str | Path = "brain2d") -> Bundle:
    """One of BUNDLES, or a folder with a model's two files, slices.npz and reference.npz. Nothing is read yet."""
    if str(name_or_path) in BUNDLES:
        return BUNDLES[str(name_or_path)]
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise InputError(f"A bundle must be one of {', '.join(BUNDLES)}, or a folder; got {str(name_or_path)!r}.")
    return Bundle(folder.name, folder, str(folder / "slices.npz"))
