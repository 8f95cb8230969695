"""PAR, pixel-adaptive refinement (AFA, section 3.4, equations 9-11).

Scores flow between pixels that lie close and look alike. The kernel depends on the photo alone: one kernel serves any
number of score maps, thresholds and kinds of label. It is kept as 48 weights a pixel; neither making nor applying it
ever makes more than one copy of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from afa_wsss.ops.image import resize

DILATIONS = (1, 2, 4, 8, 12, 24)
_DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))

MANY_CHANNELS = 8
"""From so many on, a CPU gains more by reading all channels of a neighbour at once than it costs to lay them out so."""

_PIXELS_AT_ONCE = 1 << 15
"""Weights are made for so many pixels at a time on a CPU: what lies between photo and weights stays in its cache."""


class PARKernel(NamedTuple):
    """The linear map of one step: each pixel becomes a weighted sum of its neighbours.

    Attributes:
        weights: Of each neighbour; they sum to 1 + w3 over ``s``.
        dilations: Distances of the neighbours: 8 for each, in the order of ``weights``.
        boxes: (y0, y1, x0, x1) at whose border neighbours are clamped; None for the photo's own.
    """

    weights: Float[Tensor, "b s H W"]
    dilations: tuple[int, ...]
    boxes: Int[Tensor, "b 4"] | None


def _offsets(dilations: Sequence[int]) -> list[tuple[int, int]]:
    """Row and column steps to the neighbours."""
    return [(dilation * dy, dilation * dx) for dilation in dilations for dy, dx in _DIRECTIONS]


def _clamped(places: Int[Tensor, " m"], first: Int[Tensor, " b"], end: Int[Tensor, " b"]) -> Int[Tensor, "b m"]:
    return torch.minimum(torch.maximum(places[None], first[:, None]), end[:, None] - 1)


def _padded(maps: Float[Tensor, "b d H W"], radius: int, boxes: Int[Tensor, "b 4"] | None) -> Tensor:
    """The maps and ``radius`` pixels around them; past a border, the border's value."""
    if boxes is None:
        return F.pad(maps, (radius,) * 4, mode="replicate")
    height, width = maps.shape[-2:]
    top, bottom, left, right = boxes.to(maps.device).unbind(1)
    rows = _clamped(torch.arange(-radius, height + radius, device=maps.device), top, bottom)
    columns = _clamped(torch.arange(-radius, width + radius, device=maps.device), left, right)
    places = rows[:, :, None] * width + columns[:, None, :]
    around = maps.flatten(2).gather(2, places.flatten(1)[:, None].expand(-1, maps.shape[1], -1))
    return around.view(*maps.shape[:2], height + 2 * radius, width + 2 * radius)


def _shifted(padded: Tensor, offsets: Sequence[tuple[int, int]], rows: slice, width: int) -> list[Tensor]:
    """For each neighbour its values at ``rows``, as views."""
    radius = (padded.shape[-1] - width) // 2
    corners = [(radius + rows.start + dy, radius + dx) for dy, dx in offsets]
    return [padded[..., y : y + rows.stop - rows.start, x : x + width] for y, x in corners]


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
    images, dilations = images.float(), tuple(dilations)
    lengths = torch.tensor([math.hypot(*offset) for offset in _offsets(dilations)])
    distance = -((lengths / (w2 * lengths.std() + 1e-8)) ** 2)
    position = (w3 * distance.softmax(dim=0)).to(images.device, non_blocking=True)[:, None, None]
    colours = _colours_in_one if torch.compiler.is_compiling() else _colours
    return PARKernel(colours(images, dilations, w1, boxes, position), dilations, boxes)


