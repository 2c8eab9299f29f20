"""Defences against HFC, fitted and asked for their scores: what each looks at, what it learns from, which side it flags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hfcviz.activations import Activations, concatenate, extract
from hfcviz.attacks import Attack
from hfcviz.detection import Fitted, Training, fit_detectors
from hfcviz.detectors import DETECTORS
from hfcviz.metrics import percentile_rank
from hfcviz.penalties import HFC
from hfcviz.reference import noisy, shares
from hfcviz.settings import Progress, silent
from hfcviz.store import Arrays
from hfcviz.studies.attackers import ATTACKERS, Typical
from hfcviz.studies.lab import Lab
from hfcviz.studies.squeezing import LARGEST, SQUEEZES, distances

MEANS, FREE, INPUTS = "means", "free statistics", "inputs"
SQUEEZING = "image transforms"
TAUGHT = tuple(
    name for name, one in DETECTORS.items() if one.rule in ("regression", "mean") or name in ("SVM", "KD+BU")
)
"""Detectors that learn from attacked scans; KD and BU learn from clean ones alone."""
SQUEEZED = (*SQUEEZES, LARGEST)
OF_LAYERS = tuple(name for name, one in DETECTORS.items() if "dropout" not in one.rule)
"""Detectors that look at layers and nothing else."""


@dataclass(frozen=True)
class Defence:
    """A family of defences, one for each detector in it."""

    about: str
    """For people, the heading above its detectors."""
    detectors: tuple[str, ...]
    """Those that it makes a difference to."""
    sees: str = MEANS
    """Means: of every layer over space, which HFC constrains; free statistics: spread and largest value of the same
    layers; inputs: the images.
    """
    taught: tuple[str, ...] = ("PGD",)
    """The attacks that it learns from."""
    two_sided: bool = False
    """Whether a score that is too low for a clean scan is suspicious as well."""
    joined: bool = False
    """Whether a scan that image transforms find suspicious is so as well."""


BOTH = ("PGD", "PGD+HFC")
UNCHANGED = "as they are"
DEFENCES: dict[str, Defence] = {
    UNCHANGED: Defence("Detectors as they are, trained on PGD", tuple(DETECTORS)),
    "two-sided": Defence(
        "Two-sided: scores too low for a clean scan are flagged as well", tuple(DETECTORS), two_sided=True
    ),
    "trained on HFC": Defence("Trained on PGD+HFC as well as PGD", TAUGHT, taught=BOTH),
    "free statistics": Defence(
        "Free statistics: spread and maximum of each layer, which HFC leaves free, in place of its mean",
        OF_LAYERS,
        FREE,
    ),
    "free statistics two-sided": Defence("Free statistics, two-sided", OF_LAYERS, FREE, two_sided=True),
    "free statistics trained on HFC": Defence(
        "Free statistics, trained on PGD+HFC as well as PGD",
        tuple(name for name in OF_LAYERS if name in TAUGHT),
        FREE,
        taught=BOTH,
    ),
    SQUEEZING: Defence(
        "Image transforms: how far probabilities move when the image is simplified", SQUEEZED, INPUTS, taught=()
    ),
    # Conceived after a first run on the brain slices, where detectors and transforms missed different attacks: other data test it.
    "detector or transforms": Defence(
        "Detector or image transforms: the more suspicious of the two", tuple(DETECTORS), joined=True
    ),
}
"""By name."""


def off_centre(scores: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """How far scores (N,) lie from the middle of the clean ones (n,), on either side: |percentile rank - 50|.

    Beyond all clean scores, where ranks end, it goes on by the distance from them, as a share of that side's width.
    """
    return np.maximum(above(scores, calibration), above(-scores, -calibration)) - 50


def above(scores: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """The percentile rank of scores (N,) among the clean ones (n,), which goes on beyond the highest of them by the
    distance from it, as a share of the distance between it and the median.
    """
    middle, high = np.quantile(calibration, [0.5, 1])
    return percentile_rank(scores, calibration) + np.maximum(scores - high, 0) / ((high - middle) or 1.0)


def widened(lab: Lab) -> Lab:
    """The same laboratory with a network that tells the free statistics of its layers too."""
    wide: Lab = lab.once(
        "widened", [], lambda: Lab(lab.classifier.seeing("spread", "largest"), lab.dataset, lab.budget, lab.store)
    )
    return wide


def pictures(lab: Lab, what: str, progress: Progress = silent) -> Tensor:
    """(N, C, *spatial) images: "calibration", which are the clean validation scans, or the chosen scans "clean", with
    "noise", or attacked by one of ATTACKERS.
    """
    if what == "calibration":
        return torch.from_numpy(lab.dataset.splits["val"].images(slice(None)))
    chosen = lab.chosen()
    if what == "clean":
        return chosen.x
    if what == "noise":
        return noisy(chosen.x, lab.budget.eps, chosen.seeds)
    attack, carried = _recipe(lab, what)
    return (widened(lab) if ATTACKERS[what].free else lab).images(attack, carried, progress=progress)


def _recipe(lab: Lab, name: str) -> tuple[Attack, HFC | Typical | None]:
    one = ATTACKERS[name]
    return one.attack(lab.budget.eps, lab.budget.steps), one.carried(lab.classifier.layer_names)


def seen(lab: Lab, sees: str, what: str, progress: Progress = silent) -> Activations:
    """Means or free statistics of the network's layers on the same images, or on those of "train"."""
    one = ATTACKERS.get(what)
    knows = one is not None and one.free
    at = lab if sees == MEANS and not knows else widened(lab)
    if what == "train":
        found = at.features("train", progress)
    elif what == "calibration":
        found = at.features("val", progress)
    elif what == "clean":
        found = at.chosen(progress).clean
    elif what == "noise":
        found = at.noise(lab.budget.eps, progress).seen
    elif sees == MEANS or knows:
        attack, carried = _recipe(lab, what)
        found = at.version(attack, carried, progress=progress).seen
    else:
        arrays = lab.kept(
            "free statistics",
            _parts(lab, what),
            lambda: extract(at.classifier, pictures(lab, what), progress=progress).to_arrays("seen"),
        )
        found = Activations.from_arrays(arrays, "seen")
    names = [name for name in found.layers if (name in lab.classifier.layer_names) == (sees == MEANS)]
    return Activations(
        found.logits, {name: found.layers[name] for name in names}, found.dropout if sees == MEANS else None
    )


