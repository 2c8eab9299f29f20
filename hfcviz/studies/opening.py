"""From the names of a model and a data set to a laboratory, with what people need not say filled in."""

from __future__ import annotations

from pathlib import Path

from hfcviz.bundle import BUNDLES, Bundle
from hfcviz.datasets import load_dataset
from hfcviz.models import MODELS, load_model
from hfcviz.settings import InputError, Progress, silent
from hfcviz.store import Store
from hfcviz.studies.lab import Lab
from hfcviz.studies.pieces import Budget

DEFAULT = "brain2d-resnet18"
"""The model that is studied where nobody names one."""


def bundle_of(model: str) -> Bundle | None:
    """The bundle whose network this is; None for any other model."""
    folder = MODELS.get(model, Path(model))
    return next((one for one in BUNDLES.values() if one.folder == folder), None)


def usual_eps(bundle: Bundle | None) -> float:
    """The eps at which a bundle's cohort was attacked, a fraction of the range; for other models that of any Budget."""
    return float(bundle.reference.recipe["attack"]["eps"]) if bundle is not None else Budget().eps


def usual_dataset(model: str, otherwise: str) -> str:
    """The data set of a model's bundle; `otherwise` for other models. InputError where the bundle comes without images."""
    bundle = bundle_of(model)
    if bundle is None:
        return otherwise
    if bundle.source is None:
        raise InputError(f"There are no images of {bundle.title} here: name its data set. {bundle.note}")
    return bundle.source


def open_lab(model: str, dataset: str, budget: Budget, store: Store, *, progress: Progress = silent) -> Lab:
    """A laboratory for a model and a data set, each a name or a path. InputError where one is missing or damaged."""
    classifier = load_model(model)
    return Lab(classifier, load_dataset(dataset, fit=classifier.input_shape, progress=progress), budget, store)
