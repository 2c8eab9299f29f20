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
from hfcviz.studies import adaptive, components, defender, direction, ood, stress, transfer
from hfcviz.studies.findings import Findings, Row, load_findings
from hfcviz.studies.lab import Lab

if TYPE_CHECKING:
    import plotly.graph_objects as go


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
    run: Callable[[Lab, Any, Lab | None, Progress], list[Row]]
    """`run(lab, settings, beside, progress)`: the rows of the table."""
    shows: Callable[[list[Row]], str]
    """One sentence on what the rows show, whatever they say."""
    shows_not: Callable[[list[Row]], str]
    """One sentence on what a reader must not conclude from them."""
    draw: Callable[[list[Row]], go.Figure]
    """The figure. Like the sentences, it is made of the rows alone."""
    alt: str
    """What the figure shows, for those who do not see it."""
    reading: str
    """How to read the figure, for those who see it: what is good, what is bad, and what its words mean."""
    beside: str = ""
    """What a second network with its own data is for; empty where the study takes none."""


STUDIES: dict[str, Study] = {
    "direction": Study(
        "Direction of the attack",
        "Does the attack's loss pull the penultimate feature the same way at every step, and does the feature go there?",
        direction.Direction(),
        direction.check,
        direction.run,
        direction.shows,
        direction.shows_not,
        direction.draw,
        "Cosines with the first step's direction over the steps of PGD and PGD+HFC: of the loss's gradient in the penultimate "
        "feature, of the same with HFC's term, and of the way that the feature has gone.",
        "1 = the same way as at the first step, 0 = at right angles to it. Bands: 95 % intervals of the mean over scans.",
        "a network of three classes or more, where the gradient may turn",
    ),
    "stress": Study(
        "Stress test of the layers",
        "How far can an attack within eps drive the mean activation of each layer, up and down?",
        stress.Stress(),
        stress.check,
        stress.run,
        stress.shows,
        stress.shows_not,
        stress.draw,
        "Relative change of every layer's mean activation over the depth of the layer, driven up and driven down within eps, with "
        "uniform noise of the same size beside it.",
        "+100% = the layer's mean activation has doubled. Bands: 95 % intervals of the mean over scans.",
        "a network trained by the same recipe on other images, natural ones say",
    ),
    "components": Study(
        title="Which setting matters",
        question="Which setting of HFC decides whether scans reach their target, and whether detectors catch them?",
        settings=components.Components(),
        check=components.check,
        run=components.run,
        shows=components.shows,
        shows_not=components.shows_not,
        draw=components.draw,
        alt="Heat map: a line for each value of each setting of HFC, a column for success and for each detector's TPR@90.",
        reading="reached = share of scans turned into their target. TPR@90 = share of attacked scans that a detector catches where it "
        "flags one clean or noisy scan in ten: the lower, the better hidden.",
    ),
    "adaptive": Study(
        title="HFC against its rivals",
        question="Does HFC hide scans better than simpler penalties at the same budget?",
        settings=adaptive.Adaptive(),
        check=adaptive.check,
        run=adaptive.run,
        shows=adaptive.shows,
        shows_not=adaptive.shows_not,
        draw=adaptive.draw,
        alt="Heat map: a line for each penalty that PGD carries, a column for its success and for each detector's AUC.",
        reading="AUC of a detector: 1 = it ranks every attacked scan above every clean and noisy one, 0.5 = chance; near 0 it is turned "
        "round and would catch the attack the other way.",
    ),
    "transfer": Study(
        title="Transfer between networks",
        question="Do examples that were made on one network fool another, and do its detectors see them?",
        settings=transfer.Transfer(),
        check=transfer.check,
        run=transfer.run,
        shows=transfer.shows,
        shows_not=transfer.shows_not,
        draw=transfer.draw,
        alt="Two tables in colours with a line for each attack and the network it was made on: how often it reaches its target "
        "or any wrong class, and the AUC of each detector.",
        reading="target = share of scans turned into their target; at source = the same on the network they were made on. AUC of a "
        "detector: 1 = it tells attacked scans perfectly, 0.5 = by chance, near 0 = turned round.",
        beside="the network on which the examples are made; the first is attacked with them and defended",
    ),
    "ood": Study(
        title="Out of distribution",
        question="Does the constraint's own score tell clean scans from occluded ones and from ones with pasted tissue?",
        settings=ood.Ood(),
        check=ood.check,
        run=ood.run,
        shows=ood.shows,
        shows_not=ood.shows_not,
        draw=ood.draw,
        alt="AUC of clean against changed scans over the size of the change, a panel for each kind of change, with a line and its "
        "95 % band for HFC's score, the mixtures' log-likelihood and the network's confidence.",
        reading="AUC: 1 = every changed scan looks more suspicious than every clean one, 0.5 = chance, below = less suspicious than clean "
        "ones. Size = diameter of the change.",
    ),
    "defender": Study(
        title="What would catch HFC?",
        question="Which defences tell attacked scans from clean and noisy ones, also under attacks that they never saw?",
        settings=defender.Defender(),
        check=defender.check,
        run=defender.run,
        shows=defender.shows,
        shows_not=defender.shows_not,
        draw=defender.draw,
        alt="Table in colours: the AUC of every defence, one a line, on every attack, one a column.",
        reading="AUC: 1 = the defence ranks every attacked scan above every clean and noisy one, 0.5 = chance. The first column is its "
        "worst attack of those that no defence has learned from. Free statistics = spread and maximum of a layer, where HFC holds its "
        "mean; typical distance = HFC that stops where clean scans lie.",
    ),
}
"""By name, in the order of the page."""


def perform(
    name: str, lab: Lab, settings: Settings | None = None, beside: Lab | None = None, *, progress: Progress = silent
) -> Findings:
    """Carry out a study. InputError, before any work, for an unknown name or a study that cannot be run.

    beside: a second network with its own data, for studies that take one.
    """
    chosen: Any = STUDIES[name].settings if settings is None and name in STUDIES else settings
    check(name, lab, chosen, beside)
    study = STUDIES[name]
    rows = study.run(lab, chosen, beside, progress)
    progress(1, name)
    return Findings(name, rows, study.shows(rows), study.shows_not(rows), recipe_of(lab, chosen, beside))


def check(name: str, lab: Lab, settings: Settings | None, beside: Lab | None) -> None:
    """InputError, at once, for an unknown name or a study that cannot be run."""
    if name not in STUDIES:
        raise InputError(f"A study must be one of {', '.join(STUDIES)}; got {name!r}.")
    study = STUDIES[name]
    if beside is not None and not study.beside:
        raise InputError(f"The study {name} takes no second network, but got {beside.classifier.name}: leave it out.")
    _check_data(lab)
    if beside is not None:
        _check_data(beside)
    study.check(lab, settings, beside)


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
