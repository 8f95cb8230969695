"""What is read from curves over candidate background scores: where they are best, and where two have equal shares."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

CANDIDATES = (
    *(0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.14, 0.2, 0.25, 0.3, 0.35),
    *(0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
)
"""Background scores that are tried: closer together where they are low, since activations fall off quickly."""

NEARLY = 0.97
"""``low`` and ``high`` are where the split, or with masks the mIoU, is this much of the best one."""


def best_thresholds(quality: Float[Tensor, " t"]) -> Float[Tensor, "3"]:
    """``thresholds_at`` the candidate with the best mean split, or mIoU."""
    return thresholds_at(quality, int(quality.argmax()))


def thresholds_at(quality: Float[Tensor, " t"], index: int) -> Float[Tensor, "3"]:
    """``low``, ``high`` and ``background``: of ``CANDIDATES`` the one at ``index``, and where others fall behind it.

    See ``FoundThresholds``. Between two candidates the quality lies on a line. Where it stays nearly as good to the
    end, the end is taken.

    Args:
        quality: Mean split, or mIoU, at each of ``CANDIDATES``.
        index: Index of the candidate that becomes ``background``.
    """
    scores = quality.new_tensor(CANDIDATES)
    limit = quality[index] * NEARLY
    low = _crossing(scores[: index + 1].flip(0), quality[: index + 1].flip(0), limit)
    high = _crossing(scores[index:], quality[index:], limit)
    return torch.stack([low, high, scores[index]])


def _crossing(scores: Tensor, quality: Tensor, limit: Tensor) -> Tensor:
    """Where the quality, which begins at or above ``limit``, first falls below it."""
    below = (quality < limit).nonzero()
    if len(below) == 0:
        return scores[-1]
    after = int(below[0])
    before = after - 1
    part = (quality[before] - limit) / (quality[before] - quality[after]).clamp(min=1e-12)
    return torch.lerp(scores[before], scores[after], part)


def same_share(
    before: Float[Tensor, " t"], after: Float[Tensor, " t"], thresholds: Float[Tensor, "3"]
) -> Float[Tensor, "3"]:
    """Background scores after the walk at which as much is foreground as at ``thresholds`` before it.

    Args:
        before: Share of the pixels that are foreground at each of ``CANDIDATES`` before the walk; falling.
        after: Share of the pixels that are foreground at each of ``CANDIDATES`` after the walk.
        thresholds: Background scores before the walk.
    """
    scores = before.new_tensor(CANDIDATES)
    wanted = _interpolated(thresholds, scores, before)
    return _interpolated(-wanted, -falling(after), scores)


def falling(shares: Float[Tensor, " t"]) -> Float[Tensor, " t"]:
    """``shares`` made strictly falling: a higher background score leaves less foreground."""
    steps = torch.arange(len(shares), device=shares.device, dtype=shares.dtype)
    return shares.cummin(0).values - 1e-6 * steps


def at_score(background: Tensor, quality: Float[Tensor, " t"]) -> Tensor:
    """The quality of labels at a background score, on the lines between ``CANDIDATES``."""
    return weights_at(background, quality) @ quality


def weights_at(score: Tensor, like: Tensor) -> Float[Tensor, " t"]:
    """Weights of ``CANDIDATES`` whose sum is what lies at a score, on the lines between them.

    Args:
        score: One background score.
        like: A tensor of the type and device of the weights.
    """
    each = torch.eye(len(CANDIDATES)).to(like)
    return _interpolated(score[None], like.new_tensor(CANDIDATES), each)[0]


def _interpolated(places: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """Values, or rows of them, at ``places`` on the lines between ``values`` at ``known``, which rises.

    Beyond ``known`` they are those at its ends.
    """
    right = torch.searchsorted(known.contiguous(), places.contiguous()).clamp(1, len(known) - 1)
    part = ((places - known[right - 1]) / (known[right] - known[right - 1])).clamp(0, 1)
    return torch.lerp(values[right - 1], values[right], part.view(-1, *(1,) * (values.ndim - 1)))
