"""PAR, pixel-adaptive refinement (AFA, section 3.4, equations 9-11).

Scores flow between pixels that lie close and look alike. The kernel depends on the photo alone: one kernel serves any
number of score maps, thresholds and kinds of label. It is kept as 48 weights a pixel; applying it never makes more than
one copy of the scores.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from afa_wsss.ops.image import resize

DILATIONS = (1, 2, 4, 8, 12, 24)
_DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


class PARKernel(NamedTuple):
    """The linear map of one step: each pixel becomes a weighted sum of its neighbours.

    Attributes:
        weights: Of each neighbour; they sum to 1 + w3 over ``s``.
        neighbours: Their place in the flattened photo, clamped to its border or box.
    """

    weights: Float[Tensor, "b s H W"]
    neighbours: Int[Tensor, "#b s H W"]


def _offsets(dilations: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Row and column steps to the neighbours, (s, 2), and their lengths, (s,)."""
    steps = [(dilation * dy, dilation * dx) for dilation in dilations for dy, dx in _DIRECTIONS]
    lengths = [math.hypot(dy, dx) for dy, dx in steps]
    return torch.tensor(steps, device=device), torch.tensor(lengths, device=device)


def _neighbours(
    height: int, width: int, steps: Int[Tensor, "s 2"], boxes: Int[Tensor, "b 4"] | None
) -> Int[Tensor, "#b s H W"]:
    """Flat index of every pixel's neighbours; past a border, of the border's pixel."""
    device = steps.device
    if boxes is None:
        boxes = torch.tensor([[0, height, 0, width]], device=device)
    top, bottom, left, right = (side.view(-1, 1, 1) for side in boxes.to(device).unbind(1))
    rows = torch.arange(height, device=device) + steps[:, :1]
    columns = torch.arange(width, device=device) + steps[:, 1:]
    rows = torch.minimum(torch.maximum(rows[None], top), bottom - 1)
    columns = torch.minimum(torch.maximum(columns[None], left), right - 1)
    return (rows[..., :, None] * width + columns[..., None, :]).to(torch.int32)


def _spread(differences: Float[Tensor, "... s H W"]) -> Float[Tensor, "... 1 H W"]:
    """Unbiased standard deviation over the neighbours."""
    return differences.std(dim=-3, keepdim=True)


@torch.no_grad()
def neighbour_kernel(
    images: Float[Tensor, "b 3 H W"],
    *,
    dilations: Sequence[int] = DILATIONS,
    w1: float = 0.3,
    w2: float = 0.3,
    w3: float = 0.01,
    boxes: Int[Tensor, "b 4"] | None = None,
) -> PARKernel:
    """Kappa = softmax(-(|I_i - I_j| / (w1 sigma_rgb))^2) + w3 softmax(-(|P_i - P_j| / (w2 sigma_pos))^2).

    Args:
        images: In [0, 1].
        dilations: Distances of the 8 neighbours in each ring.
        w1: Width of the colour kernel in standard deviations over the neighbours.
        w2: Width of the distance kernel, likewise.
        w3: Weight of the distance kernel.
        boxes: (y0, y1, x0, x1): each photo is refined as if it were cropped to its box; pixels outside have no meaning.
    """
    images = images.float()
    b, _, height, width = images.shape
    steps, lengths = _offsets(dilations, images.device)
    neighbours = _neighbours(height, width, steps, boxes)
    flat = neighbours.long().flatten(1).expand(b, -1)
    colour = images.new_zeros((b, len(lengths), height, width))
    for channel in range(3):
        plane = images[:, channel]
        around = plane.flatten(1).gather(1, flat).view_as(colour)
        # The spread is that of the neighbours themselves, not of their differences from the centre.
        width_rgb = w1 * _spread(around) + 1e-8
        colour -= ((around - plane[:, None]).abs_().div_(width_rgb)).square_()
    distance = -((lengths / (w2 * lengths.std() + 1e-8)) ** 2)
    weights = (colour / 3).softmax(dim=1) + w3 * distance.softmax(dim=0)[:, None, None]
    return PARKernel(weights, neighbours)


