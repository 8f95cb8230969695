"""Class activation maps (Zhou et al., CVPR 2016; AFA, section 3.1)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def class_activation_map(
    features: Float[Tensor, "b d h w"], weight: Float[Tensor, "k d 1 1"]
) -> Float[Tensor, "b k h w"]:
    """Each class's weights applied to the features, without gradient (AFA, equation 2).

    The ReLU of the equation comes after resizing: see ``inference.multi_scale_cam``.
    """
    return F.conv2d(features.detach(), weight.detach())


def normalize_cam(cam: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """Each map minus its minimum, over its maximum + 1e-5: in [0, 1). A map of one value becomes 0."""
    shifted = cam - cam.amin(dim=(-2, -1), keepdim=True)
    return shifted / (shifted.amax(dim=(-2, -1), keepdim=True) + 1e-5)


def zero_absent(cam: Float[Tensor, "b k h w"], image_labels: Float[Tensor, "b k"]) -> Float[Tensor, "b k h w"]:
    """Zeroes the maps of the classes that are not in the photo."""
    return cam * image_labels[..., None, None].to(cam.dtype)
