"""Pairs of tokens: the affinity, the locality window and the affinity labels (AFA, section 3.2).

``window_affinity`` computes the pairs within a radius alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor

from afa_wsss.types import IGNORE_INDEX


class TokenAffinity(NamedTuple):
    """The affinity A = sigmoid(Q K^T + K Q^T + bias) as the vectors that it is made of (AFA, equation 4).

    Attributes:
        queries: Q: the queries of all heads that are read, concatenated; each head is multiplied by its weight.
        keys: K: the keys of all heads that are read, concatenated.
        bias: Added to every pair.
    """

    queries: Float[Tensor, "b n d"]
    keys: Float[Tensor, "b n d"]
    bias: Float[Tensor, "1"]

    def dense(self) -> Float[Tensor, "b n n"]:
        """A of all pairs: symmetric, in (0, 1), float32."""
        # Autocast would compute the products in half precision: in bfloat16 a sigmoid above 0.998 rounds to 1 and has
        # no gradient, and in float16 products of queries and keys, which nothing scales, may be infinite.
        with torch.autocast(self.queries.device.type, enabled=False):
            scores = self.queries.float() @ self.keys.float().transpose(1, 2)
            return torch.sigmoid(scores + scores.transpose(1, 2) + self.bias.float())

    def row(self, image: int, token: int) -> Float[Tensor, " n"]:
        """A of one token with all tokens of its image, float32."""
        queries, keys = self.queries[image].float(), self.keys[image].float()
        with torch.autocast(queries.device.type, enabled=False):
            return torch.sigmoid(keys @ queries[token] + queries @ keys[token] + self.bias.float())

    def detach(self) -> TokenAffinity:
        """The same without gradient."""
        return TokenAffinity(*(part.detach() for part in self))


class TokenLabels(NamedTuple):
    """Affinity labels as the labels of the tokens that they compare.

    Attributes:
        tokens: Class of each token, background 0, 255 where unknown.
        radius: Largest distance (Chebyshev) of a pair that counts, in tokens; None for all pairs.
    """

    tokens: UInt8[Tensor, "b h w"]
    radius: int | None

    def dense(self) -> UInt8[Tensor, "b n n"]:
        """Y_aff of all pairs: see ``affinity_labels``."""
        return _pair_labels(self.tokens, self.radius)


def locality_mask(height: int, width: int, *, radius: int, device: torch.device | None = None) -> Bool[Tensor, "n n"]:
    """Pairs of grid cells at most ``radius`` apart (Chebyshev); n = height * width, row by row.

    Example:
        >>> locality_mask(1, 4, radius=1).int().tolist()
        [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    """
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    near_rows = (rows[:, None] - rows).abs() <= radius
    near_columns = (columns[:, None] - columns).abs() <= radius
    return (near_rows[:, None, :, None] & near_columns[None, :, None, :]).reshape(height * width, height * width)


def token_labels(pseudo_label: Shaped[Tensor, "b H W"], *, grid: tuple[int, int], radius: int | None) -> TokenLabels:
    """``affinity_labels`` as the labels of the tokens."""
    return TokenLabels(_sampled(pseudo_label, grid), radius)


def affinity_labels(
    pseudo_label: Shaped[Tensor, "b H W"], *, grid: tuple[int, int], radius: int | None
) -> UInt8[Tensor, "b n n"]:
    """Y_aff of every pair of tokens (AFA, equation 5): pixel labels sampled at the tokens by nearest neighbor.

    Args:
        pseudo_label: Class of each pixel, background 0, 255 where unknown.
        grid: Height and width of the token grid.
        radius: Largest distance (Chebyshev) of a pair that counts, in tokens; None for all pairs.

    Returns:
        1 where both tokens have the same class, 0 where they differ, 255 where either is unknown or they lie farther
        apart than ``radius``.

    Example:
        >>> labels = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
        >>> affinity_labels(labels, grid=(1, 3), radius=2).tolist()
        [[[1, 0, 255], [0, 1, 255], [255, 255, 255]]]
    """
    return _pair_labels(_sampled(pseudo_label, grid), radius)


def _sampled(pseudo_label: Tensor, grid: tuple[int, int]) -> Tensor:
    return F.interpolate(pseudo_label[:, None].float(), size=tuple(grid), mode="nearest")[:, 0].to(torch.uint8)


def _pair_labels(tokens: Tensor, radius: int | None) -> Tensor:
    flat = tokens.flatten(1)
    same = (flat[:, :, None] == flat[:, None, :]).to(torch.uint8)
    known = flat != IGNORE_INDEX
    counted = known[:, :, None] & known[:, None, :]
    if radius is not None:
        counted = counted & locality_mask(*tokens.shape[-2:], radius=radius, device=tokens.device)
    return same.masked_fill_(~counted, IGNORE_INDEX)
