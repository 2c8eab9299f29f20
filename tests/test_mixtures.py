"""Mixtures: densities against scikit-learn, distances against SciPy and the closed form of their gradient."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.mixture import GaussianMixture

from hfcviz.mixtures import Mixture, fit_mixture
from hfcviz.settings import InputError


def features(count=120, width=5, seed=0):
    """Correlated features of unlike spread, away from the origin."""
    draw = np.random.default_rng(seed)
    return draw.normal(size=(count, width)) @ draw.normal(size=(width, width)) + draw.normal(size=width) * 5


def tensor(values):
    return torch.as_tensor(values, dtype=torch.float32)


def covariance(z, regularisation):
    """The maximum-likelihood covariance with the share of the mean variance on its diagonal."""
    return np.cov(z.T, bias=True) + regularisation * z.var(0).mean() * np.eye(z.shape[1])


@pytest.mark.parametrize("components", [1, 3, 8])
def test_log_likelihood_equals_that_of_scikit_learn(components):
    z, seen = features(), features(30, seed=1)
    scale = np.sqrt(z.var(0).mean())
    oracle = GaussianMixture(components, reg_covar=1e-3, random_state=4, max_iter=50).fit(z / scale)
    expected = oracle.score_samples(seen / scale) - z.shape[1] * np.log(scale)
    np.testing.assert_allclose(fit_mixture(z, components, 1e-3, seed=4).log_prob(tensor(seen)), expected, rtol=1e-3)


def test_distance_to_one_gaussian_is_the_squared_mahalanobis_distance():
    z, seen = features(), features(10, seed=1)
    inverse = np.linalg.inv(covariance(z, 0.01))
    expected = [mahalanobis(one, z.mean(0), inverse) ** 2 for one in seen]
    mixture = fit_mixture(z, 1, 0.01)
    np.testing.assert_allclose(mixture.nearest_distance(tensor(seen)), expected, rtol=1e-3)
    np.testing.assert_allclose(mixture.distances(tensor(seen))[:, 0], expected, rtol=1e-3)


def test_gradient_of_the_distance_is_twice_the_whitened_gap():
    z, seen = features(), features(10, seed=1)
    expected = 2 * np.linalg.solve(covariance(z, 0.01), (seen - z.mean(0)).T).T
    point = tensor(seen).requires_grad_()
    (gradient,) = torch.autograd.grad(fit_mixture(z, 1, 0.01).nearest_distance(point).sum(), point)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-3)


def test_gradient_of_the_distance_among_many_components_is_its_finite_difference():
    z = features(200)
    mixture = fit_mixture(z, 4, 0.01)
    fine = Mixture(
        *(part.double() for part in (mixture.log_weights, mixture.means, mixture.factors, mixture.log_norms))
    )
    point = torch.as_tensor(features(6, seed=1)).requires_grad_()
    (gradient,) = torch.autograd.grad(fine.nearest_distance(point).sum(), point)
    with torch.no_grad():
        for axis in range(5):
            nudge = 1e-5 * torch.eye(5, dtype=torch.float64)[axis]
            slope = (fine.nearest_distance(point + nudge) - fine.nearest_distance(point - nudge)) / 2e-5
            torch.testing.assert_close(gradient[:, axis], slope, rtol=1e-4, atol=1e-5)


def three_gaussians(weights=(0.5, 0.3, 0.2), spreads=(1.0, 1.0, 1.0)):
    """Round Gaussians in the plane at (0, 0), (10, 0) and (0, 10)."""
    spreads = torch.tensor(spreads)
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    norms = -np.log(2 * np.pi) - 2 * spreads.log()
    return Mixture(torch.tensor(weights).log(), means, torch.eye(2) / spreads.view(3, 1, 1), norms)


def test_the_component_is_chosen_anew_for_every_point():
    points = torch.tensor([[1.0, 2.0], [9.0, 1.0], [-1.0, 12.0], [6.0, 0.0], [4.0, 0.0]])
    torch.testing.assert_close(three_gaussians().nearest_distance(points), torch.tensor([5.0, 2.0, 5.0, 16.0, 16.0]))


def test_the_component_is_the_most_likely_one_not_the_closest():
    closer_to_the_first = torch.tensor([[4.9, 0.0]])
    heavy_second = three_gaussians(weights=(0.01, 0.98, 0.01))
    assert heavy_second.nearest_distance(closer_to_the_first).item() == pytest.approx(5.1**2, rel=1e-5)
    wide_second = three_gaussians(weights=(1 / 3, 1 / 3, 1 / 3), spreads=(1.0, 2.0, 1.0))
    # Whitened, (3.5, 0) is closer to the wide one, but its density there is lower; at (5, 0) it is higher.
    assert wide_second.nearest_distance(torch.tensor([[3.5, 0.0]])).item() == pytest.approx(3.5**2)
    assert wide_second.nearest_distance(torch.tensor([[5.0, 0.0]])).item() == pytest.approx((5 / 2) ** 2)


def test_log_likelihood_of_known_gaussians_is_the_formula():
    points = torch.tensor([[1.0, 2.0], [9.0, 1.0]])
    squares = np.array([[5, 85, 65], [82, 2, 162]])
    expected = np.log((np.array([0.5, 0.3, 0.2]) * np.exp(-squares / 2) / (2 * np.pi)).sum(1))
    np.testing.assert_allclose(three_gaussians().log_prob(points), expected, rtol=1e-5)


def test_mean_distance_of_gaussian_features_to_their_own_mixture_is_their_width():
    z = np.random.default_rng(0).normal(size=(4000, 20))
    fresh = np.random.default_rng(1).normal(size=(4000, 20))
    mean = float(fit_mixture(z, 1, 1e-6).nearest_distance(tensor(fresh)).mean())
    assert mean == pytest.approx(20, rel=0.03)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("components", [1, 3])
def test_the_unit_of_the_features_does_not_matter(components, scale):
    z, seen = features(), features(10, seed=1)
    one, other = fit_mixture(z, components, 1e-2), fit_mixture(z * scale, components, 1e-2)
    torch.testing.assert_close(other.factors * scale, one.factors, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        other.nearest_distance(tensor(seen * scale)), one.nearest_distance(tensor(seen)), rtol=1e-3, atol=1e-4
    )


def test_features_that_never_vary_give_finite_distances():
    z = np.full((20, 3), 7.0)
    assert fit_mixture(z, 1, 1e-3).nearest_distance(tensor(z)).tolist() == pytest.approx([0] * 20, abs=1e-4)
    z[:, 0] = np.arange(20)
    assert fit_mixture(z, 1, 1e-3).distances(tensor(z + 1)).isfinite().all()


def test_the_same_seed_gives_the_same_mixture_and_the_global_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    one, same = (fit_mixture(features(), 6, 1e-3, seed=2) for _ in range(2))
    assert torch.equal(one.means, same.means) and torch.equal(one.factors, same.factors)
    assert not torch.equal(one.means, fit_mixture(features(), 6, 1e-3, seed=3).means)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize(("images", "components"), [(3, 4), (1, 1), (0, 1)])
def test_fewer_images_than_components_or_fewer_than_two_are_refused(images, components):
    with pytest.raises(InputError, match=rf"needs at least {max(components, 2)} clean images a class; got {images}"):
        fit_mixture(features(images), components, 1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value):
    z = features()
    z[5, 2] = value
    with pytest.raises(InputError, match="finite"):
        fit_mixture(z, 1, 1e-3)
