"""Every term that the pages and the tour use, in plain words, with its source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hfcviz.attacks import Attack
from hfcviz.detectors import DETECTORS
from hfcviz.penalties import HFC
from hfcviz.settings import help_of

HFC_PAPER = "Yao et al., IEEE TMI 2024, arxiv.org/abs/2312.01679"


@dataclass(frozen=True)
class Term:
    """What a word means, and who introduced it where that matters."""

    text: str
    source: str = ""


def _detector(name: str) -> Term:
    """A detector, as its class describes itself: one sentence, and behind a blank line its source and what we do differently."""
    what, _, rest = (type(DETECTORS[name]).__doc__ or "").partition("\n\n")
    return Term(f"Detector. {_line(what)}", _line(rest).rstrip("."))


def _line(text: str) -> str:
    return " ".join(text.split())


GLOSSARY: dict[str, Term] = {
    # What is attacked
    "adversarial example": Term(
        "An image changed on purpose, too little for people to notice, so that a network puts it into another class.",
        "Szegedy et al. 2014, arxiv.org/abs/1312.6199",
    ),
    "targeted attack": Term(
        "An attack that aims at one class: with two classes the other one, else the runner-up or a class of your choice."
    ),
    "target": Term("The class that the attacked scan shall be taken for."),
    "eps": Term(
        f"{help_of(Attack, 'eps')} At 8/255 a pixel changes by at most 3.1 % of the range from black to white."
    ),
    "L-inf ball": Term(
        "All images in which no pixel differs from the scan's by more than eps. An attack may go anywhere in it and is brought "
        "back to its edge where it leaves it."
    ),
    "step size": Term(help_of(Attack, "step_size")),
    "random start": Term(f"{help_of(Attack, 'random_start')} The ball is the L-inf ball of radius eps."),
    "momentum": Term(help_of(Attack, "momentum"), "Dong et al. 2018, arxiv.org/abs/1710.06081"),
    "input diversity": Term(help_of(Attack, "diversity"), "Xie et al. 2019, arxiv.org/abs/1803.06978"),
    "gradient smoothing": Term(help_of(Attack, "smoothing"), "Dong et al. 2019, arxiv.org/abs/1904.02884"),
    "cross-entropy": Term(
        "What networks are trained with and most attacks minimise: the negative logarithm of the target's probability. It never reaches "
        "zero, so there is always a reason to go on."
    ),
    "margin loss": Term(
        "How far the best other class's logit lies above the target's. It is satisfied once the target leads.",
        "Carlini & Wagner 2017, arxiv.org/abs/1608.04644",
    ),
    "FGSM": Term(
        "Attack: one step of size eps along the sign of the gradient.",
        "Goodfellow et al. 2015, arxiv.org/abs/1412.6572",
    ),
    "BIM": Term("Attack: many small FGSM steps, kept within eps.", "Kurakin et al. 2017, arxiv.org/abs/1607.02533"),
    "PGD": Term("Attack: BIM from a random start in the whole ball.", "Madry et al. 2018, arxiv.org/abs/1706.06083"),
    "MIM": Term(
        "Attack: BIM that keeps the direction of past gradients (momentum).",
        "Dong et al. 2018, arxiv.org/abs/1710.06081",
    ),
    "DIM": Term(
        "Attack: BIM that looks at a slightly shrunken and shifted copy in half of its steps.",
        "Xie et al. 2019, arxiv.org/abs/1803.06978",
    ),
    "TIM": Term(
        "Attack: BIM with a gradient smoothed over neighbouring pixels, so that its changes are smoother too.",
        "Dong et al. 2019, arxiv.org/abs/1904.02884",
    ),
    "C&W": Term(
        "Attack: the margin loss in place of the cross-entropy, here with L-inf steps as in the HFC paper.",
        "Carlini & Wagner 2017, arxiv.org/abs/1608.04644",
    ),
    "seed": Term("The number from which all chance of a run follows. Same seed, same result."),
    # What hides it
    "HFC": Term(
        "Hierarchical feature constraint: a term added to any attack that pulls the pooled features of every layer to the most likely "
        "component of the target class's clean mixture.",
        HFC_PAPER,
    ),
    "none": Term("As a constraint: the attack alone, without one."),
    "constraint": Term(
        "What the second attack is bound to besides eps, at equal eps, step size and steps. Also called a penalty."
    ),
    "weight": Term(help_of(HFC, "weight")),
    "regularisation": Term(
        f"{help_of(HFC, 'regularisation')} Without it a covariance from few scans cannot be inverted."
    ),
    "equal budget": Term(
        "Attacks are compared at the same eps, step size, number of steps, targets and seeds. All else would favour one."
    ),
    "adaptive attack": Term(
        "An attack made for the defence that it meets. A defence counts only once such attacks have been tried against it.",
        "Carlini & Wagner 2017, arxiv.org/abs/1705.07263",
    ),
    "semi-white-box": Term(
        "The attacker knows the network and clean training data, but not the detectors. HFC is such an attack.",
        HFC_PAPER,
    ),
    # What is looked at
    "layer": Term("A part of the network whose output is observed: here all block outputs, in order of depth."),
    "pooled feature": Term(
        "The mean of each channel of a layer's output over all places of the image: one number a channel."
    ),
    "penultimate feature": Term(
        "The pooled feature of the last layer before the classes are told apart. The last step is a linear one."
    ),
    "logit": Term("A class's score before it becomes a probability."),
    "confidence": Term(
        "The probability that the network gives to a class; here mostly the target's. It says how sure, not how right."
    ),
    "Gaussian mixture": Term(
        "A density made of one or more Gaussians, here fitted to the clean features of one class in one layer."
    ),
    "component": Term(f"One Gaussian of a mixture. {help_of(HFC, 'components')}"),
    "Mahalanobis distance": Term(
        "Distance from a mean, measured in the spread of the data in that direction. Its square is what HFC minimises.",
        "Mahalanobis 1936",
    ),
    "log-likelihood": Term(
        "The logarithm of the density at a point. Low: few clean scans look like this. The figures show its negative, scaled so that 0 is "
        "the clean median and 1 the clean 95 % quantile."
    ),
    "PCA": Term(
        "Projection onto the two directions in which clean scans vary most. A straight shadow: distances can only shrink.",
        "Pearson 1901; Jolliffe 2002",
    ),
    "t-SNE": Term(
        "Projection that keeps near neighbours near. Distances between groups, and their sizes, mean little.",
        "van der Maaten & Hinton 2008, jmlr.org/papers/v9/vandermaaten08a.html",
    ),
    "UMAP": Term(
        "Projection that keeps a graph of neighbours. Distances between groups mean little, and it has a seed.",
        "McInnes et al. 2018, arxiv.org/abs/1802.03426",
    ),
    "trustworthiness": Term(
        "How many of a point's neighbours in the picture are neighbours in all dimensions too: 1 is all of them.",
        "Venna & Kaski 2001",
    ),
    # Who notices
    "detector": Term("A rule that gives a scan a score from the network's features. Higher is more suspicious."),
    "threshold": Term(
        "The score above which a scan is flagged: the 90 % quantile of clean validation scans, so one in ten of them is."
    ),
    "verdict": Term("Caught or passes: whether a detector's score lies above its threshold."),
    **{name: _detector(name) for name in DETECTORS},
    # How it is measured
    "roles": Term(
        "The versions of a scan. Clean: as it is. Noise: with random changes of the attack's size, which must not be flagged. "
        "Attack: without the constraint. Hidden: the same attack with it. Each has one colour and one marker everywhere."
    ),
    "cohort": Term("All test scans that are attacked and judged together."),
    "reference": Term("The cohort that comes with a network, on which its detectors were trained and judged."),
    "success": Term("Share of attacked scans that the network puts into the attack's target class."),
    "ROC curve": Term("Attacks caught against clean and noisy scans flagged, for every threshold."),
    "AUC": Term(
        "Area under the ROC curve: the chance that an attack scores above a clean or noisy scan. 0.5 is blind, 1 perfect."
    ),
    "two-sided AUC": Term(
        "The larger of AUC and 1 − AUC: what a test would reach that flags scores that are too low as well."
    ),
    "inverted detector": Term(
        "A detector with an AUC far below 0.5: it finds attacks more typical than clean scans. Not blind: read the other way round, it "
        "still tells them apart."
    ),
    "TPR@90": Term("Share of attacks caught when one in ten of the clean and noisy scans is flagged."),
    "bootstrap interval": Term(
        "The range in which 95 % of the results fall when scans are drawn again with replacement. Few scans, wide interval.",
        "Efron 1979",
    ),
    "Wilson interval": Term(
        "The range in which the share lies that all scans would have, as far as these few tell. All of 30 scans: 89 % to 100 %.",
        "Wilson 1927",
    ),
    # Scans
    "window": Term(
        "Which values are drawn black and white. Level is its middle, width its extent. It changes what you see, not the scan."
    ),
    "HU": Term("Hounsfield units, the scale of CT: water is 0, air −1000."),
    "spacing": Term("Distance between the centres of neighbouring pixels or slices, in mm."),
    "radiological convention": Term("The patient's right is shown on the left, as if one looked from the feet."),
    "permalink": Term("An address that opens the same view again, without any data of patients in it."),
    "recipe": Term(
        "All that a result depends on: scan, weights, settings, seed and versions. With it the result can be made again."
    ),
}
"""Terms by the name under which they are listed."""


def find(words: str, terms: Mapping[str, Term] = GLOSSARY) -> dict[str, Term]:
    """Terms whose name or text has words that begin so, those by name first; all of them, by the alphabet, where nothing is asked for."""
    wanted = [re.compile(rf"(?<!\w){re.escape(word)}") for word in words.casefold().split()]

    def has(text: str) -> bool:
        return all(word.search(text.casefold()) for word in wanted)

    found = [name for name, term in terms.items() if has(f"{name} {term.text}")]
    found.sort(key=lambda name: (not has(name), name.casefold()))
    return {name: terms[name] for name in found}


def anchor(name: str) -> str:
    """A term's place in the page's address: "two-sided AUC" is "two-sided-auc"."""
    return re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")
