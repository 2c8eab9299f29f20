"""Detectors of adversarial samples: each sees one layer's pooled features; higher scores are more suspicious.

A detector is its settings; `fit` gives a function from features and predicted classes to scores. How the scores of all
layers become one verdict is written once, in `detection`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from hfcviz.settings import InputError, Settings, setting

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`score(z, classes)`: features (N, C) float64 and predicted classes (N,) to scores (N,), each row on its own."""


@dataclass(frozen=True, eq=False)
class LayerTraining:
    """One layer's features (n, C) float64; classes: the clean ones by true class; predicted: those of calibration."""

    classes: list[np.ndarray]
    negatives: np.ndarray
    adversarial: np.ndarray
    calibration: np.ndarray
    predicted: np.ndarray
    seed: int


@dataclass(frozen=True)
class KD(Settings):
    """Kernel density: negative log-density of the features under the clean samples of the predicted class.

    Feinman et al. 2017, arxiv.org/abs/1703.00410. Where we differ: held-out likelihood finds each layer's bandwidth.
    """

    rule: ClassVar = "last"
    bandwidth: float | None = setting(
        None, "Kernel width / median distance. Automatic: likeliest held out.", least=1e-3, most=10, advanced=True
    )

    def fit(self, part: LayerTraining) -> Score:
        def of_squares(squares: np.ndarray, width: float) -> np.ndarray:
            exponents = squares / (-2 * width**2)
            top = exponents.max(1)  # far from all data the plain sum would be zero
            exponents -= top[:, None]
            # Beside the largest, which is 1 now, exp(-700) is nothing; what is less would take the processor fifteen times as long.
            np.exp(np.maximum(exponents, -700, out=exponents), out=exponents)
            norm = part.calibration.shape[1] * math.log(width * math.sqrt(2 * math.pi))
            return top + np.log(exponents.mean(1)) - norm

        held_out = [_squares(part.calibration[part.predicted == c], part.classes[c]) for c in np.unique(part.predicted)]
        median = math.sqrt(float(np.median(np.concatenate([squares.ravel() for squares in held_out])))) or 1.0
        widths = median * (np.geomspace(0.01, 1, 21) if self.bandwidth is None else np.array([self.bandwidth]))
        best = max(widths, key=lambda width: sum(of_squares(squares, width).sum() for squares in held_out))

        def log_density(rows: np.ndarray, z: np.ndarray) -> np.ndarray:
            return of_squares(_squares(z, rows), best)

        return _surprise([partial(log_density, rows) for rows in part.classes])


@dataclass(frozen=True)
class BU(Settings):
    """Bayesian uncertainty: variance of the probabilities over dropout passes, summed over classes; of no layer.

    Feinman et al. 2017, arxiv.org/abs/1703.00410.
    """

    rule: ClassVar = "dropout"


@dataclass(frozen=True)
class KDBU(KD):
    """Kernel density at the penultimate layer and dropout uncertainty, joined by a logistic regression.

    Feinman et al. 2017, arxiv.org/abs/1703.00410.
    """

    rule: ClassVar = "last+dropout"


@dataclass(frozen=True)
class LID(Settings):
    """Local intrinsic dimensionality among clean samples of all classes: -1 / mean(log(r_i / r_k)) over the k nearest.

    Ma et al. 2018, arxiv.org/abs/1801.02613. Where we differ: one fixed clean reference in place of random minibatches,
    so that a score does not depend on its batch.
    """

    rule: ClassVar = "regression"
    k: int = setting(20, "Number of nearest clean samples.", label="Neighbours k", least=2, most=1000)

    def fit(self, part: LayerTraining) -> Score:
        clean, k = np.concatenate(part.classes), self.k
        if len(clean) <= k:
            rule = "LID.k must be smaller than the number of clean images"
            raise InputError(f"{rule}; got {k} for {len(clean)}: lower k or add images.")

        def score(z: np.ndarray, classes: np.ndarray) -> np.ndarray:
            nearest = np.argpartition(_squares(z, clean), k, axis=1)[:, : k + 1].T
            # The chosen few again by plain differences: _squares is inexact near zero, where the logarithm is steep.
            r = np.sort(np.sqrt([np.square(clean[i] - z).sum(1) for i in nearest]), axis=0)
            least = 1e-4 * np.maximum(r[-1], 1e-300)
            # A sample in the reference is no neighbour of itself, though its copy may differ by rounding.
            r = np.maximum(np.where(r[0] <= least, r[1:], r[:-1]), least)
            return -1 / np.minimum(np.log(r / r[-1]).mean(0), -1e-4)

        return score


@dataclass(frozen=True)
class MAHA(Settings):
    """Squared Mahalanobis distance to the nearest class mean, with one covariance for all classes.

    Lee et al. 2018, arxiv.org/abs/1807.03888. Where we differ: the covariance is shrunk (Ledoit and Wolf 2004,
    doi.org/10.1016/S0047-259X(03)00096-4), and the input is not preprocessed by a gradient step.
    """

    rule: ClassVar = "regression"

    def fit(self, part: LayerTraining) -> Score:
        from sklearn.covariance import ledoit_wolf

        means = [rows.mean(0) for rows in part.classes]
        centred = np.concatenate([rows - mean for rows, mean in zip(part.classes, means, strict=True)])
        values, vectors = np.linalg.eigh(ledoit_wolf(centred, assume_centered=True)[0])
        least = 1e-8 * values.mean() or 1.0  # a layer of dead channels varies nowhere
        whiten = vectors / np.sqrt(np.maximum(values, least))
        return lambda z, classes: np.min([np.square((z - mean) @ whiten).sum(1) for mean in means], axis=0)


