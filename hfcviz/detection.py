"""From the scores of single layers to verdicts: every detector fitted at every layer, its rule over layers, its thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hfcviz.activations import Activations
from hfcviz.detectors import BU, DETECTORS, KDBU, Detector, LayerTraining, Score, standardised
from hfcviz.settings import InputError, Progress, silent


@dataclass(frozen=True, eq=False)
class Training:
    """What detectors may see; never the samples they are judged on.

    clean: training images of the classifier with their true classes `labels` (N,); negatives and adversarial: clean and
    noisy, and attacked images of the detectors' training part; calibration: clean images seen by nobody, for bandwidths
    and thresholds.
    """

    clean: Activations
    labels: np.ndarray
    negatives: Activations
    adversarial: Activations
    calibration: Activations


@dataclass(frozen=True, eq=False)
class Fitted:
    """A detector fitted at every layer, and the rule that makes one verdict of all layers.

    rule: "last" = the penultimate layer alone; "mean" = mean over layers; "regression" = logit of a logistic regression
    over layers; "dropout" = no layers; "last+dropout" = such a regression over the penultimate layer and dropout.
    Flagged means above `threshold`, the 90 % quantile of calibration_scores (n,), which are of clean samples; so layer by
    layer with layer_thresholds {layer: float}.
    """

    name: str
    rule: str
    layers: dict[str, Score]
    regression: Callable[[np.ndarray], np.ndarray] | None = None
    threshold: float = math.nan
    layer_thresholds: dict[str, float] = field(default_factory=dict)
    calibration_scores: np.ndarray = field(default_factory=lambda: np.empty(0))

    def score(self, a: Activations) -> np.ndarray:
        """The verdict's scores (N,). InputError for features that are missing or not finite."""
        if self.rule == "dropout":
            return _spread(a)
        if self.rule == "last+dropout":
            pair = self._pair(a)
            return pair.mean(1) if self.regression is None or not len(pair) else self.regression(pair)
        used = list(self.layers)[-1 if self.rule == "last" else 0 :]
        return self.combine({layer: self._score(layer, a) for layer in used})

    def layer_scores(self, a: Activations) -> dict[str, np.ndarray]:
        """Scores (N,) of every layer on its own, in order of depth, also where the verdict uses one; none with dropout."""
        return {} if "dropout" in self.rule else {layer: self._score(layer, a) for layer in self.layers}

    def combine(self, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """The verdict's scores (N,) from layer_scores, for those who need both."""
        stacked = np.stack([scores[layer] for layer in self.layers if layer in scores], axis=1)
        if self.rule == "last":
            return stacked[:, -1]
        if self.regression is None or not len(stacked):  # scikit-learn refuses to judge no samples
            return stacked.mean(1)
        return self.regression(stacked)

    def _pair(self, a: Activations) -> np.ndarray:
        return np.stack([self._score(list(self.layers)[-1], a), _spread(a)], axis=1)

    def _score(self, layer: str, a: Activations, block: int = 1024) -> np.ndarray:
        z, classes = _features(a, layer), a.predicted
        # By blocks, so that memory does not grow with N times the size of the reference.
        blocks = [slice(start, start + block) for start in range(0, len(z), block)]
        return np.concatenate([np.empty(0), *(self.layers[layer](z[rows], classes[rows]) for rows in blocks)])


def unavailable(a: Activations) -> dict[str, str]:
    """Detectors that cannot work on such activations, with the reason as a sentence."""
    if a.dropout is not None:
        return {}
    reason = "needs dropout passes; the network has no dropout, or no passes were made: leave it out."
    return {name: f"{name} {reason}" for name in ("BU", "KD+BU")}


def fit_detectors(
    training: Training,
    names: Sequence[str] = tuple(DETECTORS),
    *,
    detectors: Mapping[str, Detector] = DETECTORS,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Fitted]:
    """Fit the named detectors; the default, all of them, leaves out what `unavailable` names.

    detectors: where other settings than the default ones come in. Raises InputError for a detector that is unknown or
    unavailable, for too few samples and for features that are not finite.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    ruled_out = unavailable(training.calibration)
    if tuple(names) == tuple(DETECTORS):
        names = [name for name in names if name not in ruled_out]
    for name in names:
        if name not in detectors or name in ruled_out:
            raise InputError(ruled_out.get(name, f"A detector must be one of {', '.join(detectors)}; got {name!r}."))
    classes = training.clean.logits.shape[1]
    counts = {f"clean training images of class {c}": int((training.labels == c).sum()) for c in range(classes)}
    counts |= {f"{kind} samples": len(getattr(training, kind)) for kind in ("negatives", "adversarial", "calibration")}
    for what, count in counts.items():
        if count < 2:
            raise InputError(f"Detectors need at least 2 {what}; got {count}: add images or choose others.")
    parts = {}
    for layer in training.clean.layers:
        by_class = [_features(training.clean, layer)[training.labels == c] for c in range(classes)]
        neg, adv, cal = (_features(a, layer) for a in (training.negatives, training.adversarial, training.calibration))
        parts[layer] = LayerTraining(by_class, neg, adv, cal, training.calibration.predicted, seed)
    fitted = {}
    for done, name in enumerate(names):
        detector, layers = detectors[name], {}
        seen = {} if isinstance(detector, BU) else dict(list(parts.items())[-1 if isinstance(detector, KDBU) else 0 :])
        for depth, (layer, part) in enumerate(seen.items()):
            progress((done + depth / len(seen)) / len(names), f"detector {name}")
            assert not isinstance(detector, BU)
            with threadpool_limits(1, user_api="blas"):  # so many small matrices are several times faster on one thread
                layers[layer] = detector.fit(part)
        one = Fitted(name, detector.rule, layers)
        samples = training.negatives, training.adversarial
        if detector.rule == "regression":
            pair = [np.stack(list(one.layer_scores(a).values()), 1) for a in samples]
        if detector.rule == "last+dropout":
            pair = [one._pair(a) for a in samples]
        if detector.rule in ("regression", "last+dropout"):
            model = LogisticRegression(class_weight="balanced", max_iter=1000)
            one = replace(one, regression=standardised(model, *pair))
        scores = one.score(training.calibration)
        thresholds = {layer: _quantile(own) for layer, own in one.layer_scores(training.calibration).items()}
        fitted[name] = replace(one, threshold=_quantile(scores), layer_thresholds=thresholds, calibration_scores=scores)
    progress(1, "detectors")
    return fitted


def _features(a: Activations, layer: str) -> np.ndarray:
    if layer not in a.layers:
        raise InputError(f"The detectors need features of layer {layer}; these have none: use the same network.")
    if not np.isfinite(a.layers[layer]).all():
        raise InputError(
            f"Features of layer {layer} must be finite numbers; some are NaN or infinite: check the model."
        )
    return a.layers[layer].astype(np.float64)


def _quantile(scores: np.ndarray) -> float:
    return float(np.quantile(scores, 0.9))


def _spread(a: Activations) -> np.ndarray:
    if a.dropout is None or not np.isfinite(a.dropout).all():
        raise InputError("BU needs dropout passes with finite logits; these have none: make them or leave BU out.")
    shifted = np.exp(a.dropout.astype(np.float64) - a.dropout.max(2, keepdims=True))
    return (shifted / shifted.sum(2, keepdims=True)).var(0).sum(1)
