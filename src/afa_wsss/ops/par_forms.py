"""PAR's kernel as data, and faster ways to make and apply it than the formula in ``ops.par``.

``tests/ops/test_par.py`` holds each of them equal to the formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

_DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))

MANY_CHANNELS = 8
"""From this number on, a CPU gains more by reading a neighbor's channels at once than a channels-last copy costs."""

_PIXELS_AT_ONCE = 1 << 15
"""Pixels whose weights a CPU computes at a time, so that intermediate values stay in its cache."""


class PARKernel(NamedTuple):
    """The linear map of one step: each pixel becomes a weighted sum of its neighbors.

    Attributes:
        weights: One for each neighbor; they sum to 1 + w3 over ``s``.
        dilations: Distances of the neighbors: 8 for each, in the order of ``weights``.
        boxes: (y0, y1, x0, x1) at whose border neighbors are clamped; None for the photo's own border.
    """

    weights: Float[Tensor, "b s H W"]
    dilations: tuple[int, ...]
    boxes: Int[Tensor, "b 4"] | None


def neighbor_offsets(dilations: Sequence[int]) -> list[tuple[int, int]]:
    """Row and column steps to the neighbors."""
    return [(dilation * dy, dilation * dx) for dilation in dilations for dy, dx in _DIRECTIONS]


def neighbor_places(
    dilations: Sequence[int], height: int, width: int, boxes: Int[Tensor, "b 4"] | None, device: torch.device
) -> Int[Tensor, "#b s H W"]:
    """Flat index of every pixel's neighbors; past a border, that of the border's pixel.

    The indices of one pixel are adjacent in memory, as in a sparse matrix by rows.
    """
    steps = torch.tensor(neighbor_offsets(dilations), dtype=torch.int32).to(device, non_blocking=True)
    photo = torch.tensor([[0, height, 0, width]]) if boxes is None else boxes
    sides = photo.to(device, torch.int32, non_blocking=True).unbind(1)
    top, bottom, left, right = (side.view(-1, 1, 1) for side in sides)
    rows = torch.arange(height, device=device, dtype=torch.int32)[None, :, None] + steps[:, 0]
    columns = torch.arange(width, device=device, dtype=torch.int32)[None, :, None] + steps[:, 1]
    rows = rows.clamp(top, bottom - 1) * width
    columns = columns.clamp(left, right - 1)
    return (rows[:, :, None] + columns[:, None]).permute(0, 3, 1, 2)


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
    """The values of each neighbor of the pixels in ``rows``, as views."""
    radius = (padded.shape[-1] - width) // 2
    corners = [(radius + rows.start + dy, radius + dx) for dy, dx in offsets]
    return [padded[..., y : y + rows.stop - rows.start, x : x + width] for y, x in corners]


def kernel_weights_by_rows(
    images: Float[Tensor, "b 3 H W"],
    dilations: tuple[int, ...],
    w1: float,
    boxes: Int[Tensor, "b 4"] | None,
    position: Float[Tensor, "s 1 1"],
) -> Float[Tensor, "b s H W"]:
    """``ops.par.kernel_weights``, some rows at a time and neighbor by neighbor, in place."""
    b, _, height, width = images.shape
    offsets, padded = neighbor_offsets(dilations), _padded(images, max(dilations), boxes)
    weights = images.new_empty((b, len(offsets), height, width))
    at_once = max(1, _PIXELS_AT_ONCE // (b * width)) if images.device.type == "cpu" else height
    for first in range(0, height, at_once):
        rows = slice(first, min(first + at_once, height))
        around, center = _shifted(padded, offsets, rows, width), images[:, :, rows]
        scale = _inverse_width(around, w1)
        color = weights[:, :, rows]
        difference = torch.empty_like(center)
        for neighbor, plane in zip(around, color.unbind(1), strict=True):
            torch.sub(neighbor, center, out=difference).mul_(scale).square_()
            torch.sum(difference, dim=1, out=plane)
        color.sub_(color.amin(dim=1, keepdim=True)).neg_().exp_()
        color.div_(color.sum(dim=1, keepdim=True)).add_(position)
    return weights


def _inverse_width(around: list[Tensor], w1: float) -> Float[Tensor, "b 3 h W"]:
    """1 / (sqrt(3) w1 sigma_rgb), sigma_rgb the unbiased standard deviation of the neighbors.

    The deviation is that of the neighbors themselves, not of their differences from the center. The root of 3 turns the
    sum over channels into a mean.
    """
    mean = torch.zeros_like(around[0])
    for neighbor in around:
        mean += neighbor
    mean /= len(around)
    squares, difference = torch.zeros_like(mean), torch.empty_like(mean)
    for neighbor in around:
        torch.sub(neighbor, mean, out=difference)
        squares.addcmul_(difference, difference)
    spread = squares.div_(len(around) - 1).sqrt_()
    return spread.mul_(w1).add_(1e-8).mul_(math.sqrt(3)).reciprocal_()


def faster_propagation(scores: Tensor) -> Callable[[PARKernel, Tensor, int], Tensor]:
    """The form of ``ops.par.propagate_scores`` that is fastest for these scores."""
    sparse = scores.device.type == "cpu" and scores.shape[1] >= MANY_CHANNELS
    return propagate_sparse if sparse else propagate_shifted


def propagate_shifted(kernel: PARKernel, scores: Tensor, steps: int) -> Tensor:
    """Neighbor by neighbor: one multiply-add over all channels of a shifted view, without any index."""
    offsets, rows, width = neighbor_offsets(kernel.dilations), slice(0, scores.shape[-2]), scores.shape[-1]
    weights = kernel.weights[:, :, None].unbind(1)
    for _ in range(steps):
        around = _shifted(_padded(scores, max(kernel.dilations), kernel.boxes), offsets, rows, width)
        scores = around[0] * weights[0]
        for neighbor, weight in zip(around[1:], weights[1:], strict=True):
            scores.addcmul_(neighbor, weight)
    return scores


def propagate_sparse(kernel: PARKernel, scores: Tensor, steps: int) -> Tensor:
    """As a block-diagonal sparse matrix over the batch: each row holds the weights of one pixel's neighbors."""
    b, c, height, width = scores.shape
    pixels, around = height * width, kernel.weights.shape[1]
    columns = neighbor_places(kernel.dilations, height, width, kernel.boxes, scores.device).permute(0, 2, 3, 1)
    if b > 1:
        columns = columns + torch.arange(b, dtype=torch.int32).view(-1, 1, 1, 1) * pixels
    starts = torch.arange(0, (b * pixels + 1) * around, around, dtype=torch.int32)
    weights = kernel.weights.permute(0, 2, 3, 1).reshape(-1)
    # embedding_bag has a slow path for channels that are not adjacent in memory.
    vectors = scores.permute(0, 2, 3, 1).reshape(b * pixels, c).contiguous()
    for _ in range(steps):
        # embedding_bag sums weighted rows; on a CPU it is faster than a product with a CSR matrix.
        vectors = F.embedding_bag(
            columns.reshape(-1), vectors, starts, mode="sum", per_sample_weights=weights, include_last_offset=True
        )
    return vectors.view(b, height, width, c).permute(0, 3, 1, 2).contiguous()