@dataclass(frozen=True)
class SVM(Settings):
    """Support vector machine with a Gaussian kernel on standardised features, negatives against adversarial.

    SafetyNet, Lu et al. 2017, arxiv.org/abs/1704.00103. Where we differ: continuous features, not quantised codes.
    """

    rule: ClassVar = "last"
    cost: float = setting(1.0, "Cost of a training sample on the wrong side (C).", least=1e-3, most=1e3, advanced=True)

    def fit(self, part: LayerTraining) -> Score:
        from sklearn.svm import SVC

        decide = standardised(SVC(C=self.cost, class_weight="balanced"), part.negatives, part.adversarial)
        return lambda z, classes: decide(z)


@dataclass(frozen=True)
class DNN(Settings):
    """A small neural network on standardised features, negatives against adversarial; its logit, averaged over layers.

    Metzen et al. 2017, arxiv.org/abs/1702.04267. Where we differ: pooled features in place of whole feature maps.
    """

    rule: ClassVar = "mean"
    hidden: int = setting(32, "Hidden units.", least=1, most=1024, advanced=True)
    epochs: int = setting(40, "Passes over the training samples.", least=1, most=1000, advanced=True)

    def fit(self, part: LayerTraining) -> Score:
        from sklearn.neural_network import MLPClassifier
        from sklearn.preprocessing import StandardScaler

        z, adversarial = _supervised(part.negatives, part.adversarial)
        scaler = StandardScaler().fit(z)
        rounds = {"batch_size": min(64, len(z)), "max_iter": self.epochs}
        net = MLPClassifier((self.hidden,), alpha=1e-2, random_state=part.seed, **rounds)
        _fit_quietly(net, scaler.transform(z), adversarial)
        (first, second), (bias, offset) = net.coefs_, net.intercepts_
        # By hand, since the network gives only the probability, where confident samples all become 1.
        return lambda z, classes: (np.maximum(scaler.transform(z) @ first + bias, 0) @ second + offset)[:, 0]


@dataclass(frozen=True)
class GMM(Settings):
    """Gaussian mixture: negative log-likelihood of the features under the clean mixture of the predicted class.

    The distribution into which HFC hides (Yao et al. 2024, arxiv.org/abs/2312.01679), turned into a detector.
    """

    rule: ClassVar = "regression"
    components: int = setting(1, "Gaussians in each class's mixture.", least=1, most=256)
    regularisation: float = setting(
        1e-3, "Added to each covariance's diagonal, as a share of the mean variance.", least=1e-8, most=1, advanced=True
    )

    def fit(self, part: LayerTraining) -> Score:
        from sklearn.mixture import GaussianMixture

        fewest, models = min(map(len, part.classes)), []
        if fewest < self.components:
            rule = "GMM.components must be at most the number of clean images in each class"
            raise InputError(f"{rule}; got {self.components} for {fewest}: lower it or add images.")
        for rows in part.classes:
            ridge = self.regularisation * float(rows.var(0).mean()) or 1.0
            model = GaussianMixture(self.components, reg_covar=ridge, random_state=part.seed, max_iter=50)
            models.append(_fit_quietly(model, rows))
        return _surprise([model.score_samples for model in models])


Detector = KD | BU | KDBU | LID | MAHA | SVM | DNN | GMM

DETECTORS: dict[str, Detector] = {
    "KD": KD(),
    "BU": BU(),
    "KD+BU": KDBU(),
    "LID": LID(),
    "MAHA": MAHA(),
    "SVM": SVM(),
    "DNN": DNN(),
    "GMM": GMM(),
}


def _squares(z: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Squared distances (N, M), by one matrix product."""
    centre = reference.mean(0)  # the sums cancel less
    z, reference = z - centre, reference - centre
    squares = np.square(z).sum(1)[:, None] + np.square(reference).sum(1) - 2 * z @ reference.T
    return np.maximum(squares, 0, out=squares)


def _surprise(log_densities: list[Callable[[np.ndarray], np.ndarray]]) -> Score:
    """Negative log-density of each row under its predicted class."""

    def score(z: np.ndarray, classes: np.ndarray) -> np.ndarray:
        found = np.empty(len(z))
        for c in np.unique(classes):
            found[classes == c] = -log_densities[c](z[classes == c])
        return found

    return score


def _supervised(negatives: np.ndarray, adversarial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([negatives, adversarial]), np.arange(len(negatives) + len(adversarial)) >= len(negatives)


def standardised(model: Any, negatives: np.ndarray, adversarial: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The decision function of a scikit-learn classifier behind a scaler, both fitted on these samples alone."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), model).fit(*_supervised(negatives, adversarial)).decision_function


def _fit_quietly(model: Any, *data: np.ndarray) -> Any:
    """Fit a model that may stop after its set number of rounds, which serves as well."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data)
