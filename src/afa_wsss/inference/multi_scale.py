"""Class activation maps and segmentation logits over several scales and mirror images (AFA, section 4.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.inference.views import Views, scaled, smallest_side
from afa_wsss.ops.cam import normalize_cam
from afa_wsss.ops.image import resize
from afa_wsss.types import AFAOutput, AffinityPairs, dense

CAM_SCALES = (1.0, 0.5, 1.5)
"""Scales of the class activation maps (AFA, section 4.1); the largest gives the affinity."""

LOGIT_SCALES = (1.0,)
"""Scales of the segmentation logits."""


def check_scales(scales: Sequence[float], name: str) -> tuple[float, ...]:
    """``scales`` as a tuple.

    Args:
        scales: Factors on the sides of the image; 1 for its own size.
        name: The argument that an error names.

    Raises:
        UserError: For no scale, or one that is not above 0.
    """
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise UserError(f"need scales above 0, got {list(scales)}", arguments=(name,))
    return tuple(scales)


@runtime_checkable
class Activates(Protocol):
    """A network with class activation maps of photos and mirror images, and affinity on demand."""

    def activate(
        self, images: Tensor, *, affinity: bool = False, mirror: bool = False
    ) -> tuple[Tensor, AffinityPairs | Tensor | None]:
        """See ``AFA.activate``; the affinity may also be a (b, n, n) tensor."""


@runtime_checkable
class Segments(Protocol):
    """A network with segmentation logits."""

    def segment(self, images: Tensor) -> Tensor:
        """See ``AFA.segment``."""


@torch.no_grad()
def multi_scale_cam(
    model: Activates,
    images: Float[Tensor, "b 3 H W"],
    *,
    scales: Sequence[float] = CAM_SCALES,
    classes: Int[Tensor, "b s"] | None = None,
    known: AFAOutput | None = None,
) -> tuple[Float[Tensor, "b s H W"], Float[Tensor, "b n n"]]:
    """Class activation maps of the whole batch, and the affinity of the largest scale, unmirrored.

    At each scale, the maps of a photo and of its mirror image are resized to the input's size; their pixelwise maximum
    goes through ReLU. The sum over scales is normalized for each photo and class: minus its minimum, divided by the new
    maximum + 1e-5.

    Args:
        model: Anything with ``activate``, or ``Views`` of these images.
        images: Normalized.
        scales: At least one, each above 0; the largest gives the affinity, the first one of equals.
        classes: The classes whose maps are wanted, for each photo, counted from 0; None for all.
        known: The model's output for these images, if ``AFA.forward_activates`` allows to reuse it. Scale 1 then needs
            a pass of the mirror images alone.

    Returns:
        Maps in [0, 1], also of classes that are not in the photo, and the affinity; both float32.

    Raises:
        UserError: For no scale or one that is not above 0, and for a model without affinity.

    Example:
        >>> from afa_wsss.models import create_model
        >>> network = create_model("mit_b0", num_classes=3).eval()
        >>> cam, affinity = multi_scale_cam(network, torch.zeros(1, 3, 64, 64), scales=(1.0, 0.5))
        >>> tuple(cam.shape), tuple(affinity.shape)
        ((1, 3, 64, 64), (1, 16, 16))
    """
    cam, affinity = multi_scale_maps(model, images, scales=scales, classes=classes, known=known)
    return cam, dense(affinity).float()


@torch.no_grad()
def multi_scale_maps(
    model: Activates,
    images: Float[Tensor, "b 3 H W"],
    *,
    scales: Sequence[float] = CAM_SCALES,
    classes: Int[Tensor, "b s"] | None = None,
    known: AFAOutput | None = None,
) -> tuple[Float[Tensor, "b s H W"], AffinityPairs | Tensor]:
    """``multi_scale_cam`` with the affinity as the model gives it: n x n values only where they are asked for.

    ``Views`` of these images give what they remember of earlier questions.
    """
    check_scales(scales, "scales")
    total, affinity = images.new_zeros(()), None
    largest = list(scales).index(max(scales))
    for index, scale in enumerate(scales):
        cams, pairs = _both_ways(model, images, scale, known, affinity=index == largest)
        if classes is not None:
            wanted = classes[..., None, None].expand(-1, -1, *cams[0].shape[-2:])
            cams = [cam.gather(1, wanted) for cam in cams]
        cam, mirrored = (resize(maps.float(), images.shape[-2:]) for maps in cams)
        total = total + F.relu(torch.maximum(cam, mirrored.flip(-1)))
        affinity = pairs if index == largest else affinity
    if affinity is None:
        raise UserError("need a model whose activate(images, affinity=True) gives an affinity, got None")
    return normalize_cam(total), affinity


def _both_ways(
    model: Activates, images: Tensor, scale: float, known: AFAOutput | None, *, affinity: bool
) -> tuple[Sequence[Tensor], AffinityPairs | Tensor | None]:
    """Maps of the images and of their mirror images at a scale, and the affinity of the images if it is wanted."""
    if isinstance(model, Views) and model.images is images:
        found = model.maps(scale, affinity=affinity)
        return (found.cam, found.mirrored), found.affinity
    if known is not None and scale == 1.0:
        mirrored, _ = model.activate(images.flip(-1))
        return (known.cam, mirrored), known.pairs.detach()
    maps, pairs = model.activate(scaled(images, scale, least=smallest_side(model)), affinity=affinity, mirror=True)
    return maps.chunk(2), pairs


@torch.no_grad()
def multi_scale_logits(
    model: Segments,
    images: Float[Tensor, "b 3 H W"],
    *,
    scales: Sequence[float] = LOGIT_SCALES,
    mirror: bool = False,
    known: AFAOutput | None = None,
) -> Float[Tensor, "b c H W"]:
    """Segmentation logits at full size: the maximum over scales and mirror images (AFA, section 4.1).

    Args:
        model: Anything with ``segment``, or ``Views`` of these images.
        images: Normalized.
        scales: At least one, each above 0.
        mirror: Whether each scale also runs on the mirror image.
        known: The model's output for these images; scale 1 then reuses it.

    Returns:
        Logits, float32, background first.

    Raises:
        UserError: For no scale or one that is not above 0.
    """
    check_scales(scales, "scales")
    size, best = images.shape[-2:], images.new_full((), float("-inf"), dtype=torch.float32)
    for scale in scales:
        for flipped, view in enumerate(_logits(model, images, scale, known, mirror=mirror)):
            logits = resize(view.float(), size)
            best = torch.maximum(best, logits.flip(-1) if flipped else logits)
    return best


def _logits(
    model: Segments, images: Tensor, scale: float, known: AFAOutput | None, *, mirror: bool
) -> Sequence[Tensor]:
    """Logits of the images at a scale and, with ``mirror``, of their mirror images."""
    if isinstance(model, Views) and model.images is images:
        return model.logits(scale, mirror=mirror)
    at_scale = scaled(images, scale, least=smallest_side(model))
    if known is not None and scale == 1.0:
        return [known.seg_logits, *([model.segment(at_scale.flip(-1))] if mirror else [])]
    return model.segment(torch.cat([at_scale, at_scale.flip(-1)])).chunk(2) if mirror else [model.segment(at_scale)]
