"""What labels are made from: class activation maps of the classes in each photo, and the affinity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.inference.multi_scale import multi_scale_maps
from afa_wsss.inference.views import size_at, smallest_side
from afa_wsss.ops.pseudo_label import PresentClasses, present_classes
from afa_wsss.supervision.label_maker import Network
from afa_wsss.types import IGNORE_INDEX, AFAOutput, AffinityPairs, Batch

MOST_CLASSES = IGNORE_INDEX - 1
"""Foreground classes that a byte has room for, beside the background and the label that is ignored."""


TOLERANCE = 1e-3
"""What rounding, in half precision too, may add to the largest value of a map."""


class Maps(NamedTuple):
    """Maps of the classes present in each photo of a batch; see ``PresentClasses`` for the slots.

    Attributes:
        present: Which class each slot is.
        cam: (b, s, H, W) normalized maps of the slots.
        affinity: Affinity at the largest scale, on ``grid``; n x n values only where they are asked for.
        grid: Height and width of the token grid of ``affinity``.
    """

    present: PresentClasses
    cam: Tensor
    affinity: AffinityPairs | Tensor
    grid: tuple[int, int]

    def all_classes(self, count: int) -> Tensor:
        """(b, count, H, W) maps of all classes; 0 for those that are absent from the photo."""
        cam = self.cam.new_zeros((len(self.cam), count, *self.cam.shape[-2:]))
        shown = self.cam * self.present.labels[..., None, None]
        return cam.scatter_(1, self.present.classes[..., None, None].expand_as(self.cam), shown)


def check_maps(maps: Maps | Any, batch: Batch, *, made_by: str) -> None:
    """Checks maps that a label maker of one's own changed; their values where that waits for no device.

    Raises:
        UserError: For anything but ``Maps`` whose CAMs have a slot for each class present, and lie in [0, 1].
    """
    if not isinstance(maps, Maps):
        raise UserError(f"need Maps from {made_by}, got {type(maps).__name__}; return maps._replace(cam=...)")
    cam, wanted = maps.cam, (len(batch.images), maps.present.labels.shape[1], *batch.images.shape[-2:])
    if tuple(cam.shape) != wanted:
        raise UserError(f"need cam of shape {wanted} from {made_by}, got {tuple(cam.shape)}")
    if cam.device.type == "cpu" and not bool(((cam >= 0) & (cam <= 1 + TOLERANCE)).all()):
        low, high = (float(value) for value in cam.aminmax())
        raise UserError(f"need cam in [0, 1] from {made_by}, got {low:.3g} to {high:.3g}; normalize it")


def make_maps(network: Network, batch: Batch, images: Tensor, output: AFAOutput, *, scales: Sequence[float]) -> Maps:
    """Maps over several scales; ``output`` is reused where that is exact.

    Args:
        network: Gives maps and affinity.
        batch: Image labels and the largest number of classes in a photo.
        images: The photos of ``batch``, normalized.
        output: ``network(images)``.
        scales: Scales of the class activation maps.

    Raises:
        UserError: For more classes than labels, which are bytes, have room for.
    """
    if network.num_classes > MOST_CLASSES:
        raise UserError(
            f"need at most {MOST_CLASSES} classes for pixel labels, which are bytes, got {network.num_classes}; merge "
            "some, or leave some out",
            kind="too_many_classes",
        )
    present = present_classes(batch.image_labels, batch.most_classes)
    known = output if network.forward_activates() else None
    cam, affinity = multi_scale_maps(network, images, scales=scales, classes=present.classes, known=known)
    grid = network.grid(*size_at(images.shape[-2:], max(scales), least=smallest_side(network)))
    return Maps(present, cam, affinity, grid)
