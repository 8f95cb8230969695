"""Labels at the size of a large photo from scores at a smaller one, in strips: never all scores at full size.

A photo of 12 million pixels and 21 classes has a gigabyte of scores, and its labels have 12 MB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from afa_wsss.ops.pseudo_label import argmax_labels

STRIP = 2**20
"""Largest number of values of a strip: 4 MB of float32."""


def strips(
    maps: Float[Tensor, "b d h w"], size: Sequence[int], *, most: int = STRIP
) -> Iterator[tuple[slice, Float[Tensor, "b d _ W"]]]:
    """The rows of ``resize(maps, size)`` from the top, each time as many as fit into ``most`` values.

    Yields:
        Which rows they are, and their values; all rows at once where ``maps`` has that size.
    """
    height, width = size
    if tuple(maps.shape[-2:]) == (height, width):
        yield slice(0, height), maps
        return
    count = max(1, most // max(1, maps[..., 0, 0].numel() * width))
    for top in range(0, height, count):
        rows = slice(top, min(top + count, height))
        yield rows, _rows(maps, rows, (height, width))


def _rows(maps: Tensor, rows: slice, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation is that of rows, then that of columns."""
    height, width = size
    places = (torch.arange(rows.start, rows.stop, device=maps.device) + 0.5) * (maps.shape[-2] / height) - 0.5
    places = places.clamp(min=0)
    above = places.long().clamp(max=maps.shape[-2] - 1)
    below = (above + 1).clamp(max=maps.shape[-2] - 1)
    weight = (places - above).to(maps.dtype)[:, None]
    mixed = torch.lerp(maps.index_select(-2, above), maps.index_select(-2, below), weight)
    return F.interpolate(mixed, size=(rows.stop - rows.start, width), mode="bilinear", align_corners=False)


def labels_at(scores: Float[Tensor, "b c h w"], size: Sequence[int]) -> UInt8[Tensor, "b H W"]:
    """``argmax_labels(resize(scores, size))``."""
    labels = scores.new_empty((len(scores), *size), dtype=torch.uint8)
    for rows, part in strips(scores, size):
        labels[:, rows] = argmax_labels(part)
    return labels


def enlarge_labels(labels: UInt8[Tensor, "b h w"], size: Sequence[int]) -> UInt8[Tensor, "b H W"]:
    """Labels at another size, whose borders are smooth: the value with the largest bilinearly resized indicator.

    Args:
        labels: Any values, 255 among them.
        size: Height and width wanted.
    """
    if tuple(labels.shape[-2:]) == tuple(size):
        return labels
    values: Tensor = torch.unique(labels)
    indicators = (labels[:, None] == values[:, None, None]).float()
    return values[labels_at(indicators, size).long()]
