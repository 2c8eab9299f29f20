"""Bundles: a model with its reference cohort, its published runs and, where they may be shipped, its images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hfcviz.classifiers import Classifier
from hfcviz.cohort import Judged
from hfcviz.datasets import DATASETS, Dataset, load_dataset
from hfcviz.models import MODELS, describe_model, load_model
from hfcviz.outcome import Outcome, load_outcome
from hfcviz.penalties import load_constraint
from hfcviz.projections import Embedding
from hfcviz.reference import Reference, load_reference
from hfcviz.runs import Runs, load_judged
from hfcviz.settings import InputError
from hfcviz.store import load_arrays


@dataclass(frozen=True, eq=False)
class Bundle:
    """Files that belong together; each piece is read when it is first used, and then kept."""

    name: str
    title: str
    """What people call the task."""
    folder: Path
    """Holds classifier.json, classifier.safetensors, reference.npz, if fitted mixtures.npz; for the app's first page first.npz and its maps
    embeddings.npz; published runs in runs/.
    """
    source: str | None
    """Data set: a name in DATASETS or the path of an .npz file; None where the images are not part of the bundle."""
    note: str = ""
    """What people should know of images that are not part of it: what they are, and where they come from."""

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
        """The labelled images. InputError where they are not part of the bundle."""
        if self.source is None:
            raise InputError(f"There are no images of {self.title} here: name a file. {self.note}")
        return load_dataset(self.source)

    @cached_property
    def held_out(self) -> Dataset:
        """The same of the test part alone, which is all that people are shown; unpacked in a fifth of the time."""
        if self.source is None or "dataset" in vars(self):
            return self.dataset
        return load_dataset(self.source, parts=("test",))

    @property
    def source_note(self) -> str:
        """What people should know of the data set, without unpacking a bundled one."""
        if self.source is None:
            return self.note
        return DATASETS[self.source].about if self.source in DATASETS else self.dataset.about

    @property
    def affine(self) -> np.ndarray | None:
        """Of the data set's grid, (4, 4) to RAS+ mm, without unpacking it; None where it is not known."""
        return DATASETS[self.source].affine if self.source in DATASETS else None

    def affine_of(self, scan_name: str) -> np.ndarray | None:
        """The same for one scan, and None for a scan that is not of the cohort: who knows how its patient lies."""
        return self.affine if scan_name in self.reference.ids else None

    @cached_property
    def reference(self) -> Reference:
        """The cohort, with the mixtures of the constraint where they lie beside it."""
        found, mixtures = load_reference(self.folder / "reference.npz"), self.folder / "mixtures.npz"
        if not mixtures.is_file():
            return found
        fitted, made_for = load_constraint(mixtures)
        if made_for != found.digest:
            raise InputError(f"{mixtures} belongs to another cohort than the reference.npz beside it: make both again.")
        return found.knowing(fitted)

    @cached_property
    def first(self) -> Outcome | None:
        """The finished result on which the app opens, where there is one."""
        path = self.folder / "first.npz"
        return load_outcome(path) if self.source is not None or path.is_file() else None

    @cached_property
    def maps(self) -> dict[str, Embedding]:
        """Ready positions of the first result, {"UMAP layer1.0": ...}; none where there is no such file."""
        path = self.folder / "embeddings.npz"
        if not path.is_file():
            return {}
        arrays, about = load_arrays(path)
        return {name: Embedding.of(xy, about[name], exact=name.startswith("PCA ")) for name, xy in arrays.items()}

    @cached_property
    def judged(self) -> Judged | None:
        """What the detectors say of the cohort, without its features, where it lies beside it."""
        path = self.folder / "judged.npz"
        if not path.is_file():
            return None
        found = load_judged(path)
        if found.recipe.get("cohort") != self.reference.digest:
            raise InputError(f"{path} belongs to another cohort than the reference.npz beside it: make both again.")
        return found

    @cached_property
    def runs(self) -> Runs:
        """The published runs; none of them where there is no such folder."""
        return Runs(self.folder / "runs")


BUNDLES: dict[str, Bundle] = {
    "brain2d": Bundle("brain2d", "Brain MRI (simulated)", MODELS["brain2d-resnet18"], "brain2d"),
    "brain3d": Bundle("brain3d", "Brain MRI, 3-D (simulated)", MODELS["brain3d-densenet"], "brain3d"),
    "chest": Bundle(
        "chest",
        "Chest X-ray (pneumonia)",
        MODELS["chest-resnet18"],
        None,
        "The network knows the paediatric chest X-rays of Kermany et al. 2018 (https://doi.org/10.17632/rscbjbr9sj, CC BY "
        "4.0), which do not come with hfcviz.",
    ),
}
"""What comes with hfcviz, by name."""


def open_bundle(name_or_path: str | Path = "brain2d") -> Bundle:
    """One of BUNDLES, or a folder with a model's two files, slices.npz (or volumes.npz) and reference.npz. Nothing is read yet."""
    if str(name_or_path) in BUNDLES:
        return BUNDLES[str(name_or_path)]
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise InputError(f"A bundle must be one of {', '.join(BUNDLES)}, or a folder; got {str(name_or_path)!r}.")
    images = "volumes.npz" if (folder / "volumes.npz").is_file() else "slices.npz"
    return Bundle(folder.name, folder.name, folder, str(folder / images))
