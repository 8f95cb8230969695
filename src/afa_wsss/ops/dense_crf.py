"""The dense CRF: labels that agree between pixels that are close and look alike.

Source: Krähenbühl, Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NeurIPS 2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from afa_wsss.errors import UserError, check_above_0, check_at_least_0
from afa_wsss.ops.bilateral import bilateral_lattice, position_lattice
from afa_wsss.ops.permutohedral import Lattice

LOWEST_PROBABILITY = 1e-5
"""Floor of each probability, so that a class that the network rules out can still win by its neighbors."""


@dataclass(frozen=True)
class CRFSettings:
    """Settings of the dense CRF, with the paper's values.

    Attributes:
        steps: Steps of the mean field.
        position_sigma: Width w of the distance kernel exp(-d^2 / (2 w^2)), in pixels.
        position_weight: Weight of the distance kernel; 0 leaves it out.
        bilateral_sigma_xy: Width of the kernel of distance and color, in pixels.
        bilateral_sigma_rgb: Width of the kernel of distance and color, in color values of 0-255.
        bilateral_weight: Weight of the kernel of distance and color; 0 leaves it out.
    """

    steps: int = 10
    position_sigma: float = 3.0
    position_weight: float = 3.0
    bilateral_sigma_xy: float = 64.0
    bilateral_sigma_rgb: float = 5.0
    bilateral_weight: float = 4.0

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For negative steps or weights, and widths that are not above 0.
        """
        least_0 = ("steps", "position_weight", "bilateral_weight")
        check_at_least_0({name: getattr(self, name) for name in least_0})
        above_0 = ("position_sigma", "bilateral_sigma_xy", "bilateral_sigma_rgb")
        check_above_0({name: getattr(self, name) for name in above_0})


PAPER = CRFSettings()
"""Defaults of ``dense_crf``."""


def _messages(lattice: Lattice, weight: float) -> Lattice:
    """K normalized symmetrically by the roots of its row and column sums, times a weight.

    So no pixel counts much more than others, however many pixels look like it.
    """
    splat, back = lattice.splat, lattice.slice
    pixels = len(back.starts) - 1
    sums = lattice.times(back.weights.new_ones(pixels, 1))
    share = (sums + 1e-20).rsqrt()
    splat = splat._replace(weights=splat.weights * share[splat.columns, 0])
    back = back._replace(weights=(back.weights.view(pixels, -1) * (weight * share)).flatten())
    return lattice._replace(splat=splat, slice=back)


def _kernels(image: Tensor, crf: CRFSettings) -> tuple[Lattice, ...]:
    """Both kernels; one with weight 0 is left out."""
    kernels = []
    if crf.position_weight > 0:
        near = position_lattice(image, sigma_xy=crf.position_sigma)
        kernels.append(_messages(near, crf.position_weight))
    if crf.bilateral_weight > 0:
        alike = bilateral_lattice(image, sigma_rgb=crf.bilateral_sigma_rgb, sigma_xy=crf.bilateral_sigma_xy)
        kernels.append(_messages(alike, crf.bilateral_weight))
    return tuple(kernels)


def _mean_field(unary: Float[Tensor, "m c"], kernels: tuple[Lattice, ...], steps: int) -> Float[Tensor, "m c"]:
    """Q <- softmax(unary + sum over kernels of their messages), ``steps`` times from Q = softmax(unary)."""
    current = unary.softmax(dim=1)
    if not kernels:
        return current
    for _ in range(steps):
        # In place, because allocating arrays of this size costs more than the sums.
        logits, *others = (kernel.times(current) for kernel in kernels)
        for message in (unary, *others):
            logits += message
        current = torch.softmax(logits, dim=1, out=current)
    return current


@torch.no_grad()
def dense_crf(
    image: Shaped[Tensor, "b 3 _ _"],
    probabilities: Float[Tensor, "b c H W"],
    *,
    steps: int = PAPER.steps,
    position_sigma: float = PAPER.position_sigma,
    position_weight: float = PAPER.position_weight,
    bilateral_sigma_xy: float = PAPER.bilateral_sigma_xy,
    bilateral_sigma_rgb: float = PAPER.bilateral_sigma_rgb,
    bilateral_weight: float = PAPER.bilateral_weight,
) -> Float[Tensor, "b c H W"]:
    """Mean field of a fully connected CRF with Potts costs and two Gaussian kernels, each normalized symmetrically.

    E(x) = -sum_i log p_i(x_i) + sum_{i<j} [x_i != x_j] (w1 k(position) + w2 k(position, color)). Equal to pydensecrf
    with its default settings, up to float32 rounding. Images of a batch do not influence each other.

    Args:
        image: uint8 RGB in 0-255, at the size of ``probabilities``.
        probabilities: Class probabilities.
        steps: Steps of the mean field; 0 returns the probabilities, at least 1e-5 and normalized.
        position_sigma: Width w of the distance kernel exp(-d^2 / (2 w^2)), in pixels.
        position_weight: Weight w1 of the distance kernel; 0 leaves it out.
        bilateral_sigma_xy: Width of the kernel of distance and color, in pixels.
        bilateral_sigma_rgb: Width of the kernel of distance and color, in color values of 0-255.
        bilateral_weight: Weight w2 of the kernel of distance and color; 0 leaves it out.

    Returns:
        Probabilities, float32, in channels-last memory format.

    Raises:
        UserError: For an image that is not uint8 or has another size than the probabilities, and for settings that
            ``CRFSettings`` refuses.

    Example:
        >>> photo = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
        >>> probabilities = torch.full((1, 2, 8, 8), 0.5)
        >>> torch.allclose(dense_crf(photo, probabilities), probabilities)
        True
    """
    if image.dtype != torch.uint8 or image.shape[-2:] != probabilities.shape[-2:]:
        raise UserError(
            f"need a uint8 image in 0-255 of the probabilities' size, got {image.dtype} of {tuple(image.shape)} "
            f"and probabilities of {tuple(probabilities.shape)}",
            arguments=("image",),
        )
    crf = CRFSettings(steps, position_sigma, position_weight, bilateral_sigma_xy, bilateral_sigma_rgb, bilateral_weight)
    b, c, height, width = probabilities.shape
    kernels = _kernels(image, crf)
    unary = probabilities.float().permute(0, 2, 3, 1).contiguous().clamp(min=LOWEST_PROBABILITY, max=1).log_()
    marginals = _mean_field(unary.view(-1, c), kernels, steps)
    return marginals.view(b, height, width, c).permute(0, 3, 1, 2)
