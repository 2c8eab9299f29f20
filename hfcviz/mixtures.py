"""Gaussian mixtures of the pooled features of clean images: fitted by scikit-learn, evaluated in torch with
gradients.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hfcviz.settings import InputError


@dataclass(frozen=True, eq=False)
class Mixture:
    """K Gaussians with full covariances over features of width C.

    log_weights: (K,); means: (K, C); factors: (K, C, C) with inverse covariance = factor @ factor.T; log_norms: (K,),
    the logarithm of each component's density at its mean. All float32.
    """

    log_weights: Tensor
    means: Tensor
    factors: Tensor
    log_norms: Tensor

    def distances(self, z: Tensor) -> Tensor:
        """Squared Mahalanobis distance to each component, (N, C) -> (N, K)."""
        flat, centres = self._whitening
        return ((z @ flat).view(-1, *centres.shape) - centres).square().sum(-1)

    @cached_property
    def _whitening(self) -> tuple[Tensor, Tensor]:
        """All factors side by side, (C, K * C), so that one product serves all components; whitened means, (K, C)."""
        flat = self.factors.permute(1, 0, 2).flatten(1).contiguous()
        return flat, torch.einsum("kc,kcd->kd", self.means, self.factors)

    @cached_property
    def _heights(self) -> Tensor:
        """Logarithm of weight times density at the mean, (K,)."""
        return self.log_weights + self.log_norms

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-likelihood, (N, C) -> (N,)."""
        return torch.logsumexp(self._heights - 0.5 * self.distances(z), dim=1)

    def nearest_distance(self, z: Tensor) -> Tensor:
        """Squared Mahalanobis distance to the most likely component, (N, C) -> (N,), differentiable in z.

        Which component that is carries no gradient, and only the chosen one is differentiated, whatever K is.
        """
        with torch.no_grad():
            best = torch.sub(self._heights, self.distances(z), alpha=0.5).argmax(1)
        gap = torch.bmm((z - self.means[best])[:, None], self.factors[best])
        return gap.square().sum((1, 2))


def fit_mixture(z: np.ndarray, components: int, regularisation: float, seed: int = 0) -> Mixture:
    """A mixture of `components` full-covariance Gaussians fitted to z, (N, C), by expectation maximisation.

    regularisation: added to the diagonal of each covariance, as a share of the layer's mean variance, so that it
    means the same in every layer. Raises InputError when there are fewer samples than components or a feature is not
    finite.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    least = max(components, 2)
    if len(z) < least:
        raise InputError(
            f"A mixture of {components} components needs at least {least} clean images a class; got {len(z)}: choose a "
            "smaller K or more images."
        )
    if not np.isfinite(z).all():
        raise InputError(
            "The features of the clean images must be finite numbers; some are NaN or infinite. Check the model."
        )
    z = np.asarray(z, dtype=np.float64)
    scale = math.sqrt(float(z.var(0).mean())) or 1.0
    model = GaussianMixture(
        components, covariance_type="full", reg_covar=regularisation, random_state=seed, max_iter=50
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture stopped after 50 rounds serves as well
        model.fit(z / scale)
    factors = model.precisions_cholesky_ / scale
    width = z.shape[1]
    log_norms = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1) - 0.5 * width * math.log(2 * math.pi)
    parts = (np.log(model.weights_), model.means_ * scale, factors, log_norms)
    return Mixture(*(torch.as_tensor(part, dtype=torch.float32) for part in parts))
