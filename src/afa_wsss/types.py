"""The named tuples that the rooms of the package hand to one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from afa_wsss.errors import UserError as UserError

if TYPE_CHECKING:  # commands that need no torch start at once
    from jaxtyping import Float, Int, UInt8
    from torch import Tensor

IGNORE_INDEX = 255
"""Label of a pixel, or of a pair of tokens, that no loss and no score counts."""


class Batch(NamedTuple):
    """Photos as the loader yields them: uint8, so that little is copied to the device; normalized there.

    Attributes:
        images: RGB in 0-255.
        image_labels: Multi-hot, 1 where the class is somewhere in the photo.
        boxes: ``(y0, y1, x0, x1)`` of the photo inside the crop, half open; the rest is padding.
        names: Names of the photos, without folder or suffix.
        masks: Target classes at full size, background 0, 255 ignored; None in training and where a data set has none.
        most_classes: Largest number of classes in one photo, None if not counted. A Python int: reading it causes no
            device sync.
        full_frames: Whether every photo is known to fill its frame, without padding. A Python bool: reading it causes
            no device sync.
        full_sizes: Height and width of each photo on disk where any of them was shrunk; None where none was.
    """

    images: UInt8[Tensor, "b 3 H W"]
    image_labels: Float[Tensor, "b k"]
    boxes: Int[Tensor, "b 4"]
    names: tuple[str, ...]
    masks: UInt8[Tensor, "b _ _"] | None = None
    most_classes: int | None = None
    full_frames: bool = False
    full_sizes: tuple[tuple[int, int], ...] | None = None


class AFAOutput(NamedTuple):
    """Output of the network for a batch; the token grid is h x w with n = h * w.

    Attributes:
        class_logits: One logit for each foreground class.
        seg_logits: Segmentation logits, background first, at a quarter of the input's size.
        affinity: Symmetric, in (0, 1): how likely two tokens belong to one class (AFA, eq. 4).
        cam: The class weights applied to the last features, before ReLU, not normalized, without gradient.
    """

    class_logits: Float[Tensor, "b k"]
    seg_logits: Float[Tensor, "b c H4 W4"]
    affinity: Float[Tensor, "b n n"]
    cam: Float[Tensor, "b k h w"]


class Labels(NamedTuple):
    """Pixel labels of one prediction stage.

    Attributes:
        labels: Class of each pixel, background 0, none ignored.
        scores: What the labels were thresholded from, in [0, 1], one map for each foreground class and 0 for absent
            classes. A stage that gives them is also scored at every background score and drawn as a heat map.
    """

    labels: UInt8[Tensor, "b H W"]
    scores: Float[Tensor, "b k H W"] | None = None


class Targets(NamedTuple):
    """What the losses compare the network's output with; a label maker makes them, ``Targets.of`` starts from a batch.

    Attributes:
        image_labels: Multi-hot.
        pseudo_label: Class of each pixel, background 0, 255 where it is not reliable; None if not made.
        affinity_label: 1 where two tokens have one class, 0 where they differ, 255 unknown or far; None if not made.
        photos: RGB in 0-255, for losses that compare colors; None without a batch.
        boxes: ``(y0, y1, x0, x1)`` of the photo inside the crop; None without a batch.
        others: Targets of other label makers, by name.
    """

    image_labels: Float[Tensor, "b k"]
    pseudo_label: UInt8[Tensor, "b H W"] | None = None
    affinity_label: UInt8[Tensor, "b n n"] | None = None
    photos: UInt8[Tensor, "b 3 H W"] | None = None
    boxes: Int[Tensor, "b 4"] | None = None
    others: Mapping[str, Tensor] = {}

    @classmethod
    def of(
        cls,
        batch: Batch,
        *,
        pseudo_label: UInt8[Tensor, "b H W"] | None = None,
        affinity_label: UInt8[Tensor, "b n n"] | None = None,
        **others: Tensor,
    ) -> Targets:
        """The targets that every batch holds (``FROM_BATCH``) and those that were made of it."""
        return cls(batch.image_labels, pseudo_label, affinity_label, batch.images, batch.boxes, others)


FROM_BATCH = ("image_labels", "photos", "boxes")
"""Targets that need no label maker."""
