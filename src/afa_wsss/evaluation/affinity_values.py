"""How the affinity of near tokens is distributed: whether it is saturated at 0 or 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from afa_wsss.ops.affinity import TokenAffinity, locality_mask
from afa_wsss.ops.window_affinity import near_affinity, near_pairs, tiles_of
from afa_wsss.types import AffinityPairs, dense

LOW, HIGH = 0.01, 0.99
"""Values beyond which the sigmoid has hardly any gradient."""


class AffinityValuesResult(NamedTuple):
    """Values of all pairs; NaN without any.

    Attributes:
        mean: In (0, 1).
        spread: Their standard deviation, in [0, 0.5].
        below: Share below ``LOW``, in percent.
        above: Share above ``HIGH``, in percent.
    """

    mean: Float[Tensor, ""]
    spread: Float[Tensor, ""]
    below: Float[Tensor, ""]
    above: Float[Tensor, ""]


class AffinityValues(Metric):
    """Mean, spread and saturation of the affinity of two different tokens within a radius, over batches and processes.

    Example:
        >>> values = AffinityValues()
        >>> values.update(torch.tensor([[[1.0, 0.2], [0.2, 1.0]]]), (1, 2), radius=1)
        >>> round(values.compute().mean.item(), 3)
        0.2
    """

    full_state_update = False
    pairs: Tensor
    sums: Tensor

    def __init__(self, **settings: Any) -> None:
        """Nothing is counted yet."""
        super().__init__(**settings)
        self.add_state("pairs", default=torch.zeros(3, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("sums", default=torch.zeros(2, dtype=torch.double), dist_reduce_fx="sum")

    def update(self, affinity: AffinityPairs | Tensor, grid: tuple[int, int], *, radius: int) -> None:
        """Adds a batch.

        Args:
            affinity: Affinity of all pairs, or the vectors that it is made of.
            grid: Height and width of the token grid.
            radius: Largest distance (Chebyshev) of the pairs that count, in tokens.
        """
        for values, weights in _near_values(affinity, grid, radius):
            kinds = torch.stack([weights, weights * (values < LOW), weights * (values > HIGH)])
            self.pairs += kinds.flatten(1).sum(dim=1, dtype=torch.double)
            moments = torch.stack([weights * values, weights * values.square()])
            self.sums += moments.flatten(1).sum(dim=1, dtype=torch.double)

    def compute(self) -> AffinityValuesResult:
        """The values of all batches."""
        count, below, above = self.pairs
        mean, square = self.sums / count
        spread = (square - mean.square()).clamp(min=0).sqrt()
        return AffinityValuesResult(
            *(value.float() for value in (mean, spread, 100 * below / count, 100 * above / count))
        )


def _near_values(
    affinity: AffinityPairs | Tensor, grid: tuple[int, int], radius: int
) -> Iterator[tuple[Float[Tensor, "..."], Float[Tensor, "..."]]]:
    """Affinities and how often each counts: once for each order of two different tokens within the radius."""
    if not isinstance(affinity, TokenAffinity):
        values = dense(affinity).float()
        close = locality_mask(*grid, radius=radius, device=values.device)
        counted = close & ~torch.eye(len(close), dtype=torch.bool, device=close.device)
        yield values, counted.float().expand_as(values)
        return
    tiles, device = tiles_of(grid, radius=radius), affinity.queries.device
    inside = tiles.cut(torch.ones_like(affinity.queries[..., :1])) > 0
    pairs = near_pairs(tiles, len(affinity.queries), device)
    for part, values in zip(pairs, near_affinity(affinity, tiles, pairs), strict=True):
        own, near = inside[: part.neighbors.tiles], part.neighbors.of(inside).transpose(1, 2)
        close = part.close
        if part.neighbors.down == 0:  # the first neighbor of a tile is the tile itself
            close = close & ~torch.eye(*close.shape, dtype=torch.bool, device=device)
        yield values, (own & near & part.there[:, None] & close) * part.orders
