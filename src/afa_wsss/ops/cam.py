"""Class activation maps (Zhou et al., CVPR 2016; AFA, section 3.1)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def class_activation_map(
    features: Float[Tensor, "b d h w"], weight: Float[Tensor, "k d 1 1"]
) -> Float[Tensor, "b k h w"]:
    """Each class's weights applied to the features, without gradient (AFA, equation 2).

    The ReLU of the equation follows after resizing: see ``inference.multi_scale_cam``.
    """
    return F.conv2d(features.detach(), weight.detach())


def normalize_cam(cam: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """Each map minus its minimum, divided by the new maximum + 1e-5: in [0, 1). A constant map becomes 0."""
    shifted = cam - cam.amin(dim=(-2, -1), keepdim=True)
    return shifted / (shifted.amax(dim=(-2, -1), keepdim=True) + 1e-5)


def zero_absent(cam: Float[Tensor, "b k h w"], image_labels: Float[Tensor, "b k"]) -> Float[Tensor, "b k h w"]:
    """The maps, 0 for classes that are not in the photo; ``image_labels`` are multi-hot."""
    return cam * image_labels[..., None, None].to(cam.dtype)