def fitted(lab: Lab, defence: Defence, progress: Progress = silent) -> dict[str, Fitted]:
    """The defence's detectors, trained on the scans that train, clean, with noise and under the attacks it learns from."""

    def make() -> dict[str, Fitted]:
        trains = np.flatnonzero(lab.chosen().trains)

        def part(*kinds: str) -> Activations:
            return concatenate([seen(lab, defence.sees, kind).take(trains) for kind in kinds])

        training = Training(
            clean=seen(lab, defence.sees, "train"),
            labels=lab.labels,
            negatives=part("clean", "noise"),
            adversarial=part(*defence.taught),
            calibration=seen(lab, defence.sees, "calibration"),
        )
        return fit_detectors(training, detectors_of(lab, defence), seed=lab.budget.seed, progress=progress)

    if defence.sees == MEANS and defence.taught == ("PGD",):
        return lab.detectors(lab.budget.attack, progress)
    found: dict[str, Fitted] = lab.once("defence", [defence.sees, defence.taught, defence.detectors], make)
    return found


def detectors_of(lab: Lab, defence: Defence) -> tuple[str, ...]:
    """Those that the network can have: without dropout there is no BU."""
    known = lab.detector_names()
    return tuple(name for name in defence.detectors if name in known or name not in DETECTORS)


def scores(lab: Lab, defence: Defence, what: str, progress: Progress = silent) -> Arrays:
    """{detector: scores}, higher is more suspicious: of all calibration scans (n,), else of the scans that judge (N,)."""
    found, calibration = (_scores(lab, defence, kind, progress) for kind in (what, "calibration"))
    if defence.two_sided:
        return {name: off_centre(values, calibration[name]) for name, values in found.items()}
    if defence.joined:
        squeezed, usual = (_scores(lab, DEFENCES[SQUEEZING], kind, progress)[LARGEST] for kind in (what, "calibration"))
        other = above(squeezed, usual)
        return {name: np.maximum(above(values, calibration[name]), other) for name, values in found.items()}
    return found


def _scores(lab: Lab, defence: Defence, what: str, progress: Progress) -> Arrays:
    share = shares(progress, {"look": 0.5, "judge": 0.5})

    def make() -> Arrays:
        if defence.sees == INPUTS:
            found = distances(lab.classifier, pictures(lab, what, share("look")), progress=share("judge"))
        else:
            looked = seen(lab, defence.sees, what, share("look"))
            detectors = fitted(lab, defence, share("judge"))
            found = {name: detectors[name].score(looked) for name in detectors_of(lab, defence)}
        judges = slice(None) if what == "calibration" else np.flatnonzero(~lab.chosen().trains)
        return {name: values[judges] for name, values in found.items()}

    return lab.kept("defence scores", [defence.sees, defence.taught, defence.detectors, _parts(lab, what)], make)


def _parts(lab: Lab, what: str) -> list[object]:
    budget = lab.budget
    named = what not in ATTACKERS
    made = what if named else ATTACKERS[what].as_dict(budget.eps, budget.steps, lab.classifier.layer_names)
    return [budget.as_dict(), made]
