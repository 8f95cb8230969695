"""A padded batch taken apart again: padding would change attention, maps and so the scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from afa_wsss.types import Batch

Size = tuple[int, int]
Box = tuple[int, int, int, int]


def frames(batch: Batch) -> tuple[Batch, ...]:
    """Batches of photos of one size each, without padding; together they hold every photo once.

    What a network makes of a photo does not depend on the photos beside it then. Photos of one size share a batch, in
    their order; the batches are in the order of their first photos.
    """
    if batch.full_frames and batch.full_sizes is None:
        return (batch,)
    boxes: list[Box] = [(y0, y1, x0, x1) for y0, y1, x0, x1 in batch.boxes.tolist()]
    rows: dict[tuple[Size, Size], list[int]] = {}
    for row, (y0, y1, x0, x1) in enumerate(boxes):
        size = (y1 - y0, x1 - x0)
        rows.setdefault((size, batch.full_sizes[row] if batch.full_sizes else size), []).append(row)
    return tuple(_frame(batch, chosen, boxes, *sizes) for sizes, chosen in rows.items())


def full_boxes(batch: Batch) -> Int[Tensor, "b 4"]:
    """``batch.boxes`` in pixels of the masks: where each photo is at full size."""
    if batch.full_sizes is None:
        return batch.boxes
    return batch.boxes.new_tensor([[0, height, 0, width] for height, width in batch.full_sizes])


def _frame(batch: Batch, rows: Sequence[int], boxes: Sequence[Box], size: Size, full_size: Size) -> Batch:
    """The photos of some rows, which have one size."""
    cuts = [(row, slice(y0, y1), slice(x0, x1)) for row in rows for y0, y1, x0, x1 in [boxes[row]]]
    masks = batch.masks
    if masks is not None and batch.full_sizes is not None:  # a mask at full size is at the top left of its frame
        masks = masks[list(rows), : full_size[0], : full_size[1]]
    elif masks is not None:
        masks = torch.stack([masks[cut] for cut in cuts])
    image_labels = batch.image_labels[list(rows)]
    return Batch(
        images=torch.stack([batch.images[row, :, height, width] for row, height, width in cuts]),
        image_labels=image_labels,
        boxes=batch.boxes.new_tensor([[0, size[0], 0, size[1]]] * len(rows)),
        names=tuple(batch.names[row] for row in rows),
        masks=masks,
        most_classes=None if batch.most_classes is None else int(image_labels.sum(dim=1).max()),
        full_frames=True,
        full_sizes=None if full_size == size else (full_size,) * len(rows),
    )
