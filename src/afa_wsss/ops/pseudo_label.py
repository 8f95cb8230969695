"""From scores of the classes that are in a photo to labels of its pixels (AFA, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from afa_wsss.ops.cam import zero_absent
from afa_wsss.types import IGNORE_INDEX


class PresentClasses(NamedTuple):
    """The classes of each photo in as many slots as the fullest photo needs: few, however many classes there are.

    Maps and labels are made of slots alone; ``named`` gives the labels their classes back.

    Attributes:
        classes: From 0, the photo's own first and in order; any others fill the slots that are left.
        labels: 1 where the slot's class is in the photo.
    """

    classes: Int[Tensor, "b s"]
    labels: Float[Tensor, "b s"]

    def named(self, slots: UInt8[Tensor, "b H W"]) -> UInt8[Tensor, "b H W"]:
        """Labels of classes from labels of slots; background 0 and 255 stay."""
        table = self.classes.new_full((len(slots), 256), IGNORE_INDEX, dtype=torch.uint8)
        table[:, 0] = 0
        table[:, 1 : self.classes.shape[1] + 1] = self.classes + 1
        return table.gather(1, slots.flatten(1).long()).view(slots.shape)


def present_classes(image_labels: Float[Tensor, "b k"], most: int | None = None) -> PresentClasses:
    """Slots for the classes of each photo.

    Args:
        image_labels: Multi-hot.
        most: Classes of the photo that has the most of them, as ``Batch.most_classes`` knows without asking a GPU;
            None for a slot for each class.
    """
    slots = image_labels.shape[1] if most is None else max(most, 1)
    classes = image_labels.sort(dim=1, descending=True, stable=True).indices[:, :slots]
    return PresentClasses(classes, image_labels.gather(1, classes))


def background_scores(
    cam: Float[Tensor, "b k h w"], image_labels: Float[Tensor, "b k"], background_score: float
) -> Float[Tensor, "b c h w"]:
    """Softmax over the background score and the maps of the classes present; 0 for absent classes.

    Args:
        cam: In [0, 1].
        image_labels: Multi-hot.
        background_score: Of every pixel, beside the maps.
    """
    scores = torch.cat([torch.full_like(cam[:, :1], background_score), cam], dim=1)
    present = torch.cat([torch.ones_like(image_labels[:, :1]), image_labels], dim=1).bool()
    return scores.masked_fill(~present[..., None, None], float("-inf")).softmax(dim=1)


def argmax_labels(scores: Float[Tensor, "b c H W"]) -> UInt8[Tensor, "b H W"]:
    """The class of the highest score; of equal ones the first."""
    # On a CPU several times faster than argmax over a dimension that is not the last.
    return scores.max(dim=1).indices.to(torch.uint8)


def cam_labels(
    cam: Float[Tensor, "b k H W"], image_labels: Float[Tensor, "b k"], background_score: float
) -> UInt8[Tensor, "b H W"]:
    """The present class of the highest activation, or 0 where none is above the background score."""
    value, best = zero_absent(cam, image_labels).max(dim=1)
    return torch.where(value > background_score, best + 1, 0).to(torch.uint8)


def box_mask(boxes: Int[Tensor, "b 4"], height: int, width: int) -> Bool[Tensor, "b H W"]:
    """Pixels inside (y0, y1, x0, x1)."""
    top, bottom, left, right = (side.view(-1, 1, 1) for side in boxes.unbind(1))
    rows = torch.arange(height, device=boxes.device).view(1, -1, 1)
    columns = torch.arange(width, device=boxes.device).view(1, 1, -1)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def combine(
    label_low: Int[Tensor, "b H W"] | UInt8[Tensor, "b H W"],
    label_high: Int[Tensor, "b H W"] | UInt8[Tensor, "b H W"],
    boxes: Int[Tensor, "b 4"] | None = None,
) -> UInt8[Tensor, "b H W"]:
    """Reliable labels of two readings: the foreground of the strict one, the background of both, 255 elsewhere.

    Args:
        label_low: Read against the low background score, so it has much foreground.
        label_high: Read against the high one.
        boxes: Outside of (y0, y1, x0, x1) everything is 255.
    """
    label = label_high.to(torch.uint8)
    label = label.masked_fill((label_high == 0) & (label_low != 0), IGNORE_INDEX)
    if boxes is not None:
        label = label.masked_fill(~box_mask(boxes, *label.shape[-2:]), IGNORE_INDEX)
    return label
