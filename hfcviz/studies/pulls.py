"""Where a loss pulls the penultimate feature, and where the feature goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hfcviz.attacks import margin


def loss_gradient(
    head: Callable[[Tensor], Tensor], loss: str, feature: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradient with regard to the feature (N, C) as a direction (N, C) and a factor above 0 (N,) that lengthens it.

    Cross-entropy is log(1 + exp(g)) with g the log of the odds against the target, so its gradient is that of g times
    1 - p_t. Apart, a factor that is almost 0 cannot round the direction away.
    """
    feature = feature.double().requires_grad_()
    with torch.enable_grad():
        logits = head(feature)
        if loss == "margin":
            gap = margin(logits, target)
            factor = torch.ones_like(gap)
        else:
            others = logits.scatter(1, target[:, None], -torch.inf).logsumexp(1)
            gap = others - logits.gather(1, target[:, None])[:, 0]
            factor = gap.sigmoid()
        (direction,) = torch.autograd.grad(gap.sum(), feature)
    return direction, factor.detach()


def cosines(
    head: Callable[[Tensor], Tensor],
    loss: str,
    features: np.ndarray,
    target: Tensor,
    term: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Of features (S, N, C) over the steps: {"gradient", "with_term" or "displacement": (S, N) cosines}, NaN where a vector has no
    length, and (S, N) bool, the head sees the target.

    term: gives the gradient (N, C) of a penalty on the feature from feature and target; without it there is no "with_term".
    """
    states = [torch.from_numpy(state) for state in features]
    pulls = [loss_gradient(head, loss, state, target) for state in states]
    directions = [direction.numpy() for direction, _ in pulls]
    found = {"gradient": np.stack([_cosine(one, directions[0]) for one in directions])}
    if term is not None:
        whole = [
            (factor[:, None] * direction + term(state, target)).numpy()
            for (direction, factor), state in zip(pulls, states, strict=True)
        ]
        found["with_term"] = np.stack([_cosine(one, whole[0]) for one in whole])
    moved = features.astype(np.float64) - features[0]
    found["displacement"] = np.stack([_cosine(one, -directions[0]) for one in moved])
    with torch.no_grad():
        reached = np.stack([(head(state.double()).argmax(1) == target).numpy() for state in states])
    return found, reached


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, C), (N, C) -> (N,)."""
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(1), length, out=np.full(len(a), np.nan), where=length > 0)
