"""How well scores separate adversarial samples from the rest, and how sure the figures are. Arrays in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from hfcviz.settings import InputError

BLOCK = 2**21
"""Draws that are held at a time: a few times 16 MB."""


@dataclass(frozen=True, eq=False)
class Roc:
    """The ROC curve: its corners from (0, 0) to (1, 1), one for each distinct score.

    fpr, tpr: (M,), share of negatives and of positives (adversarial samples) strictly above a falling threshold.
    """

    fpr: np.ndarray
    tpr: np.ndarray

    @property
    def auc(self) -> float:
        """Area under the curve: the chance that a positive scores above a negative, a tie counting half.

        Far below 0.5 is an inverted detector and is left as it is; see `two_sided`.
        """
        return float(np.trapezoid(self.tpr, self.fpr))

    def tpr_at(self, fpr: float) -> float:
        """Share of positives strictly above the lowest threshold that flags at most this share of the negatives.

        tpr_at(0.1) is TPR@90. Between corners nothing is interpolated, since no threshold lies there: where all scores
        are equal it is 0, not 0.1, and with fewer than ten negatives the threshold is the largest of them.
        """
        # The corners are shares of whole counts; the slack lets 1 - 0.9 mean 0.1.
        return float(self.tpr[self.fpr <= fpr + 1e-9][-1])


def roc(negatives: np.ndarray, positives: np.ndarray) -> Roc:
    """The ROC curve of scores (n,) of negatives and (m,) of positives, higher meaning more suspicious.

    Raises InputError when one of them is empty or a score is NaN.
    """
    neg, pos = np.sort(np.asarray(negatives, dtype=np.float64)), np.sort(np.asarray(positives, dtype=np.float64))
    if not (len(neg) and len(pos)):
        raise InputError(f"An ROC curve needs negatives and positives; got {len(neg)} and {len(pos)} scores.")
    if np.isnan(neg[-1]) or np.isnan(pos[-1]):  # NaN sorts last
        raise InputError("An ROC curve needs scores that are numbers; some are NaN.")
    thresholds = np.unique(np.concatenate([neg, pos]))[::-1]
    # Strictly above each threshold, and last of all everything.
    fpr = np.append((len(neg) - np.searchsorted(neg, thresholds, side="right")) / len(neg), 1.0)
    tpr = np.append((len(pos) - np.searchsorted(pos, thresholds, side="right")) / len(pos), 1.0)
    return Roc(fpr, tpr)


def two_sided(auc: float) -> float:
    """How well a score separates when its direction may be turned round: max(auc, 1 - auc)."""
    return max(auc, 1 - auc)


def separation(negatives: np.ndarray, positives: np.ndarray) -> dict[str, float]:
    """How well scores (n,) of negatives and (m,) of positives are told apart: auc, auc_low, auc_high, two_sided, tpr90,
    tpr90_low, tpr90_high, n (positives), negatives. Intervals are 95 % bootstrap intervals. Raises InputError as `roc`.
    """
    curve = roc(negatives, positives)
    auc, tpr = (np.quantile(values, [0.025, 0.975]).tolist() for values in _resampled(negatives, positives, 0.1))
    return {
        "auc": curve.auc,
        "auc_low": auc[0],
        "auc_high": auc[1],
        "two_sided": two_sided(curve.auc),
        "tpr90": curve.tpr_at(0.1),
        "tpr90_low": tpr[0],
        "tpr90_high": tpr[1],
        "n": len(positives),
        "negatives": len(negatives),
    }


def _resampled(negatives: np.ndarray, positives: np.ndarray, fpr: float) -> tuple[np.ndarray, np.ndarray]:
    """AUC and TPR at this FPR of the resamplings of `bootstrap_interval`, counted all together: (1000,) each."""
    rng, n = np.random.default_rng(0), 1000
    values, place = np.unique(np.concatenate([negatives, positives]), return_inverse=True)
    groups = place[: len(negatives)], place[len(negatives) :]
    auc, tpr = np.empty(n), np.empty(n)
    size = max(1, BLOCK // len(place))
    for start in range(0, n, size):
        rows = range(start, min(start + size, n))
        drawn = [[group[rng.integers(len(group), size=len(group))] for group in groups] for _ in rows]
        neg, pos = (_counts(np.stack(group), len(values)) for group in zip(*drawn, strict=True))
        # What lies strictly above each value; a value that was not drawn has as much above it as the next lower one that was.
        neg_above, pos_above = (group[:, ::-1].cumsum(1)[:, ::-1] - group for group in (neg, pos))
        pairs = len(negatives) * len(positives)
        auc[rows] = ((2 * pos_above + pos) * neg).sum(1) / (2 * pairs)  # a tie counts half
        lowest = (neg_above / len(negatives) <= fpr + 1e-9).argmax(1)
        tpr[rows] = pos_above[np.arange(len(rows)), lowest] / len(positives)
    return auc, tpr


def _counts(places: np.ndarray, count: int) -> np.ndarray:
    """How often each place, below `count`, stands in each row: (R, n) -> (R, count)."""
    rows = np.arange(len(places))[:, None] * count
    return np.bincount((rows + places).ravel(), minlength=len(places) * count).reshape(len(places), count)


def bootstrap_interval(
    statistic: Callable[..., float], *samples: np.ndarray, n: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of `statistic(*samples)`; each sample is resampled along its first axis on its own.

    n: number of resamplings; level: coverage. Negatives and positives keep their numbers, so that the interval holds
    for the given mix. At the end of a range (AUC exactly 1) it has no width, which is not certainty. Efron 1979,
    doi.org/10.1214/aos/1176344552. Raises InputError for an empty sample.
    """
    arrays = [np.asarray(sample) for sample in samples]
    if not all(len(array) for array in arrays):
        raise InputError("A bootstrap interval needs at least one value in each group; one group is empty.")
    rng = np.random.default_rng(seed)
    values = [statistic(*(array[rng.integers(len(array), size=len(array))] for array in arrays)) for _ in range(n)]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the share of `hits` among n. It has a width where all or none hit, where a bootstrap has none.

    Wilson 1927, doi.org/10.1080/01621459.1927.10502953; compared with others by Brown, Cai & DasGupta 2001,
    doi.org/10.1214/ss/1009213286. Raises InputError for an empty sample.
    """
    if n < 1:
        raise InputError("The interval of a share needs at least one value; got none.")
    z = NormalDist().inv_cdf(0.975)  # by hand: scipy.stats would be most of the time until the app's first picture
    middle, half = hits + z**2 / 2, z * math.sqrt(hits * (n - hits) / n + z**2 / 4)
    return max(0.0, (middle - half) / (n + z**2)), min(1.0, (middle + half) / (n + z**2))


def percentile_rank(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Where each value lies within the reference, in percent: share below plus half the share that is equal.

    values: any shape; reference: (n,). 50 is the median; 0 and 100 lie outside the reference. Raises InputError for no
    reference.
    """
    ordered = np.sort(np.asarray(reference, dtype=np.float64))
    if not len(ordered):
        raise InputError("A percentile needs at least one reference value; got none.")
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right")
    return 50.0 * (below + up_to) / len(ordered)
