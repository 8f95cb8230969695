"""The dense energy: low where pixels that are close and look alike have the same class.

Source: Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", ECCV 2018.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from afa_wsss.ops.bilateral import bilateral_filter
from afa_wsss.types import IGNORE_INDEX


def energy_gate(
    probabilities: Float[Tensor, "b c H W"], labels: Shaped[Tensor, "b H W"], inside: Bool[Tensor, "b H W"]
) -> Float[Tensor, "b H W"]:
    """Weight of each pixel: 1 where its label is unknown, elsewhere 1 - its highest probability; without gradient.

    Args:
        probabilities: Class probabilities.
        labels: Class of each pixel, 255 where unknown.
        inside: Whether the pixel belongs to the photo; the gate is 0 elsewhere.
    """
    unsure = 1 - probabilities.detach().amax(dim=1)
    return torch.where(labels == IGNORE_INDEX, 1, unsure).clamp(min=0) * inside


def dense_energy(
    photos: Shaped[Tensor, "b 3 H W"],
    probabilities: Float[Tensor, "b c H W"],
    gate: Float[Tensor, "b H W"],
    *,
    sigma_rgb: float,
    sigma_xy: float,
    gated_gradient: bool = False,
) -> Float[Tensor, ""]:
    """-1/b sum over images, classes and pairs of pixels of g_i p_i k(i, j) p_j, with k of ``bilateral_filter``.

    With a gate of 1 it is the relaxed Potts energy sum_c p_c^T K (1 - p_c) of Tang et al. (section 3) minus the sum of
    K, which depends on the photo alone. Gradients flow to the probabilities, through the filter and its adjoint:
    -1/b (g_i (K p)_i + (K (g p))_i), so a pixel is drawn to its neighbors by its own gate and by theirs.

    Args:
        photos: RGB in 0-255, any dtype.
        probabilities: Class probabilities; all 0 at pixels that take no part, whatever their gate.
        gate: Weight of each pixel, see ``energy_gate``.
        sigma_rgb: Width of the kernel in color values of 0-255.
        sigma_xy: Width of the kernel in pixels.
        gated_gradient: Whether the gradient is -2/b g_i (K p)_i instead, as in the official code: only its own gate
            draws a pixel to its neighbors. Where the gate is constant, it is the derivative but for the asymmetry of K.

    Returns:
        A scalar, at most 0. It grows with the square of the number of pixels; hence its usual weight of 1e-9.

    Raises:
        UserError: For widths that are not above 0.
    """
    shown = probabilities.detach() if gated_gradient else probabilities
    agreeing = bilateral_filter(photos, shown, sigma_rgb=sigma_rgb, sigma_xy=sigma_xy)
    energy = -(gate[:, None] * probabilities * agreeing).sum() / len(photos)
    return 2 * energy - energy.detach() if gated_gradient else energy
