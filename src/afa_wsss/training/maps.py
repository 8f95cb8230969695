"""What labels are made from: class activation maps of the classes in each photo, and the affinity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.inference import multi_scale_cam
from afa_wsss.models import AFA
from afa_wsss.ops.pseudo_label import PresentClasses, present_classes
from afa_wsss.supervision import LabelStages, Supervision
from afa_wsss.types import IGNORE_INDEX, AFAOutput, Batch, Targets

MOST_CLASSES = IGNORE_INDEX - 1
"""Foreground classes that labels of pixels have room for, beside background and the label that is ignored."""


class Maps(NamedTuple):
    """Of a batch; see ``PresentClasses`` for the slots.

    Attributes:
        present: Which class each slot is.
        cam: (b, s, H, W) normalised maps of the slots.
        affinity: Of the largest scale, on ``grid``.
        grid: Height and width of its token grid.
    """

    present: PresentClasses
    cam: Tensor
    affinity: Tensor
    grid: tuple[int, int]

    def of_classes(self, count: int) -> Tensor:
        """The maps of all ``count`` classes; 0 for those that no photo needs a slot for."""
        cam = self.cam.new_zeros((len(self.cam), count, *self.cam.shape[-2:]))
        return cam.scatter_(1, self.present.classes[..., None, None].expand_as(self.cam), self.cam)


def make_maps(network: AFA, batch: Batch, images: Tensor, output: AFAOutput, *, scales: Sequence[float]) -> Maps:
    """Maps of ``images``, which are those of ``batch`` normalised; ``output`` is reused where that is exact."""
    present = present_classes(batch.image_labels, batch.most_classes)
    known = output if network.forward_activates() else None
    cam, affinity = multi_scale_cam(network, images, scales=scales, classes=present.classes, known=known)
    grid = network.grid(*(int(side * max(scales)) for side in images.shape[-2:]))
    return Maps(present, cam, affinity, grid)


def make_targets(
    supervision: Supervision, batch: Batch, maps: Maps, *, grid: tuple[int, int], step: int, classes: int
) -> Targets:
    """Targets of a training step at or after ``supervision.first_step``; ``grid`` is that of the training pass.

    Raises:
        UserError: For more classes than labels of pixels have room for.
    """
    if classes > MOST_CLASSES:
        raise UserError(
            f"need at most {MOST_CLASSES} classes for labels of pixels, which are bytes, got {classes}; merge some, or "
            "train the class branch alone: supervision.first_step=${trainer.max_steps}"
        )
    read = _readable(batch, maps)
    targets = supervision.targets(*read, grid=grid, affinity_grid=maps.grid, step=step, full_frames=batch.full_frames)
    pixels = None if targets.pseudo_label is None else maps.present.named(targets.pseudo_label)
    return Targets(batch.image_labels, pixels, targets.affinity_label, batch.images, batch.boxes)


def read_stages(supervision: Supervision, batch: Batch, maps: Maps) -> LabelStages:
    """The maps read as labels of classes after each stage of the method."""
    read = _readable(batch, maps)
    stages = supervision.stages(*read, affinity_grid=maps.grid, full_frames=batch.full_frames)
    return LabelStages(*(maps.present.named(labels) for labels in stages))


def _readable(batch: Batch, maps: Maps) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Photos in [0, 1], CAM, affinity, labels of the slots and boxes, as supervision takes them."""
    return batch.images.float() / 255, maps.cam, maps.affinity, maps.present.labels, batch.boxes
