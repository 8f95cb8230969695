"""How much of the photos labels call foreground, background and unknown, counted without waiting for the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor
from torchmetrics import Metric

from afa_wsss.ops.pseudo_label import box_mask

MOST_LINES = 256
"""Rows or columns of a photo that are counted at most: shares of large photos need no more."""


def thinned(maps: Shaped[Tensor, "b H W"]) -> Shaped[Tensor, "b h w"]:
    """Every n-th row and every m-th column, for the smallest n and m that leave at most ``MOST_LINES`` of each.

    Example:
        >>> thinned(torch.zeros(1, 256, 257)).shape
        torch.Size([1, 256, 129])
    """
    rows, columns = strides_of(maps.shape[-2:])
    return maps[:, ::rows, ::columns]


def strides_of(size: Sequence[int]) -> tuple[int, int]:
    """Rows and columns from one that ``thinned`` keeps to the next, of a photo's height and width."""
    height, width = (math.ceil(side / MOST_LINES) for side in size)
    return height, width


class LabelShareResult(NamedTuple):
    """Shares in percent of the photos' pixels, padding left out; foreground, background and unknown sum to 100.

    torchmetrics makes the values of a single class scalars.

    Attributes:
        foreground: Pixels of any foreground class.
        background: Pixels of the background.
        unknown: Pixels without a class, such as those of 255.
        classes: Pixels of each foreground class.
    """

    foreground: Float[Tensor, ""]
    background: Float[Tensor, ""]
    unknown: Float[Tensor, ""]
    classes: Float[Tensor, " k"]


class LabelShares(Metric):
    """Shares of the pixels that labels give to each class, summed over batches and processes.

    ``update`` reads no value: it may run in every training step.

    Example:
        >>> shares = LabelShares(2)
        >>> labels = torch.tensor([[[0, 1], [1, 255]]], dtype=torch.uint8)
        >>> shares.update(labels, torch.tensor([[0, 2, 0, 2]]))
        >>> found = shares.compute()
        >>> found.foreground.item(), found.background.item(), found.unknown.item(), found.classes.tolist()
        (50.0, 25.0, 25.0, [50.0, 0.0])
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, classes: int, **settings: Any) -> None:
        """``classes`` is the number of foreground classes."""
        super().__init__(**settings)
        self.add_state("counts", default=torch.zeros(classes + 2, dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self,
        labels: UInt8[Tensor, "b H W"] | Int[Tensor, "b H W"],
        boxes: Int[Tensor, "b 4"],
        *,
        size: Sequence[int] | None = None,
    ) -> None:
        """Adds a batch; of photos with more than 256 rows or columns every second, third, ... one stands for all.

        Args:
            labels: Background 0; what is no class is unknown, such as 255.
            boxes: ``(y0, y1, x0, x1)`` of the photos; pixels outside are not counted.
            size: Height and width that the boxes are measured in; None for those of ``labels``.
        """
        height, width = labels.shape[-2:]
        if size is not None and tuple(size) != (height, width):
            boxes = torch.cat([boxes[:, :2] * height // size[0], boxes[:, 2:] * width // size[1]], dim=1)
        rows, columns = strides_of((height, width))
        inside = thinned(box_mask(boxes, height, width))
        unknown, outside = len(self.counts) - 1, len(self.counts)
        values = torch.where(inside, thinned(labels).long().clamp(max=unknown), outside).flatten()
        # Not bincount, which waits for the device to know how many bins it needs.
        found = self.counts.new_zeros(outside + 1).scatter_add_(0, values, torch.ones_like(values))
        self.counts += rows * columns * found[:-1]

    def compute(self) -> LabelShareResult:
        """Shares over all batches; NaN where nothing was counted."""
        shares = (100 * self.counts.double() / self.counts.sum()).float()
        return LabelShareResult(shares[1:-1].sum(), shares[0], shares[-1], shares[1:-1])