@torch.no_grad()
def apply_kernel(kernel: PARKernel, scores: Float[Tensor, "b c H W"], *, steps: int = 10) -> Float[Tensor, "b c H W"]:
    """M <- kappa M, ``steps`` times, in float32."""
    # Under autocast a product of matrices would be one of half precision.
    with torch.autocast(scores.device.type, enabled=False):
        form = _apply_sparse if scores.device.type == "cpu" else _apply_gather
        return form(kernel, scores.float(), steps)


def _apply_sparse(kernel: PARKernel, scores: Tensor, steps: int) -> Tensor:
    """As a block-diagonal sparse matrix over the batch: near memory bandwidth on a CPU."""
    b, c, height, width = scores.shape
    pixels, around = height * width, kernel.weights.shape[1]
    first = torch.arange(b, dtype=torch.int32).view(-1, 1, 1, 1) * pixels
    columns = (kernel.neighbours + first).expand(b, -1, -1, -1).permute(0, 2, 3, 1).reshape(-1)
    rows = torch.arange(0, (b * pixels + 1) * around, around, dtype=torch.int32)
    values = kernel.weights.permute(0, 2, 3, 1).reshape(-1)
    with warnings.catch_warnings():
        # torch calls the CSR layout a beta feature whenever a process first makes one.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        matrix = torch.sparse_csr_tensor(rows, columns, values, (b * pixels, b * pixels), check_invariants=False)
    columns_of_scores = scores.permute(0, 2, 3, 1).reshape(b * pixels, c)
    for _ in range(steps):
        columns_of_scores = matrix @ columns_of_scores
    return columns_of_scores.view(b, height, width, c).permute(0, 3, 1, 2).contiguous()


def _apply_gather(kernel: PARKernel, scores: Tensor, steps: int) -> Tensor:
    """Neighbour by neighbour, each one gather and one fused multiply-add over all channels."""
    b, c, height, width = scores.shape
    places = kernel.neighbours.long().expand(b, -1, -1, -1).flatten(2)
    weights = kernel.weights.flatten(2)
    current = scores.flatten(2)
    for _ in range(steps):
        refined = torch.zeros_like(current)
        for place, weight in zip(places.unbind(1), weights.unbind(1), strict=True):
            refined.addcmul_(current.gather(2, place[:, None].expand(-1, c, -1)), weight[:, None])
        current = refined
    return current.view(b, c, height, width)


def refine(
    images: Float[Tensor, "b 3 H W"],
    scores: Float[Tensor, "b c h w"],
    *,
    dilations: Sequence[int] = DILATIONS,
    steps: int = 10,
    w1: float = 0.3,
    w2: float = 0.3,
    w3: float = 0.01,
    boxes: Int[Tensor, "b 4"] | None = None,
) -> Float[Tensor, "b c H W"]:
    """Refines score maps by the photo's edges: the whole of PAR.

    Linear in the scores; a constant map stays constant up to the factor (1 + w3) ** steps.

    Args:
        images: In [0, 1].
        scores: Of any size; first resized to the photo's, bilinearly with aligned corners.
        dilations: Distances of the 8 neighbours in each ring.
        steps: How often the kernel is applied; 10 on VOC, 15 on COCO.
        w1: Width of the colour kernel.
        w2: Width of the distance kernel.
        w3: Weight of the distance kernel.
        boxes: See ``neighbour_kernel``.

    Returns:
        Scores at the photo's size, float32, without gradient.
    """
    kernel = neighbour_kernel(images, dilations=dilations, w1=w1, w2=w2, w3=w3, boxes=boxes)
    return apply_kernel(kernel, resize(scores.float(), images.shape[-2:], align_corners=True), steps=steps)