def _colours(
    images: Tensor, dilations: tuple[int, ...], w1: float, boxes: Tensor | None, position: Tensor
) -> Float[Tensor, "b s H W"]:
    """Softmax of the colour term plus ``position``, rows by rows and neighbour by neighbour, in place."""
    b, _, height, width = images.shape
    offsets, padded = _offsets(dilations), _padded(images, max(dilations), boxes)
    weights = images.new_empty((b, len(offsets), height, width))
    at_once = max(1, _PIXELS_AT_ONCE // (b * width)) if images.device.type == "cpu" else height
    for first in range(0, height, at_once):
        rows = slice(first, min(first + at_once, height))
        around, centre = _shifted(padded, offsets, rows, width), images[:, :, rows]
        scale = _inverse_width(around, w1)
        colour = weights[:, :, rows]
        difference = torch.empty_like(centre)
        for neighbour, plane in zip(around, colour.unbind(1), strict=True):
            torch.sub(neighbour, centre, out=difference).mul_(scale).square_()
            torch.sum(difference, dim=1, out=plane)
        colour.sub_(colour.amin(dim=1, keepdim=True)).neg_().exp_()
        colour.div_(colour.sum(dim=1, keepdim=True)).add_(position)
    return weights


def _inverse_width(around: list[Tensor], w1: float) -> Float[Tensor, "b 3 h W"]:
    """1 / (sqrt(3) w1 sigma_rgb), sigma_rgb the unbiased standard deviation of the neighbours.

    The spread is that of the neighbours themselves, not of their differences from the centre; the root of 3 makes a
    mean of the sum over channels.
    """
    mean = torch.zeros_like(around[0])
    for neighbour in around:
        mean += neighbour
    mean /= len(around)
    squares, difference = torch.zeros_like(mean), torch.empty_like(mean)
    for neighbour in around:
        torch.sub(neighbour, mean, out=difference)
        squares.addcmul_(difference, difference)
    spread = squares.div_(len(around) - 1).sqrt_()
    return spread.mul_(w1).add_(1e-8).mul_(math.sqrt(3)).reciprocal_()


def _colours_in_one(
    images: Tensor, dilations: tuple[int, ...], w1: float, boxes: Tensor | None, position: Tensor
) -> Float[Tensor, "b s H W"]:
    """``_colours`` as few operations on all neighbours: for a compiler, which never keeps the copies."""
    b, _, height, width = images.shape
    flat = _neighbours(dilations, height, width, boxes, images.device).long().flatten(1).expand(b, -1)
    colour = images.new_zeros((b, len(position), height, width))
    for channel in range(3):
        plane = images[:, channel]
        around = plane.flatten(1).gather(1, flat).view_as(colour)
        scale = w1 * around.std(dim=1, keepdim=True) + 1e-8
        colour = colour - ((around - plane[:, None]) / scale).square()
    return (colour / 3).softmax(dim=1) + position


def _neighbours(
    dilations: Sequence[int], height: int, width: int, boxes: Int[Tensor, "b 4"] | None, device: torch.device
) -> Int[Tensor, "#b s H W"]:
    """Flat index of every pixel's neighbours; past a border, of the border's pixel.

    Those of one pixel are next to each other in memory, as a sparse matrix has them.
    """
    steps = torch.tensor(_offsets(dilations), dtype=torch.int32).to(device, non_blocking=True)
    photo = torch.tensor([[0, height, 0, width]]) if boxes is None else boxes
    sides = photo.to(device, torch.int32, non_blocking=True).unbind(1)
    top, bottom, left, right = (side.view(-1, 1, 1) for side in sides)
    rows = torch.arange(height, device=device, dtype=torch.int32)[None, :, None] + steps[:, 0]
    columns = torch.arange(width, device=device, dtype=torch.int32)[None, :, None] + steps[:, 1]
    rows = rows.clamp(top, bottom - 1) * width
    columns = columns.clamp(left, right - 1)
    return (rows[:, :, None] + columns[:, None]).permute(0, 3, 1, 2)


@torch.no_grad()
def apply_kernel(kernel: PARKernel, scores: Float[Tensor, "b c H W"], *, steps: int = 10) -> Float[Tensor, "b c H W"]:
    """M <- kappa M, ``steps`` times, in float32."""
    # Under autocast a product of matrices would be one of half precision.
    with torch.autocast(scores.device.type, enabled=False):
        if torch.compiler.is_compiling():
            form = _apply_sum
        else:
            sparse = scores.device.type == "cpu" and scores.shape[1] >= MANY_CHANNELS
            form = _apply_sparse if sparse else _apply_shifted
        return form(kernel, scores.float(), steps)


def _apply_shifted(kernel: PARKernel, scores: Tensor, steps: int) -> Tensor:
    """Neighbour by neighbour, each one multiply-add over all channels of a shifted view; reads no index."""
    offsets, rows, width = _offsets(kernel.dilations), slice(0, scores.shape[-2]), scores.shape[-1]
    weights = kernel.weights[:, :, None].unbind(1)
    for _ in range(steps):
        around = _shifted(_padded(scores, max(kernel.dilations), kernel.boxes), offsets, rows, width)
        scores = around[0] * weights[0]
        for neighbour, weight in zip(around[1:], weights[1:], strict=True):
            scores.addcmul_(neighbour, weight)
    return scores


def _apply_sparse(kernel: PARKernel, scores: Tensor, steps: int) -> Tensor:
    """As a block-diagonal sparse matrix over the batch, whose rows hold a weight for each neighbour."""
    b, c, height, width = scores.shape
    pixels, around = height * width, kernel.weights.shape[1]
    columns = _neighbours(kernel.dilations, height, width, kernel.boxes, scores.device).permute(0, 2, 3, 1)
    if b > 1:
        columns = columns + torch.arange(b, dtype=torch.int32).view(-1, 1, 1, 1) * pixels
    starts = torch.arange(0, (b * pixels + 1) * around, around, dtype=torch.int32)
    weights = kernel.weights.permute(0, 2, 3, 1).reshape(-1)
    # Channels that are not next to each other in memory would take a slow way without a word.
    vectors = scores.permute(0, 2, 3, 1).reshape(b * pixels, c).contiguous()
    for _ in range(steps):
        # Sums of weighted rows are what bags of embeddings are; on a CPU faster than a product with a CSR matrix.
        vectors = F.embedding_bag(
            columns.reshape(-1), vectors, starts, mode="sum", per_sample_weights=weights, include_last_offset=True
        )
    return vectors.view(b, height, width, c).permute(0, 3, 1, 2).contiguous()


def _apply_sum(kernel: PARKernel, scores: Tensor, steps: int) -> Tensor:
    """As one sum over all neighbours: for a compiler, which never keeps the copies of the scores."""
    b, c, height, width = scores.shape
    neighbours = _neighbours(kernel.dilations, height, width, kernel.boxes, scores.device)
    places = neighbours.long().expand(b, -1, -1, -1).flatten(1)[:, None].expand(-1, c, -1)
    weights, current = kernel.weights.flatten(2)[:, None], scores.flatten(2)
    for _ in range(steps):
        around = current.gather(2, places).view(b, c, weights.shape[2], height * width)
        current = (around * weights).sum(dim=2)
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
