"""How much of the photos labels call foreground, background and unknown, counted without waiting for the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torchmetrics import Metric

from afa_wsss.ops.pseudo_label import box_mask

FINEST = 128
"""Rows and columns beyond twice this many are thinned out before counting: shares of large photos need no more."""


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
        rows, columns = max(1, height // FINEST), max(1, width // FINEST)
        inside, thinned = (maps[:, ::rows, ::columns] for maps in (box_mask(boxes, height, width), labels))
        unknown, outside = len(self.counts) - 1, len(self.counts)
        values = torch.where(inside, thinned.long().clamp(max=unknown), outside).flatten()
        # Not bincount, which waits for the device to know how many bins it needs.
        found = self.counts.new_zeros(outside + 1).scatter_add_(0, values, torch.ones_like(values))
        self.counts += rows * columns * found[:-1]

    def compute(self) -> LabelShareResult:
        """Shares over all batches; NaN where nothing was counted."""
        shares = (100 * self.counts.double() / self.counts.sum()).float()
        return LabelShareResult(shares[1:-1].sum(), shares[0], shares[-1], shares[1:-1])
