"""PAR, pixel-adaptive refinement (AFA, section 3.4, equations 9-11).

Scores flow between pixels that are close and look alike. The kernel depends on the photo alone: one kernel serves any
number of score maps, thresholds and kinds of label. The formula is written here as one expression over all neighbors;
``afa_wsss.ops.par_forms`` has forms that give the same and never copy the scores for each neighbor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.ops.image import resize
from afa_wsss.ops.par_forms import (
    PARKernel,
    color_weights_by_rows,
    faster_propagation,
    neighbor_offsets,
    neighbor_places,
)

DILATIONS = (1, 2, 4, 8, 12, 24)


@dataclass(frozen=True)
class PARSettings:
    """Settings of PAR, with the paper's values on VOC.

    Attributes:
        dilations: Distances of the 8 neighbors in each ring, in pixels.
        steps: How often the kernel is applied; 10 on VOC, 15 on COCO.
        w1: Width of the color kernel, in standard deviations over the neighbors.
        w2: Width of the distance kernel, in standard deviations over the neighbors.
        w3: Weight of the distance kernel.
    """

    dilations: tuple[int, ...] = DILATIONS
    steps: int = 10
    w1: float = 0.3
    w2: float = 0.3
    w3: float = 0.01

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For a dilation below 1, a negative number of steps, and widths or a weight out of range.
        """
        object.__setattr__(self, "dilations", tuple(self.dilations))
        if not self.dilations or min(self.dilations) < 1:
            raise UserError(f"need dilations of at least 1, got {list(self.dilations)}", arguments=("dilations",))
        if self.steps < 0:
            raise UserError(f"need steps of at least 0, got {self.steps}", arguments=("steps",))
        if min(self.w1, self.w2) <= 0 or self.w3 < 0:
            raise UserError(
                f"need w1 and w2 above 0 and w3 of at least 0, got {self.w1}, {self.w2} and {self.w3}",
                arguments=("w1", "w2", "w3"),
            )


PAPER = PARSettings()
"""The only place of PAR's defaults, for the functions below."""


@torch.no_grad()
def neighbor_kernel(
    images: Float[Tensor, "b 3 H W"],
    *,
    dilations: Sequence[int] = PAPER.dilations,
    w1: float = PAPER.w1,
    w2: float = PAPER.w2,
    w3: float = PAPER.w3,
    boxes: Int[Tensor, "b 4"] | None = None,
) -> PARKernel:
    """Kappa = softmax(-(|I_i - I_j| / (w1 sigma_rgb))^2) + w3 softmax(-(|P_i - P_j| / (w2 sigma_pos))^2).

    Args:
        images: In [0, 1].
        dilations: Distances of the 8 neighbors in each ring.
        w1: Width of the color kernel in standard deviations over the neighbors.
        w2: Width of the distance kernel in standard deviations over the neighbors.
        w3: Weight of the distance kernel.
        boxes: (y0, y1, x0, x1): each photo is refined as if it were cropped to its box; pixels outside have no meaning.
    """
    images, dilations = images.float(), tuple(dilations)
    lengths = torch.tensor([math.hypot(*offset) for offset in neighbor_offsets(dilations)])
    distance = -((lengths / (w2 * lengths.std() + 1e-8)) ** 2)
    position = (w3 * distance.softmax(dim=0)).to(images.device, non_blocking=True)[:, None, None]
    # A compiler fuses the formula; without one the form by rows never holds 48 copies of the photo.
    weights = color_weights if torch.compiler.is_compiling() else color_weights_by_rows
    return PARKernel(weights(images, dilations, w1, boxes, position), dilations, boxes)


def color_weights(
    images: Float[Tensor, "b 3 H W"],
    dilations: tuple[int, ...],
    w1: float,
    boxes: Int[Tensor, "b 4"] | None,
    position: Float[Tensor, "s 1 1"],
) -> Float[Tensor, "b s H W"]:
    """The formula: softmax over neighbors of the mean over channels of the color term, plus ``position``."""
    b, _, height, width = images.shape
    places = neighbor_places(dilations, height, width, boxes, images.device).long().flatten(1).expand(b, -1)
    color = images.new_zeros((b, len(position), height, width))
    for channel in range(3):
        plane = images[:, channel]
        around = plane.flatten(1).gather(1, places).view_as(color)
        scale = w1 * around.std(dim=1, keepdim=True) + 1e-8
        color = color - ((around - plane[:, None]) / scale).square()
    return (color / 3).softmax(dim=1) + position


@torch.no_grad()
def apply_kernel(
    kernel: PARKernel, scores: Float[Tensor, "b c H W"], *, steps: int = PAPER.steps
) -> Float[Tensor, "b c H W"]:
    """M <- kappa M, ``steps`` times, in float32."""
    # Under autocast a product of matrices would be one of half precision.
    with torch.autocast(scores.device.type, enabled=False):
        form = propagate_scores if torch.compiler.is_compiling() else faster_propagation(scores)
        return form(kernel, scores.float(), steps)


def propagate_scores(kernel: PARKernel, scores: Float[Tensor, "b c H W"], steps: int) -> Float[Tensor, "b c H W"]:
    """The formula: each pixel becomes the weighted sum of its neighbors, ``steps`` times."""
    b, c, height, width = scores.shape
    neighbors = neighbor_places(kernel.dilations, height, width, kernel.boxes, scores.device)
    places = neighbors.long().expand(b, -1, -1, -1).flatten(1)[:, None].expand(-1, c, -1)
    weights, current = kernel.weights.flatten(2)[:, None], scores.flatten(2)
    for _ in range(steps):
        around = current.gather(2, places).view(b, c, weights.shape[2], height * width)
        current = (around * weights).sum(dim=2)
    return current.view(b, c, height, width)


def refine(
    images: Float[Tensor, "b 3 H W"],
    scores: Float[Tensor, "b c h w"],
    *,
    dilations: Sequence[int] = PAPER.dilations,
    steps: int = PAPER.steps,
    w1: float = PAPER.w1,
    w2: float = PAPER.w2,
    w3: float = PAPER.w3,
    boxes: Int[Tensor, "b 4"] | None = None,
) -> Float[Tensor, "b c H W"]:
    """Refines score maps by the photo's edges: the whole of PAR.

    Linear in the scores; a constant map stays constant up to the factor (1 + w3) ** steps.

    Args:
        images: In [0, 1].
        scores: Of any size; first resized to the photo's, bilinearly with aligned corners.
        dilations: Distances of the 8 neighbors in each ring.
        steps: How often the kernel is applied; 10 on VOC, 15 on COCO.
        w1: Width of the color kernel.
        w2: Width of the distance kernel.
        w3: Weight of the distance kernel.
        boxes: See ``neighbor_kernel``.

    Returns:
        Scores at the photo's size, float32, without gradient.

    Example:
        >>> refined = refine(torch.rand(1, 3, 32, 32), torch.ones(1, 2, 8, 8), steps=2)
        >>> torch.allclose(refined, torch.full((1, 2, 32, 32), 1.01**2))
        True
    """
    kernel = neighbor_kernel(images, dilations=dilations, w1=w1, w2=w2, w3=w3, boxes=boxes)
    return apply_kernel(kernel, resize(scores.float(), images.shape[-2:], align_corners=True), steps=steps)
