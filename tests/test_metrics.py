"""Metrics against scikit-learn and closed forms; nothing to see is 0.5 and inverted stays inverted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import roc_auc_score, roc_curve

from hfcviz import metrics
from hfcviz.metrics import bootstrap_interval, percentile_rank, roc, separation, share_interval, two_sided
from hfcviz.settings import InputError

scores = st.lists(st.integers(-3, 3).map(float) | st.floats(-1e6, 1e6), min_size=1, max_size=30).map(np.array)


@given(scores, scores)
def test_area_and_corners_equal_scikit_learns(negatives: np.ndarray, positives: np.ndarray) -> None:
    labels, values = np.repeat([0, 1], [len(negatives), len(positives)]), np.concatenate([negatives, positives])
    curve = roc(negatives, positives)
    assert curve.auc == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
    fpr, tpr, _ = roc_curve(labels, values, drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(curve.tpr, tpr, atol=1e-12)


@given(scores, scores, st.floats(0, 1))
def test_tpr_at_is_the_best_of_all_thresholds_that_keep_the_limit(
    neg: np.ndarray, pos: np.ndarray, limit: float
) -> None:
    allowed = [np.mean(pos > t) for t in [-np.inf, *neg, *pos] if np.mean(neg > t) <= limit + 1e-9]
    assert roc(neg, pos).tpr_at(limit) == pytest.approx(max(allowed), abs=1e-12)


@given(scores, scores)
def test_exchange_or_reversal_mirrors_the_area(neg: np.ndarray, pos: np.ndarray) -> None:
    auc = roc(neg, pos).auc
    assert roc(pos, neg).auc == pytest.approx(1 - auc)
    assert roc(-neg, -pos).auc == pytest.approx(1 - auc)
    assert two_sided(auc) == pytest.approx(max(auc, 1 - auc))


@pytest.mark.parametrize("shift", [0.0, 1.0, -2.0])
def test_two_gaussians_have_the_textbook_area(shift: float) -> None:
    rng = np.random.default_rng(0)
    curve = roc(rng.normal(size=20_000), rng.normal(shift, size=20_000))

    def normal(x: float) -> float:
        return 0.5 * (1 + math.erf(x / math.sqrt(2)))

    assert curve.auc == pytest.approx(normal(shift / math.sqrt(2)), abs=0.01)
    assert curve.tpr_at(0.1) == pytest.approx(normal(shift - 1.2815516), abs=0.015)


def test_ten_negatives_at_ten_percent() -> None:
    curve = roc(np.arange(10), np.array([7.5, 8.0, 8.5, 9.5]))
    assert curve.tpr_at(0.1) == 0.5  # threshold 8: only the negative 9 is flagged, and 8.0 is not above
    assert curve.tpr_at(1 - 0.9) == 0.5
    assert curve.tpr_at(0.0) == 0.25
    assert curve.tpr_at(1.0) == 1


def test_nothing_to_see() -> None:
    curve = roc(np.ones(30), np.ones(10))
    assert (curve.auc, curve.tpr_at(0.1)) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("negatives", "positives", "message"),
    [([], [1], "got 0 and 1"), ([1], [], "got 1 and 0"), ([1, math.nan], [1], "NaN")],
)
def test_scores_that_give_no_curve(negatives: list, positives: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        roc(negatives, positives)


def test_interval_of_a_mean_is_the_normal_one() -> None:
    x = np.random.default_rng(1).normal(5, 2, size=400)
    low, high = bootstrap_interval(np.mean, x, n=2000, seed=3)
    margin = 1.96 * x.std() / 20
    assert (low, high) == pytest.approx((x.mean() - margin, x.mean() + margin), abs=0.15 * margin)
    assert (
        (low, high) == bootstrap_interval(np.mean, x, n=2000, seed=3) != bootstrap_interval(np.mean, x, n=2000, seed=4)
    )
    narrow = bootstrap_interval(np.mean, x, n=2000, seed=3, level=0.5)
    assert narrow[1] - narrow[0] == pytest.approx(2 * 0.6745 * x.std() / 20, rel=0.15)


def test_groups_are_resampled_on_their_own() -> None:
    sizes = set()

    def note(a: np.ndarray, b: np.ndarray) -> float:
        sizes.add((len(a), len(b), bool((a < 10).all()), bool((b >= 10).all())))
        return float(a[0] == b[0] - 10)  # half the time, unless one draw of rows served both groups

    low, high = bootstrap_interval(note, np.arange(2), np.arange(10, 12), n=50)
    assert sizes == {(2, 2, True, True)}
    assert (low, high) == (0, 1)
    with pytest.raises(InputError, match="one group is empty"):
        bootstrap_interval(note, np.arange(2), np.arange(0))


def test_intervals_cover_the_true_area_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        low, high = bootstrap_interval(
            lambda a, b: roc(a, b).auc, rng.normal(size=60), rng.normal(1, size=60), n=100, seed=seed
        )
        hits += low <= 0.7602 <= high
    assert 85 <= hits <= 99


@pytest.mark.parametrize("digits", [0, 1, 15])
def test_resamplings_counted_together_are_those_of_one_after_the_other(digits: int, monkeypatch) -> None:
    rng = np.random.default_rng(digits)
    negatives, positives = rng.normal(size=40).round(digits), rng.normal(1, size=25).round(digits)
    auc = bootstrap_interval(lambda n, p: roc(n, p).auc, negatives, positives)
    tpr = bootstrap_interval(lambda n, p: roc(n, p).tpr_at(0.1), negatives, positives)
    found = separation(negatives, positives)
    assert (found["auc_low"], found["auc_high"]) == pytest.approx(auc, abs=1e-12)
    assert (found["tpr90_low"], found["tpr90_high"]) == tpr
    monkeypatch.setattr(metrics, "BLOCK", 100)
    assert separation(negatives, positives) == found, "in few blocks or many"


def test_resamplings_take_no_more_memory_where_scores_are_equal(monkeypatch) -> None:
    monkeypatch.setattr(metrics, "BLOCK", 10_000)
    shapes = []
    counts = metrics._counts
    monkeypatch.setattr(metrics, "_counts", lambda places, count: shapes.append(places.shape) or counts(places, count))
    separation(np.zeros(700), np.ones(300))
    assert len(shapes) == 200 and max(rows * drawn for rows, drawn in shapes) <= 10_000


@pytest.mark.parametrize(("hits", "n"), [(0, 30), (30, 30), (1, 2), (113, 200)])
def test_the_interval_of_a_share_holds_the_shares_within_z_standard_errors_of_it(hits: int, n: int) -> None:
    """At both ends p, and at no share between, |hits / n - p| is z of p's own standard error: how Wilson defines it."""
    low, high = share_interval(hits, n)
    assert 0 <= low <= hits / n <= high <= 1 and high - low > 0.01
    for p in (low, high):
        if 0 < p < 1:
            assert abs(hits / n - p) == pytest.approx(1.959964 * math.sqrt(p * (1 - p) / n), rel=1e-5)


def test_the_interval_of_a_share_covers_it_about_as_often_as_it_says() -> None:
    n, shares = 30, np.linspace(0.02, 0.98, 97)
    ends = [share_interval(hits, n) for hits in range(n + 1)]
    covered = [sum(binom.pmf(hits, n, p) for hits, (low, high) in enumerate(ends) if low <= p <= high) for p in shares]
    assert 0.94 < np.mean(covered) < 0.97
    with pytest.raises(InputError, match="at least one value"):
        share_interval(0, 0)


def test_percentile_rank_counts_half_of_what_is_equal() -> None:
    ranks = percentile_rank(np.array([[0.0, 1, 2], [2.5, 3, 9]]), np.array([3, 1, 2, 2]))
    np.testing.assert_allclose(ranks, [[0, 12.5, 50], [75, 87.5, 100]])
    with pytest.raises(InputError, match="at least one reference"):
        percentile_rank(np.zeros(2), np.zeros(0))
