"""From scores of the classes in a photo to pixel labels (AFA, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.ops.cam import zero_absent
from afa_wsss.types import IGNORE_INDEX


class PresentClasses(NamedTuple):
    """The classes of each photo in slots: as many as the photo with the most classes needs.

    Maps and labels are computed for slots, which are few however many classes there are; ``named`` maps labels of slots
    back to classes.

    Attributes:
        classes: Foreground class of each slot, counted from 0: first the photo's own in ascending order, then others
            that fill the remaining slots.
        labels: 1 where the slot's class is in the photo, else 0.
    """

    classes: Int[Tensor, "b s"]
    labels: Float[Tensor, "b s"]

    def named(self, slots: UInt8[Tensor, "b H W"]) -> UInt8[Tensor, "b H W"]:
        """Class labels from slot labels; background 0 and 255 stay as they are."""
        table = self.classes.new_full((len(slots), 256), IGNORE_INDEX, dtype=torch.uint8)
        table[:, 0] = 0
        table[:, 1 : self.classes.shape[1] + 1] = self.classes + 1
        return table.gather(1, slots.flatten(1).long()).view(slots.shape)


def present_classes(image_labels: Float[Tensor, "b k"], most: int | None = None) -> PresentClasses:
    """Slots for the classes of each photo.

    Args:
        image_labels: Multi-hot.
        most: Largest number of classes in one photo, as in ``Batch.most_classes``; a Python int, so that no device sync
            is needed. None for a slot for each class.
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
        background_score: Score of the background at every pixel.
    """
    scores = torch.cat([torch.full_like(cam[:, :1], background_score), cam], dim=1)
    present = torch.cat([torch.ones_like(image_labels[:, :1]), image_labels], dim=1).bool()
    return scores.masked_fill(~present[..., None, None], float("-inf")).softmax(dim=1)


def argmax_labels(scores: Float[Tensor, "b c H W"]) -> UInt8[Tensor, "b H W"]:
    """The class with the highest score; the first one of equal scores.

    Raises:
        UserError: For more classes than a byte has room for.
    """
    if scores.shape[1] > IGNORE_INDEX:
        raise UserError(f"need at most {IGNORE_INDEX} classes with background for labels, got {scores.shape[1]}")
    # On a CPU, max is several times faster than argmax over a dimension that is not the last.
    return scores.max(dim=1).indices.to(torch.uint8)


def cam_labels(
    cam: Float[Tensor, "b k H W"], image_labels: Float[Tensor, "b k"], background_score: float
) -> UInt8[Tensor, "b H W"]:
    """The present class with the highest activation, or 0 where none is above the background score.

    Args:
        cam: In [0, 1].
        image_labels: Multi-hot.
        background_score: Threshold on the activation.

    Raises:
        UserError: For more classes than a byte has room for.
    """
    if cam.shape[1] >= IGNORE_INDEX:
        raise UserError(f"need at most {IGNORE_INDEX - 1} foreground classes for labels, got {cam.shape[1]}")
    value, best = zero_absent(cam, image_labels).max(dim=1)
    return torch.where(value > background_score, best + 1, 0).to(torch.uint8)


def box_mask(boxes: Int[Tensor, "b 4"], height: int, width: int) -> Bool[Tensor, "b H W"]:
    """Pixels inside the boxes (y0, y1, x0, x1), half open."""
    top, bottom, left, right = (side.view(-1, 1, 1) for side in boxes.unbind(1))
    rows = torch.arange(height, device=boxes.device).view(1, -1, 1)
    columns = torch.arange(width, device=boxes.device).view(1, 1, -1)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def combine(
    label_low: Int[Tensor, "b H W"] | UInt8[Tensor, "b H W"],
    label_high: Int[Tensor, "b H W"] | UInt8[Tensor, "b H W"],
    boxes: Int[Tensor, "b 4"] | None = None,
) -> UInt8[Tensor, "b H W"]:
    """Reliable labels from those at two background scores: foreground of the high one, background of both, else 255.

    Args:
        label_low: Labels at the low background score, which have more foreground.
        label_high: Labels at the high background score.
        boxes: (y0, y1, x0, x1) of the photos; pixels outside become 255. None for whole frames.
    """
    label = label_high.to(torch.uint8)
    label = label.masked_fill((label_high == 0) & (label_low != 0), IGNORE_INDEX)
    if boxes is not None:
        label = label.masked_fill(~box_mask(boxes, *label.shape[-2:]), IGNORE_INDEX)
    return label
