"""Projections: PCA against NumPy, the joint-fit rule of t-SNE and UMAP, seeds, and sentences for what cannot be drawn."""

import numpy as np
import pytest

from hfcviz.projections import PROJECTIONS, TSNE, UMAP, project
from hfcviz.settings import InputError

JOINT = [TSNE(perplexity=10), UMAP(neighbours=8)]


def cloud(count=60, width=6, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(count, width)) * np.arange(width, 0, -1) + 4


def all_clean(z):
    return np.ones(len(z), dtype=bool)


def with_outliers(count=20, distance=60.0):
    """A clean cloud followed by a group far outside it; and which rows are clean."""
    far = cloud(count, seed=1) * 0.3 + distance
    z = np.concatenate([cloud(), far])
    return z, np.arange(len(z)) < 60


def test_pca_is_the_singular_value_decomposition_of_the_clean_samples_up_to_sign():
    z, clean = with_outliers()
    found = project(PROJECTIONS["PCA"], z, clean)
    centre = z[clean].mean(0)
    _, sizes, axes = np.linalg.svd(z[clean] - centre, full_matrices=False)
    expected = (z - centre) @ axes[:2].T
    signs = np.sign((found.xy * expected).sum(0))
    np.testing.assert_allclose(found.xy, expected * signs, atol=1e-9)
    shares = sizes**2 / (sizes**2).sum()
    assert f"{shares[0]:.0%}" in found.axes[0] and f"{shares[1]:.0%}" in found.axes[1]
    assert found.exact and "60 clean" in found.note


def test_an_outlier_does_not_move_the_clean_points_of_pca():
    z = cloud()
    alone = project(PROJECTIONS["PCA"], z, all_clean(z)).xy
    beside = project(PROJECTIONS["PCA"], np.vstack([z, np.full((1, 6), 1e4)]), np.arange(61) < 60).xy
    np.testing.assert_allclose(beside[:60], alone)
    assert np.abs(beside[60]).max() > 100 * np.abs(alone).max()


def test_paths_in_pca_are_straight_where_features_are():
    z = cloud()
    line = z[:1] + np.linspace(0, 1, 7)[:, None] * (z[1:2] - z[:1])
    xy = project(PROJECTIONS["PCA"], np.vstack([z, line]), np.arange(67) < 60).xy[60:]
    np.testing.assert_allclose(np.diff(xy, axis=0), np.tile(xy[1] - xy[0], (6, 1)), atol=1e-9)


@pytest.mark.parametrize("method", JOINT, ids=lambda method: type(method).__name__)
def test_a_far_off_group_lies_apart_in_a_joint_view_and_the_seed_decides_the_picture(method):
    z, clean = with_outliers()
    before = np.random.get_state()[1].copy()
    found = project(method, z, clean, seed=3)
    xy = found.xy.astype(float)
    apart = np.linalg.norm(xy[~clean][:, None] - xy[clean][None], axis=-1).min(1)
    among = np.linalg.norm(xy[~clean][:, None] - xy[~clean][None], axis=-1)
    np.fill_diagonal(among, np.inf)
    assert np.median(apart) > 3 * np.median(among.min(1))
    assert xy.shape == (80, 2) and not found.exact and "jointly on 80 points" in found.note
    assert np.array_equal(project(method, z, clean, seed=3).xy, found.xy)
    assert (np.random.get_state()[1] == before).all()


def test_tsne_of_wide_features_keeps_groups_apart():
    z, clean = with_outliers()
    mixed = z @ np.random.default_rng(2).normal(size=(6, 200))
    xy = project(TSNE(perplexity=10), mixed, clean).xy
    gap = np.linalg.norm(xy[~clean][:, None] - xy[clean][None], axis=-1).min()
    assert gap > 2 and np.isfinite(xy).all()


def test_progress_runs_from_zero_to_one():
    heard = []
    project(PROJECTIONS["PCA"], cloud(), all_clean(cloud()), progress=lambda share, what: heard.append(share))
    assert heard[0] == 0 and heard[-1] == 1


def test_all_three_views_are_on_offer():
    assert list(PROJECTIONS) == ["PCA", "t-SNE", "UMAP"]


@pytest.mark.parametrize(("count", "clean", "width"), [(3, 3, 6), (10, 2, 6), (10, 10, 1)])
def test_too_few_points_or_features_are_refused(count, clean, width):
    with pytest.raises(InputError, match="at least 4 points, 3 of them clean, and 2 features"):
        project(PROJECTIONS["PCA"], cloud(count, width), np.arange(count) < clean)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value):
    z = cloud()
    z[0, 0] = value
    with pytest.raises(InputError, match="finite"):
        project(PROJECTIONS["PCA"], z, all_clean(z))


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (TSNE(perplexity=60), r"TSNE.perplexity must be less than the number of points \(60\); got 60"),
        (UMAP(neighbours=60), r"UMAP.neighbours must be less than the number of points \(60\); got 60"),
    ],
)
def test_more_neighbours_than_points_are_refused(method, sentence):
    with pytest.raises(InputError, match=sentence):
        project(method, cloud(), all_clean(cloud()))


@pytest.mark.parametrize("method", [PROJECTIONS["PCA"], TSNE(perplexity=5)], ids=lambda method: type(method).__name__)
def test_features_that_never_vary_are_refused(method):
    z = np.full((20, 4), 2.0)
    with pytest.raises(InputError, match="features that vary"):
        project(method, z, all_clean(z))
