"""Which pairs of tokens belong together: the locality window and the labels of affinity (AFA, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Shaped, UInt8
from torch import Tensor

from afa_wsss.types import IGNORE_INDEX


def locality_mask(height: int, width: int, *, radius: int, device: torch.device | None = None) -> Bool[Tensor, "n n"]:
    """Pairs of grid cells at most ``radius`` apart (Chebyshev); n = height * width."""
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    near_rows = (rows[:, None] - rows).abs() <= radius
    near_columns = (columns[:, None] - columns).abs() <= radius
    return (near_rows[:, None, :, None] & near_columns[None, :, None, :]).reshape(height * width, height * width)


def affinity_labels(
    pseudo_label: Shaped[Tensor, "b H W"], *, grid: tuple[int, int], radius: int
) -> UInt8[Tensor, "b n n"]:
    """Y_aff of every pair of tokens (AFA, equation 5): pixel labels, read at the tokens by nearest neighbour.

    Args:
        pseudo_label: Classes, 255 where unknown.
        grid: Height and width of the token grid.
        radius: Pairs farther apart (Chebyshev) are ignored.

    Returns:
        1 where both tokens have one class, 0 where two, 255 where either is unknown or they lie too far apart.
    """
    tokens = F.interpolate(pseudo_label[:, None].float(), size=tuple(grid), mode="nearest").flatten(1)
    same = (tokens[:, :, None] == tokens[:, None, :]).to(torch.uint8)
    known = tokens != IGNORE_INDEX
    near = locality_mask(*grid, radius=radius, device=tokens.device)
    counted = known[:, :, None] & known[:, None, :] & near
    return same.masked_fill_(~counted, IGNORE_INDEX)
