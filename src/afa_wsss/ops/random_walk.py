"""The random walk that spreads class scores along the affinity (AFA, section 3.3, equations 7-8)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ALPHA, STEPS = 2.0, 1
"""Power of the affinity and number of steps in the paper."""

ROW_SUM_FLOOR = 0.1
"""Added to each row's sum, so that a token without similar tokens causes no division by 0."""


def transition_matrix(
    affinity: Float[Tensor, "b n n"], *, alpha: float = ALPHA, mask: Bool[Tensor, "n n"] | None = None
) -> Float[Tensor, "b n n"]:
    """T = D^-1 A^alpha with D_ii = sum_j A_ij^alpha + 0.1, in float32.

    Args:
        affinity: A in (0, 1).
        alpha: Power of the affinity; above 1 it suppresses small values.
        mask: Pairs of tokens that may exchange scores, see ``locality_mask``; None for all.

    Example:
        >>> transition_matrix(torch.full((1, 3, 3), 0.5)).sum(dim=-1)  # 0.75 / (0.75 + 0.1)
        tensor([[0.8824, 0.8824, 0.8824]])
    """
    weights = affinity.float() ** alpha
    if mask is not None:
        weights = weights * mask
    return weights / (weights.sum(dim=-1, keepdim=True) + ROW_SUM_FLOOR)


def propagate(
    scores: Float[Tensor, "b c h w"], transition: Float[Tensor, "b n n"], *, steps: int = STEPS
) -> Float[Tensor, "b c h w"]:
    """M <- T M, ``steps`` times, each class for itself; n = h * w.

    Args:
        scores: Class scores on the token grid.
        transition: T, see ``transition_matrix``.
        steps: Steps of the walk.

    Returns:
        Scores on the same grid, float32 also under autocast.

    Example:
        >>> scores = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
        >>> propagate(scores, torch.tensor([[[0.5, 0.5], [0.5, 0.5]]])).flatten().tolist()
        [0.5, 0.5]
    """
    tokens = scores.float().flatten(2).transpose(1, 2)
    # Autocast would compute the product in half precision.
    with torch.autocast(tokens.device.type, enabled=False):
        for _ in range(steps):
            tokens = torch.bmm(transition, tokens)
    return tokens.transpose(1, 2).view(scores.shape)
