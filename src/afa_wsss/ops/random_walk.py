"""The random walk that spreads activation along affinity (AFA, section 3.3, equations 7-8)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ROW_SUM_FLOOR = 0.1
"""Added to each row's sum, so that a token without neighbours keeps next to nothing instead of dividing by 0."""


def transition_matrix(
    affinity: Float[Tensor, "b n n"], *, alpha: float = 2.0, mask: Bool[Tensor, "n n"] | None = None
) -> Float[Tensor, "b n n"]:
    """T = D^-1 A^alpha with D_ii = sum_j A_ij^alpha + 0.1, in float32.

    Args:
        affinity: A in (0, 1).
        alpha: Above 1 it suppresses small affinities.
        mask: Pairs that may exchange anything; see ``locality_mask``.
    """
    weights = affinity.float() ** alpha
    if mask is not None:
        weights = weights * mask
    return weights / (weights.sum(dim=-1, keepdim=True) + ROW_SUM_FLOOR)


def propagate(
    scores: Float[Tensor, "b c h w"], transition: Float[Tensor, "b n n"], *, steps: int = 1
) -> Float[Tensor, "b c h w"]:
    """M <- T M, ``steps`` times, for the scores of every class alike; n = h * w."""
    tokens = scores.float().flatten(2).transpose(1, 2)
    # Under autocast the product would be one of half precision.
    with torch.autocast(tokens.device.type, enabled=False):
        for _ in range(steps):
            tokens = torch.bmm(transition, tokens)
    return tokens.transpose(1, 2).view(scores.shape)
