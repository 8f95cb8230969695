"""The named tuples that the packages of ``afa_wsss`` hand to one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from afa_wsss.errors import UserError as UserError

if TYPE_CHECKING:  # commands that need no torch start at once
    from jaxtyping import Float, Int, UInt8
    from torch import Tensor

IGNORE_INDEX = 255
"""Label of a pixel, or of a pair of tokens, that no loss and no score looks at."""


class Batch(NamedTuple):
    """Photos as they leave the loader: uint8, so that little travels to the device; normalised there.

    Attributes:
        images: RGB in 0-255.
        image_labels: Multi-hot, 1 where the class is somewhere in the photo.
        boxes: ``(y0, y1, x0, x1)`` of the photo inside the crop, half open; the rest is padding.
        names: The photos' names, without folder or ending.
        masks: True classes, background 0, 255 ignored; None in training and where a data set has none.
        most_classes: Of the photo that has the most of them; None where nobody counted. A number of Python's, so that
            no one has to wait for a device to know it.
        full_frames: Whether every photo is known to fill its frame, with no padding; likewise.
    """

    images: UInt8[Tensor, "b 3 H W"]
    image_labels: Float[Tensor, "b k"]
    boxes: Int[Tensor, "b 4"]
    names: tuple[str, ...]
    masks: UInt8[Tensor, "b H W"] | None = None
    most_classes: int | None = None
    full_frames: bool = False


class AFAOutput(NamedTuple):
    """What the network says of a batch; the token grid is h x w with n = h * w.

    Attributes:
        class_logits: One logit a foreground class.
        seg_logits: Segmentation logits, background first, at a quarter of the input's size.
        affinity: Symmetric, in (0, 1): how much two tokens belong to one class (AFA, eq. 4).
        cam: The class weights on the last features, before ReLU and not normalised, without gradient.
    """

    class_logits: Float[Tensor, "b k"]
    seg_logits: Float[Tensor, "b c H4 W4"]
    affinity: Float[Tensor, "b n n"]
    cam: Float[Tensor, "b k h w"]


class Targets(NamedTuple):
    """What the losses compare the network's output with.

    Attributes:
        image_labels: Multi-hot.
        pseudo_label: Class of each pixel, background 0, 255 where it is not reliable; None in the first phase.
        affinity_label: 1 where two tokens have one class, 0 where not, 255 unknown or far; None in the first phase.
        photos: RGB in 0-255, for losses that look at colours; None in the first phase.
        boxes: ``(y0, y1, x0, x1)`` of the photo inside the crop; None in the first phase.
    """

    image_labels: Float[Tensor, "b k"]
    pseudo_label: UInt8[Tensor, "b H W"] | None = None
    affinity_label: UInt8[Tensor, "b n n"] | None = None
    photos: UInt8[Tensor, "b 3 H W"] | None = None
    boxes: Int[Tensor, "b 4"] | None = None
