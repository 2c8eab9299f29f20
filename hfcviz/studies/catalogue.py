"""All studies by name, and how one is carried out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfcviz import __version__
from hfcviz.bundle import Bundle
from hfcviz.settings import InputError, Progress, Settings, silent
from hfcviz.studies import adaptive, components
from hfcviz.studies.findings import Findings, Row, load_findings
from hfcviz.studies.lab import Lab

if TYPE_CHECKING:
    import plotly.graph_objects as go

Told = tuple[list[Row], str, str]
"""The rows of the table, a sentence on what they show and one on what they do not."""


@dataclass(frozen=True)
class Study:
    """An experiment: what it asks, its own settings, and the functions that refuse, run and draw it."""

    title: str
    question: str
    """One sentence for people."""
    settings: Settings
    """Its own, with their defaults; what all studies are given is a Budget."""
    check: Callable[[Lab, Any, Lab | None], None]
    """`check(lab, settings, beside)`: InputError, before any work, when it cannot be run, with the reason and the way out."""
    run: Callable[[Lab, Any, Lab | None, Progress], Told]
    """`run(lab, settings, beside, progress)`."""
    draw: Callable[[list[Row]], go.Figure]
    """The figure, of the rows alone."""
    alt: str
    """What the figure shows, for those who do not see it."""
    beside: str = ""
    """What a second network with its own data is for; empty where the study takes none."""


STUDIES: dict[str, Study] = {
    "components": Study(
        title="Which setting matters",
        question="Which setting of HFC decides whether scans reach their target, and whether detectors catch them?",
        settings=components.Components(),
        check=components.check,
        run=components.run,
        draw=components.draw,
        alt="Heat map: a line for each value of each setting of HFC, a column for success and for each detector's TPR@90.",
    ),
    "adaptive": Study(
        title="HFC against its rivals",
        question="Does HFC hide scans better than simpler penalties at the same budget?",
        settings=adaptive.Adaptive(),
        check=adaptive.check,
        run=adaptive.run,
        draw=adaptive.draw,
        alt="Heat map: a line for each penalty that PGD carries, a column for its success and for each detector's AUC.",
    ),
}
"""By name, in the order of the page."""


def perform(
    name: str, lab: Lab, settings: Settings | None = None, beside: Lab | None = None, *, progress: Progress = silent
) -> Findings:
    """Carry out a study. InputError, before any work, for an unknown name or a study that cannot be run.

    beside: a second network with its own data, for studies that take one.
    """
    if name not in STUDIES:
        raise InputError(f"A study must be one of {', '.join(STUDIES)}; got {name!r}.")
    study = STUDIES[name]
    chosen = study.settings if settings is None else settings
    if beside is not None and not study.beside:
        raise InputError(f"The study {name} takes no second network, but got {beside.classifier.name}: leave it out.")
    _check_data(lab)
    if beside is not None:
        _check_data(beside)
    study.check(lab, chosen, beside)
    rows, shows, shows_not = study.run(lab, chosen, beside, progress)
    progress(1, name)
    return Findings(name, rows, shows, shows_not, recipe_of(lab, chosen, beside))


def recipe_of(lab: Lab, settings: Settings, beside: Lab | None) -> dict[str, Any]:
    """All that findings depend on, in plain values."""
    packages = ("torch", "monai", "scikit-learn", "numpy")
    labs = {"lab": lab} if beside is None else {"lab": lab, "beside": beside}
    return {
        "settings": settings.as_dict(),
        **{
            what: {
                "dataset": one.dataset.name,
                "model": one.classifier.name,
                "weights": one.classifier.digest,
                "budget": one.budget.as_dict(),
            }
            for what, one in labs.items()
        },
        "versions": {"hfcviz": __version__} | {package: version(package) for package in packages},
    }


def published(bundle: Bundle, name: str) -> Findings | None:
    """The published findings of a study on a bundle; None where there are none. InputError when they are damaged."""
    path: Path = bundle.folder / "studies" / f"{name}.json"
    return load_findings(path) if path.is_file() else None


def _check_data(lab: Lab) -> None:
    from hfcviz.protocol import Protocol, check_dataset

    check_dataset(lab.dataset, lab.classifier, Protocol(penalties=("none",)))
    if len(lab.classifier.class_names) < 2:
        raise InputError(
            f"A study needs a network of two classes or more; {lab.classifier.name} knows one: choose another."
        )
