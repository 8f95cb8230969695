"""The dense energy: how little pixels that are near and look alike agree on their class (Tang et al., ECCV 2018)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from afa_wsss.ops.bilateral import bilateral_filter
from afa_wsss.types import IGNORE_INDEX


def energy_gate(
    probabilities: Float[Tensor, "b c H W"], labels: Shaped[Tensor, "b H W"], inside: Bool[Tensor, "b H W"]
) -> Float[Tensor, "b H W"]:
    """How much each pixel counts: 1 where its label is unknown, elsewhere what its surest class leaves; no gradient.

    Args:
        probabilities: Of each class.
        labels: 255 where unknown.
        inside: Whether the pixel is of the photo; outside the gate is 0.
    """
    unsure = 1 - probabilities.detach().amax(dim=1)
    return torch.where(labels == IGNORE_INDEX, 1, unsure).clamp(min=0) * inside


def dense_energy(
    photos: Shaped[Tensor, "b 3 H W"],
    probabilities: Float[Tensor, "b c H W"],
    gate: Float[Tensor, "b H W"],
    *,
    sigma_rgb: float = 15.0,
    sigma_xy: float = 100.0,
) -> Float[Tensor, ""]:
    """-1/b sum over images, classes and pairs of pixels of g_i p_i k(i, j) p_j, with k of ``bilateral_filter``.

    With a gate of 1 it is the relaxed Potts energy sum_c p_c' K (1 - p_c) of Tang et al. (section 3) less the sum of K,
    which the photo alone decides. Gradients go to the probabilities, through the filter and its adjoint.

    Args:
        photos: In 0-255, of any type.
        probabilities: Of each class; 0 for pixels that shall take no part, whatever their gate.
        gate: See ``energy_gate``.
        sigma_rgb: Width of the kernel in colours.
        sigma_xy: Its width in pixels.

    Returns:
        At most 0; it grows with the square of the pixels' number, which its usual weight of 1e-9 makes up for.
    """
    agreeing = bilateral_filter(photos, probabilities, sigma_rgb=sigma_rgb, sigma_xy=sigma_xy)
    return -(gate[:, None] * probabilities * agreeing).sum() / len(photos)
