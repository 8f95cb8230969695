"""The dense CRF: labels of pixels made to agree with those of pixels that are near and look alike.

Source: Krähenbühl, Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NeurIPS 2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.ops.bilateral import bilateral_lattice, position_lattice
from afa_wsss.ops.permutohedral import Lattice

LOWEST_PROBABILITY = 1e-5
"""Floor of each probability: a class that the network rules out can still come back from its neighbors."""


@dataclass(frozen=True)
class CRFSettings:
    """Settings of the dense CRF, with the paper's values.

    Attributes:
        steps: Steps of the mean field.
        position_sigma: Width w of the kernel exp(-d^2 / (2 w^2)) of the distance, in pixels.
        position_weight: Weight of that kernel; 0 leaves it out.
        bilateral_sigma_xy: Width in pixels of the kernel of distance and color.
        bilateral_sigma_rgb: Width of that kernel in color values of 0-255.
        bilateral_weight: Weight of that kernel; 0 leaves it out.
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
        for name in ("steps", "position_weight", "bilateral_weight"):
            if getattr(self, name) < 0:
                raise UserError(f"need {name} of at least 0, got {getattr(self, name)}", arguments=(name,))
        for name in ("position_sigma", "bilateral_sigma_xy", "bilateral_sigma_rgb"):
            if getattr(self, name) <= 0:
                raise UserError(f"need {name} above 0, got {getattr(self, name)}", arguments=(name,))


PAPER = CRFSettings()
"""The only place of the CRF's defaults, for the function below."""


def _messages(lattice: Lattice, weight: float) -> Lattice:
    """K over the roots of the sums of its rows and columns, times a weight: no pixel has much more say than others."""
    splat, back = lattice.splat, lattice.slice
    pixels = len(back.starts) - 1
    sums = lattice.times(back.weights.new_ones(pixels, 1))
    share = (sums + 1e-20).rsqrt()
    splat = splat._replace(weights=splat.weights * share[splat.columns, 0])
    back = back._replace(weights=(back.weights.view(pixels, -1) * (weight * share)).flatten())
    return lattice._replace(splat=splat, slice=back)


def _kernels(
    image: Tensor, position: tuple[float, float], bilateral: tuple[float, float, float]
) -> tuple[Lattice, ...]:
    """Both kernels from their widths and weight (last); one of weight 0 is left out."""
    kernels = []
    if position[-1] > 0:
        kernels.append(_messages(position_lattice(image, sigma_xy=position[0]), position[-1]))
    if bilateral[-1] > 0:
        sigma_xy, sigma_rgb, weight = bilateral
        kernels.append(_messages(bilateral_lattice(image, sigma_rgb=sigma_rgb, sigma_xy=sigma_xy), weight))
    return tuple(kernels)


def _mean_field(unary: Float[Tensor, "m c"], kernels: tuple[Lattice, ...], steps: int) -> Float[Tensor, "m c"]:
    """Q <- softmax(unary + sum over kernels of their messages), ``steps`` times from Q = softmax(unary)."""
    current = unary.softmax(dim=1)
    if not kernels:
        return current
    for _ in range(steps):
        # In place: the arrays are large, and memory that is new costs more than the sums.
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
    """Mean field of a fully connected CRF with Potts costs and two Gaussian kernels, each normalised symmetrically.

    E(x) = -sum_i log p_i(x_i) + sum_{i<j} [x_i != x_j] (w1 k(position) + w2 k(position, colour)). Equal to pydensecrf
    with its default settings, to the precision of float32; the images of a batch share all products.

    Args:
        image: uint8, red, green and blue, of the probabilities' size.
        probabilities: Of each class.
        steps: Of the mean field; after 0 the probabilities come back, at least 1e-5 and summing to 1.
        position_sigma: Width w of the kernel exp(-d^2 / (2 w^2)) of the distance, in pixels.
        position_weight: w1; 0 leaves the kernel out.
        bilateral_sigma_xy: Width in pixels of the kernel of distance and colour.
        bilateral_sigma_rgb: Its width in colours of 0-255.
        bilateral_weight: w2; 0 leaves the kernel out.

    Returns:
        Probabilities, float32; the classes of a pixel lie beside one another in memory.

    Raises:
        UserError: For an image that is not uint8 or of another size than the probabilities, for steps or weights below
            0, and for widths that are not above 0.
    """
    if image.dtype != torch.uint8 or image.shape[-2:] != probabilities.shape[-2:]:
        raise UserError(
            f"need a uint8 image in 0-255 of the probabilities' size, got {image.dtype} of {tuple(image.shape)} "
            f"and probabilities of {tuple(probabilities.shape)}"
        )
    if steps < 0 or min(position_weight, bilateral_weight) < 0:
        raise UserError(
            "need steps and weights of the CRF of at least 0, "
            f"got {steps} steps and weights {position_weight} and {bilateral_weight}"
        )
    b, c, height, width = probabilities.shape
    position = (position_sigma, position_weight)
    kernels = _kernels(image, position, (bilateral_sigma_xy, bilateral_sigma_rgb, bilateral_weight))
    unary = probabilities.float().permute(0, 2, 3, 1).contiguous().clamp(min=LOWEST_PROBABILITY, max=1).log_()
    marginals = _mean_field(unary.view(-1, c), kernels, steps)
    return marginals.view(b, height, width, c).permute(0, 3, 1, 2)
