"""Affinity and random walk of the pairs within a radius alone: time and memory are linear in the number of tokens.

The grid is cut in tiles whose sides are at least the radius, so that a token's neighbors lie in its own tile and the
eight around it. The affinity is symmetric: each pair of neighboring tiles is computed once, from five of the nine
directions. ``affinity`` and ``random_walk`` have the formulas; what they give, these functions give too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

from afa_wsss.ops.affinity import TokenAffinity
from afa_wsss.ops.random_walk import ALPHA, ROW_SUM_FLOOR, STEPS

DIRECTIONS = ((0, 0), (0, 1), (1, -1), (1, 0), (1, 1))
"""Rows and columns from a tile to those that it is compared with; the other four compare the same pairs again."""

_LEAST_SIDE = 8
"""Shortest side of a tile: products of smaller tiles take longer than the pairs beyond the radius that they save."""


class Tiles(NamedTuple):
    """A token grid cut in ``rows`` x ``columns`` tiles of ``height`` x ``width`` tokens, padded to whole tiles.

    The tiles of all images of a batch form one sequence: image by image, row by row.
    """

    grid: tuple[int, int]
    radius: int
    rows: int
    columns: int
    height: int
    width: int

    def cut(self, tokens: Shaped[Tensor, "b n d"], *, fill: int = 0) -> Shaped[Tensor, "m t d"]:
        """The tokens of each tile, row by row; ``fill`` is the value of the padding."""
        below, right = self.rows * self.height - self.grid[0], self.columns * self.width - self.grid[1]
        cells = tokens.reshape(len(tokens), *self.grid, -1)
        cells = F.pad(cells, (0, 0, 0, right, 0, below), value=fill) if below or right else cells
        cells = cells.reshape(-1, self.rows, self.height, self.columns, self.width, tokens.shape[2])
        return cells.transpose(2, 3).reshape(-1, self.height * self.width, tokens.shape[2])

    def join(self, tiles: Shaped[Tensor, "m t d"]) -> Shaped[Tensor, "b n d"]:
        """The tokens of the grid again, without padding."""
        cells = tiles.reshape(-1, self.rows, self.columns, self.height, self.width, tiles.shape[2])
        cells = cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return cells[:, : self.grid[0], : self.grid[1]].flatten(1, 2)


class TilePairs(NamedTuple):
    """Affinity of the pairs between each tile and the tile ``shift`` places later in the sequence.

    Attributes:
        shift: Places between the two tiles. 0 compares each tile with itself and has every pair of it in both orders;
            others have each pair in one order.
        affinity: (p, t, t), p tiles first to last by the p tiles that lie later.
        near: Pairs of one image that lie within the radius, (p, t, t); padding counts as tokens.
    """

    shift: int
    affinity: Float[Tensor, "p t t"]
    near: Bool[Tensor, "p t t"]

    def earlier(self, tiles: Shaped[Tensor, "m t d"]) -> Shaped[Tensor, "p t d"]:
        """Values of the tiles that come first in each pair."""
        return tiles[: len(tiles) - self.shift]

    def later(self, tiles: Shaped[Tensor, "m t d"]) -> Shaped[Tensor, "p t d"]:
        """Values of the tiles that they are compared with."""
        return tiles[self.shift :]


def tiles_of(grid: tuple[int, int], *, radius: int) -> Tiles:
    """Tiles for which neighbors within ``radius`` lie in a tile or in one beside it.

    Example:
        >>> tiles_of((32, 50), radius=8)
        Tiles(grid=(32, 50), radius=8, rows=4, columns=6, height=8, width=9)
    """
    height, width = (_tile_side(side, radius) for side in grid)
    return Tiles((grid[0], grid[1]), radius, math.ceil(grid[0] / height), math.ceil(grid[1] / width), height, width)


def _tile_side(side: int, radius: int) -> int:
    """The whole side where two tiles would compare as many pairs; else the size that compares the fewest."""
    least = max(radius, _LEAST_SIDE)
    if side <= 2 * least:
        return side
    even = math.ceil(side / (side // least))
    return min(least, even, key=lambda size: math.ceil(side / size) * size**2)


def near_affinity(affinity: TokenAffinity, tiles: Tiles) -> Iterator[TilePairs]:
    """The affinity of all pairs within the radius, and of some beyond it, with gradient.

    Args:
        affinity: Vectors of the tokens of ``tiles.grid``.
        tiles: See ``tiles_of``.

    Yields:
        At most five parts, one for each of ``DIRECTIONS``; a grid of one row or column of tiles has fewer.
    """
    directions = [
        (down, right)
        for down, right in DIRECTIONS
        if (down == 0 or tiles.rows > 1) and (right == 0 or tiles.columns > 1)
    ]
    shifts = tuple(down * tiles.columns + right for down, right in directions)
    scores = _NearScores.apply(tiles.cut(affinity.queries), tiles.cut(affinity.keys), shifts)
    for direction, shift, part in zip(directions, shifts, scores, strict=True):
        near = _near(tiles, direction, len(part) + shift, part.device)
        yield TilePairs(shift, torch.sigmoid(part + affinity.bias), near[: len(part)])


def _near(tiles: Tiles, direction: tuple[int, int], count: int, device: torch.device) -> Bool[Tensor, "m t t"]:
    """Pairs within the radius between each of ``count`` tiles and the one in ``direction``, if the image has it."""
    down, right = direction
    rows, columns = torch.arange(tiles.height, device=device), torch.arange(tiles.width, device=device)
    near_rows = (rows[:, None] - rows - down * tiles.height).abs() <= tiles.radius
    near_columns = (columns[:, None] - columns - right * tiles.width).abs() <= tiles.radius
    near = (near_rows[:, None, :, None] & near_columns[None, :, None, :]).flatten(2).flatten(0, 1)
    below = torch.arange(tiles.rows, device=device) + down < tiles.rows
    beside = torch.arange(tiles.columns, device=device) + right
    there = (below[:, None] & (beside >= 0) & (beside < tiles.columns)).flatten()
    return near & there.repeat(count // len(there))[:, None, None]


class _NearScores(torch.autograd.Function):
    """Q K^T + K Q^T between tiles some places apart, float32.

    Slices of a tensor would each add a tensor of its size to the backward pass; here their gradients add up in place.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, shifts: Sequence[int]) -> tuple[Tensor, ...]:
        ctx.save_for_backward(queries, keys)
        ctx.shifts = shifts
        found = []
        for shift in shifts:
            earlier, later = slice(len(queries) - shift), slice(shift, None)
            scores = torch.bmm(queries[earlier], keys[later].transpose(1, 2)).float()
            other = scores if shift == 0 else torch.bmm(queries[later], keys[earlier].transpose(1, 2)).float()
            found.append(scores + other.transpose(1, 2))
        return tuple(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        queries, keys = ctx.saved_tensors
        of_queries, of_keys = torch.zeros_like(queries), torch.zeros_like(keys)
        for shift, gradient in zip(ctx.shifts, gradients, strict=True):
            earlier, later = slice(len(queries) - shift), slice(shift, None)
            forth = gradient.to(queries.dtype)
            if shift == 0:
                forth = forth + forth.transpose(1, 2)
            back = forth.transpose(1, 2)
            of_queries[earlier].baddbmm_(forth, keys[later])
            of_keys[later].baddbmm_(back, queries[earlier])
            if shift != 0:
                of_queries[later].baddbmm_(back, keys[earlier])
                of_keys[earlier].baddbmm_(forth, queries[later])
        return of_queries, of_keys, None


def window_walk(
    scores: Float[Tensor, "b c h w"],
    affinity: TokenAffinity,
    *,
    radius: int,
    alpha: float = ALPHA,
    steps: int = STEPS,
) -> Float[Tensor, "b c h w"]:
    """``propagate`` by the ``transition_matrix`` of the affinity within ``radius``, without the matrix.

    Args:
        scores: Class scores on the token grid.
        affinity: Of the tokens of the same grid.
        radius: Tokens farther apart (Chebyshev) exchange nothing.
        alpha: Power of the affinity.
        steps: Steps of the walk.

    Returns:
        Scores on the same grid, float32 also under autocast.

    Example:
        >>> alike = TokenAffinity(torch.zeros(1, 3, 1), torch.zeros(1, 3, 1), torch.zeros(1))
        >>> window_walk(torch.ones(1, 1, 1, 3), alike, radius=1).flatten()  # A = 0.5: 2 or 3 * 0.25 / (that + 0.1)
        tensor([0.8333, 0.8824, 0.8333])
    """
    tiles = tiles_of((scores.shape[2], scores.shape[3]), radius=radius)
    tokens = scores.float().flatten(2).transpose(1, 2)
    inside = tiles.cut(torch.ones_like(tokens[..., :1]))  # its weighted sums are the row sums; 0 in the padding
    pairs = [part._replace(affinity=part.affinity**alpha * part.near) for part in near_affinity(affinity, tiles)]
    found = tiles.cut(tokens)
    # Autocast would compute the products in half precision.
    with torch.autocast(scores.device.type, enabled=False):
        for _ in range(steps):
            sums = _weighted_sums(pairs, torch.cat([found, inside], dim=2))
            found = sums[..., :-1] / (sums[..., -1:] + ROW_SUM_FLOOR) * inside
    return tiles.join(found).transpose(1, 2).reshape(scores.shape)


def _weighted_sums(pairs: Sequence[TilePairs], values: Float[Tensor, "m t d"]) -> Float[Tensor, "m t d"]:
    """For each token the sum over its neighbors of weight times value."""
    sums = torch.zeros_like(values)
    for part in pairs:
        part.earlier(sums).baddbmm_(part.affinity, part.later(values))
        if part.shift != 0:
            part.later(sums).baddbmm_(part.affinity.transpose(1, 2), part.earlier(values))
    return sums
