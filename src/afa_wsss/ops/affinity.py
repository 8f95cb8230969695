"""Which pairs of tokens belong together: the locality window and the affinity labels (AFA, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Shaped, UInt8
from torch import Tensor

from afa_wsss.types import IGNORE_INDEX


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


def affinity_labels(
    pseudo_label: Shaped[Tensor, "b H W"], *, grid: tuple[int, int], radius: int
) -> UInt8[Tensor, "b n n"]:
    """Y_aff of every pair of tokens (AFA, equation 5): pixel labels sampled at the tokens by nearest neighbor.

    Args:
        pseudo_label: Class of each pixel, background 0, 255 where unknown.
        grid: Height and width of the token grid.
        radius: Largest distance (Chebyshev) of a pair that counts, in tokens.

    Returns:
        1 where both tokens have the same class, 0 where they differ, 255 where either is unknown or they lie farther
        apart than ``radius``.

    Example:
        >>> labels = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
        >>> affinity_labels(labels, grid=(1, 3), radius=2).tolist()
        [[[1, 0, 255], [0, 1, 255], [255, 255, 255]]]
    """
    tokens = F.interpolate(pseudo_label[:, None].float(), size=tuple(grid), mode="nearest").flatten(1)
    same = (tokens[:, :, None] == tokens[:, None, :]).to(torch.uint8)
    known = tokens != IGNORE_INDEX
    near = locality_mask(*grid, radius=radius, device=tokens.device)
    counted = known[:, :, None] & known[:, None, :] & near
    return same.masked_fill_(~counted, IGNORE_INDEX)
