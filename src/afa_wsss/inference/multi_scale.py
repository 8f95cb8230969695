"""Class activation maps and segmentation logits over several scales and mirror images (AFA, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from afa_wsss.ops.cam import normalize_cam
from afa_wsss.ops.image import resize
from afa_wsss.types import AFAOutput, UserError


@runtime_checkable
class Activates(Protocol):
    """A network that gives class activation maps, and affinity on demand."""

    def activate(self, images: Tensor, *, affinity: bool = False) -> tuple[Tensor, Tensor | None]:
        """See ``AFA.activate``."""


def _scaled(images: Tensor, scale: float) -> Tensor:
    height, width = images.shape[-2:]
    return images if scale == 1.0 else resize(images, (int(height * scale), int(width * scale)))


@torch.no_grad()
def multi_scale_cam(
    model: Activates, images: Float[Tensor, "b 3 H W"], *, scales: Sequence[float] = (1.0, 0.5, 1.5)
) -> tuple[Float[Tensor, "b k H W"], Float[Tensor, "b n n"]]:
    """Class activation maps of the whole batch, and the affinity of the largest scale, unmirrored.

    At each scale the maps of a photo and of its mirror image, resized to the input; ReLU of their pixelwise maximum;
    summed over scales; then minus the minimum, over the maximum + 1e-5, for each photo and class.

    Args:
        model: Anything with ``activate``.
        images: Normalised.
        scales: At least one; of equal largest ones the first gives the affinity.

    Returns:
        CAM in [0, 1], absent classes not yet zeroed, and the affinity.

    Raises:
        UserError: For no scale or one that is not above 0.
    """
    if not scales or min(scales) <= 0:
        raise UserError(f"need scales above 0, got {list(scales)}")
    total, affinity = images.new_zeros(()), None
    largest = list(scales).index(max(scales))
    for index, scale in enumerate(scales):
        scaled = _scaled(images, scale)
        cam, pairs = model.activate(scaled, affinity=index == largest)
        mirrored, _ = model.activate(scaled.flip(-1))
        cam, mirrored = (resize(maps.float(), images.shape[-2:]) for maps in (cam, mirrored))
        total = total + F.relu(torch.maximum(cam, mirrored.flip(-1)))
        affinity = pairs if index == largest else affinity
    if affinity is None:
        raise UserError("need a model whose activate(images, affinity=True) gives an affinity, got None")
    return normalize_cam(total), affinity.float()


@torch.no_grad()
def multi_scale_logits(
    model: Callable[[Tensor], AFAOutput],
    images: Float[Tensor, "b 3 H W"],
    *,
    scales: Sequence[float] = (1.0,),
    mirror: bool = False,
) -> Float[Tensor, "b c H W"]:
    """Segmentation logits at full size: the maximum over scales and mirror images (AFA, section 4.1).

    Args:
        model: Gives ``AFAOutput`` of a normalised batch.
        images: Normalised.
        scales: At least one, each above 0.
        mirror: Whether each scale is also run on the mirror image.

    Raises:
        UserError: For no scale or one that is not above 0.
    """
    if not scales or min(scales) <= 0:
        raise UserError(f"need scales above 0, got {list(scales)}")
    size, best = images.shape[-2:], images.new_full((), float("-inf"), dtype=torch.float32)
    for scale in scales:
        scaled = _scaled(images, scale)
        views = [resize(model(scaled).seg_logits.float(), size)]
        if mirror:
            views.append(resize(model(scaled.flip(-1)).seg_logits.float(), size).flip(-1))
        for view in views:
            best = torch.maximum(best, view)
    return best
