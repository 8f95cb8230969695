"""PAR, pixel-adaptive refinement (AFA, section 3.4, equations 9-11).

Scores flow between pixels that are close and look alike. The kernel depends on the photo alone, so one kernel serves
any number of score maps and thresholds. The formula is written here as one expression over all neighbors;
``afa_wsss.ops.par_forms`` has forms that give the same result without a copy of the scores for each neighbor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from afa_wsss.errors import UserError, check_above_0, check_at_least_0
from afa_wsss.ops.image import resize
from afa_wsss.ops.par_forms import (
    PARKernel,
    faster_propagation,
    kernel_weights_by_rows,
    neighbor_offsets,
    neighbor_places,
)


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

    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
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
        check_settings(self.dilations, self.steps, self.w1, self.w2, self.w3)


def check_settings(dilations: Sequence[int], steps: int, w1: float, w2: float, w3: float) -> None:
    """Checks the settings of PAR.

    Raises:
        UserError: For a dilation below 1, a negative number of steps, and widths or a weight out of range.
    """
    if not dilations or min(dilations) < 1:
        raise UserError(f"need dilations of at least 1, got {list(dilations)}", arguments=("dilations",))
    check_at_least_0({"steps": steps, "w3": w3})
    check_above_0({"w1": w1, "w2": w2})


PAPER = PARSettings()
"""Defaults of the functions below."""


def kernel_weights(
    images: Float[Tensor, "b 3 H W"],
    dilations: tuple[int, ...],
    w1: float,
    boxes: Int[Tensor, "b 4"] | None,
    position: Float[Tensor, "s 1 1"],
) -> Float[Tensor, "b s H W"]:
    """The formula: softmax over the neighbors of the color term, plus ``position``, the weighted distance term."""
    height, width = images.shape[-2:]
    around = _neighbors(images, neighbor_places(dilations, height, width, boxes, images.device))
    scale = w1 * around.std(dim=2, keepdim=True) + 1e-8
    color = -((around - images[:, :, None]) / scale).square().mean(dim=1)
    return color.softmax(dim=1) + position


def propagate_scores(kernel: PARKernel, scores: Float[Tensor, "b c H W"], steps: int) -> Float[Tensor, "b c H W"]:
    """The formula: each pixel becomes the weighted sum of its neighbors, ``steps`` times."""
    height, width = scores.shape[-2:]
    places = neighbor_places(kernel.dilations, height, width, kernel.boxes, scores.device)
    for _ in range(steps):
        scores = (_neighbors(scores, places) * kernel.weights[:, None]).sum(dim=2)
    return scores


def _neighbors(maps: Float[Tensor, "b d H W"], places: Int[Tensor, "#b s H W"]) -> Float[Tensor, "b d s H W"]:
    """The values of every pixel's neighbors."""
    index = places.long().expand(len(maps), -1, -1, -1).flatten(1)[:, None].expand(-1, maps.shape[1], -1)
    return maps.flatten(2).gather(2, index).view(*maps.shape[:2], *places.shape[1:])


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

    Both softmaxes run over the neighbors j of pixel i; the color term is first averaged over the three channels.

    Args:
        images: In [0, 1].
        dilations: Distances of the 8 neighbors in each ring, in pixels.
        w1: Width of the color kernel, in standard deviations over the neighbors.
        w2: Width of the distance kernel, in standard deviations over the neighbors.
        w3: Weight of the distance kernel.
        boxes: (y0, y1, x0, x1): each photo is refined as if it were cropped to its box; weights of pixels outside are
            not defined.

    Returns:
        The kernel, float32; its weights sum to 1 + w3 at every pixel.
    """
    images, dilations = images.float(), tuple(dilations)
    lengths = torch.tensor([math.hypot(*offset) for offset in neighbor_offsets(dilations)])
    distance = -((lengths / (w2 * lengths.std() + 1e-8)) ** 2)
    position = (w3 * distance.softmax(dim=0)).to(images.device, non_blocking=True)[:, None, None]
    # The compiler fuses the plain formula; in eager mode the form by rows never holds 48 copies of the photo.
    form = kernel_weights if torch.compiler.is_compiling() else kernel_weights_by_rows
    return PARKernel(form(images, dilations, w1, boxes, position), dilations, boxes)


@torch.no_grad()
def apply_kernel(
    kernel: PARKernel, scores: Float[Tensor, "b c H W"], *, steps: int = PAPER.steps
) -> Float[Tensor, "b c H W"]:
    """M <- kappa M, ``steps`` times.

    Args:
        kernel: Kernel of the same photos, see ``neighbor_kernel``.
        scores: Any number of channels, at the photos' size.
        steps: How often the kernel is applied.

    Returns:
        Refined scores, float32 also under autocast.
    """
    # Autocast would compute the products in half precision.
    with torch.autocast(scores.device.type, enabled=False):
        form = propagate_scores if torch.compiler.is_compiling() else faster_propagation(scores)
        return form(kernel, scores.float(), steps)


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
        scores: Class scores at any size; first resized to the photo's, bilinearly with aligned corners.
        dilations: Distances of the 8 neighbors in each ring, in pixels.
        steps: How often the kernel is applied; 10 on VOC, 15 on COCO.
        w1: Width of the color kernel, in standard deviations over the neighbors.
        w2: Width of the distance kernel, in standard deviations over the neighbors.
        w3: Weight of the distance kernel.
        boxes: (y0, y1, x0, x1): each photo is refined as if it were cropped to its box; scores outside are not defined.

    Returns:
        Scores at the photo's size, float32, without gradient.

    Raises:
        UserError: For settings out of range, see ``check_settings``.

    Example:
        >>> refined = refine(torch.rand(1, 3, 32, 32), torch.ones(1, 2, 8, 8), steps=2)
        >>> torch.allclose(refined, torch.full((1, 2, 32, 32), 1.01**2))
        True
    """
    check_settings(dilations, steps, w1, w2, w3)
    kernel = neighbor_kernel(images, dilations=dilations, w1=w1, w2=w2, w3=w3, boxes=boxes)
    return apply_kernel(kernel, resize(scores.float(), images.shape[-2:], align_corners=True), steps=steps)
