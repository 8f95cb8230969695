"""Affinity and random walk of the pairs within a radius alone: time and memory are linear in the number of tokens.

The grid is cut in tiles whose sides are at least the radius, so that a token's neighbors lie in its own tile and the
eight around it. The affinity is symmetric: each pair of tiles is computed once, a tile against itself, the tile at its
right and the three below. ``affinity`` and ``random_walk`` have the formulas; these functions give the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

from afa_wsss.ops.affinity import TokenAffinity
from afa_wsss.ops.random_walk import ALPHA, ROW_SUM_FLOOR, STEPS

_LEAST_SIDE = 8
"""Shortest side of a tile: products of smaller tiles take longer than the pairs beyond the radius that they save."""


class Tiles(NamedTuple):
    """A token grid cut in ``rows`` x ``columns`` tiles of ``height`` x ``width`` tokens.

    The tiles of a batch form one sequence: row by row, in a row image by image. So the neighbors of a tile in one row
    follow one another, and those of all tiles are views of the sequence. Tiles may reach beyond the grid; the sequence
    ends with one more tile of padding.
    """

    grid: tuple[int, int]
    radius: int
    rows: int
    columns: int
    height: int
    width: int

    def cut(self, tokens: Shaped[Tensor, "b n d"], *, fill: int = 0) -> Shaped[Tensor, "m t d"]:
        """The sequence of tiles, each with its tokens row by row; ``fill`` is the value of the padding."""
        below, right = self.rows * self.height - self.grid[0], self.columns * self.width - self.grid[1]
        cells = tokens.reshape(len(tokens), *self.grid, -1)
        cells = F.pad(cells, (0, 0, 0, right, 0, below), value=fill) if below or right else cells
        cells = cells.reshape(-1, self.rows, self.height, self.columns, self.width, tokens.shape[2])
        cells = cells.permute(1, 0, 3, 2, 4, 5)
        sequence = tokens.new_empty(cells.shape[:3].numel() + 1, self.height * self.width, tokens.shape[2])
        sequence[:-1].view(cells.shape).copy_(cells)
        sequence[-1] = fill
        return sequence

    def join(self, sequence: Shaped[Tensor, "m t d"]) -> Shaped[Tensor, "b n d"]:
        """The tokens of the grid again."""
        cells = sequence[:-1].reshape(self.rows, -1, self.columns, self.height, self.width, sequence.shape[2])
        cells = cells.permute(1, 0, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
        return cells[:, : self.grid[0], : self.grid[1]].flatten(1, 2)


class Neighbors(NamedTuple):
    """Which tiles each tile is compared with: ``across`` of them in one row, one after the other.

    Attributes:
        tiles: How many tiles are compared; they are the first ones of the sequence.
        down: Rows from a tile to its neighbors.
        right: Columns to the first neighbor.
        shift: Places in the sequence to the first neighbor.
        across: Neighbors of a tile.
    """

    tiles: int
    down: int
    right: int
    shift: int
    across: int

    def of(self, sequence: Shaped[Tensor, "m t d"]) -> Shaped[Tensor, "p w d"]:
        """The tokens of each tile's neighbors, w = across * t, as a view."""
        near = sequence[self.shift : self.shift + self.tiles + self.across - 1].unfold(0, self.across, 1)
        return near.permute(0, 3, 1, 2).flatten(1, 2)

    def each(self, pairs: Shaped[Tensor, "p t w"]) -> Iterator[tuple[slice, Shaped[Tensor, "p s t"]]]:
        """The places of each neighbor in the sequence, and its part of ``pairs``, transposed; not the tile itself."""
        for index, part in enumerate(pairs.transpose(1, 2).chunk(self.across, dim=1)):
            first = self.shift + index
            if first != 0:
                yield slice(first, first + self.tiles), part


class TilePairs(NamedTuple):
    """Pairs of the tokens of p tiles, t each, with the w tokens of their neighbors.

    Attributes:
        neighbors: Which tiles are compared.
        close: Whether two places of a tile and its neighbors lie within the radius.
        there: Whether the image has the neighbor, for each of its tokens; those beyond the grid count as well.
        orders: In how many orders the dense form has a pair that is here once: 1 within a tile, which has both orders
            itself, 2 elsewhere.
    """

    neighbors: Neighbors
    close: Bool[Tensor, "t w"]
    there: Bool[Tensor, "p w"]
    orders: Float[Tensor, " w"]


def tiles_of(grid: tuple[int, int], *, radius: int) -> Tiles:
    """The tiles that need the fewest products among those whose neighbors hold all pairs within ``radius``.

    Example:
        >>> tiles_of((32, 50), radius=8)
        Tiles(grid=(32, 50), radius=8, rows=4, columns=7, height=8, width=8)
    """
    least = max(radius, _LEAST_SIDE)
    sides = ({side, min(least, side), math.ceil(side / max(side // least, 1))} for side in grid)
    cuts = (
        Tiles((grid[0], grid[1]), radius, math.ceil(grid[0] / height), math.ceil(grid[1] / width), height, width)
        for height, width in product(*map(sorted, sides))
    )
    return min(cuts, key=_products)


def _products(tiles: Tiles) -> int:
    """Pairs of tokens that are multiplied."""
    beside, below = (4, 6) if tiles.columns > 1 else (1, 2)
    return (tiles.rows * beside + (tiles.rows - 1) * below) * tiles.columns * (tiles.height * tiles.width) ** 2


def near_pairs(tiles: Tiles, images: int, device: torch.device) -> list[TilePairs]:
    """All pairs within the radius: of tiles with themselves and those at their right, and with those below.

    Args:
        tiles: See ``tiles_of``.
        images: Number of images in the batch.
        device: Device of the masks.
    """
    row, beside = images * tiles.columns, int(tiles.columns > 1)
    found = [Neighbors(tiles.rows * row, 0, 0, 0, 1 + beside)]
    if tiles.rows > 1:
        found.append(Neighbors((tiles.rows - 1) * row, 1, -beside, row - beside, 1 + 2 * beside))
    return [_pairs(tiles, neighbors, images, device) for neighbors in found]


def _pairs(tiles: Tiles, neighbors: Neighbors, images: int, device: torch.device) -> TilePairs:
    rows, columns = torch.arange(tiles.height, device=device), torch.arange(tiles.width, device=device)
    rights = neighbors.right + torch.arange(neighbors.across, device=device)
    near_rows = (rows[:, None] - rows - neighbors.down * tiles.height).abs() <= tiles.radius
    near_columns = (columns[:, None, None] - columns - rights[:, None] * tiles.width).abs() <= tiles.radius
    close = near_rows[:, None, None, :, None] & near_columns[None, :, :, None, :]
    places = torch.arange(tiles.columns, device=device)[:, None] + rights
    there = ((places >= 0) & (places < tiles.columns)).repeat((tiles.rows - neighbors.down) * images, 1)
    tokens = tiles.height * tiles.width
    orders = torch.full((neighbors.across * tokens,), 2.0, device=device)
    if neighbors.down == 0:
        orders[:tokens] = 1
    return TilePairs(neighbors, close.reshape(tokens, -1), there.repeat_interleave(tokens, dim=1), orders)


def near_affinity(
    affinity: TokenAffinity, tiles: Tiles, pairs: Sequence[TilePairs]
) -> tuple[Float[Tensor, "_ t _"], ...]:
    """The affinity of ``pairs``, float32, with gradient: (p, t, w) for each of them, 0 beyond the radius.

    Args:
        affinity: Vectors of the tokens of ``tiles.grid``.
        tiles: See ``tiles_of``.
        pairs: See ``near_pairs``.
    """
    with torch.autocast(affinity.queries.device.type, enabled=False):  # as in TokenAffinity.dense
        found: tuple[Tensor, ...] = _NearAffinity.apply(*(part.float() for part in affinity), tiles, pairs)
    return found


class _NearAffinity(torch.autograd.Function):
    """sigmoid(Q K^T + K Q^T + bias) between tiles and their neighbors, float32, 0 beyond the radius.

    Views of one tensor would each add a tensor of its size to the backward pass; here their gradients add up in place.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, bias: Tensor, tiles: Tiles, pairs: Sequence[TilePairs]
    ) -> tuple[Tensor, ...]:
        queries, keys, found = tiles.cut(queries), tiles.cut(keys), []
        for near, close, there, _ in pairs:
            far = torch.where(close, 0.0, float("-inf"))
            scores = far + torch.where(there, bias, float("-inf"))[:, None]
            scores.baddbmm_(queries[: near.tiles], near.of(keys).transpose(1, 2))
            scores.baddbmm_(keys[: near.tiles], near.of(queries).transpose(1, 2))
            found.append(scores.sigmoid_())
        ctx.tiles, ctx.neighbors = tiles, [part.neighbors for part in pairs]
        ctx.save_for_backward(queries, keys, *found)
        return tuple(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        queries, keys, *found = ctx.saved_tensors
        of_queries, of_keys, of_bias = torch.zeros_like(queries), torch.zeros_like(keys), found[0].new_zeros(1)
        for near, affinity, gradient in zip(ctx.neighbors, found, gradients, strict=True):
            of_scores = torch.ops.aten.sigmoid_backward(gradient, affinity)
            of_bias += of_scores.sum()
            if near.down == 0:  # the pairs of a tile with itself have both orders
                own = of_scores[:, :, : of_scores.shape[1]]
                own += own.transpose(1, 2).clone()
            of_queries[: near.tiles].baddbmm_(of_scores, near.of(keys))
            of_keys[: near.tiles].baddbmm_(of_scores, near.of(queries))
            for places, back in near.each(of_scores):
                of_queries[places].baddbmm_(back, keys[: near.tiles])
                of_keys[places].baddbmm_(back, queries[: near.tiles])
        return ctx.tiles.join(of_queries), ctx.tiles.join(of_keys), of_bias, None, None


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
        affinity: Affinity of the tokens of the same grid.
        radius: Tokens farther apart (Chebyshev) exchange nothing.
        alpha: Power of the affinity.
        steps: Steps of the walk.

    Returns:
        Scores on the same grid, float32 also under autocast; with gradient where ``alpha`` is at least 1.

    Example:
        >>> alike = TokenAffinity(torch.zeros(1, 3, 1), torch.zeros(1, 3, 1), torch.zeros(1))
        >>> window_walk(torch.ones(1, 1, 1, 3), alike, radius=1).flatten()  # A = 0.5: 2 or 3 * 0.25 / (that + 0.1)
        tensor([0.8333, 0.8824, 0.8333])
    """
    tiles = tiles_of((scores.shape[2], scores.shape[3]), radius=radius)
    pairs = near_pairs(tiles, len(scores), scores.device)
    powers = [near**alpha for near in near_affinity(affinity, tiles, pairs)]
    return weighted_walk(scores, powers, tiles, pairs, steps=steps)


def weighted_walk(
    scores: Float[Tensor, "b c h w"],
    powers: Sequence[Float[Tensor, "_ t _"]],
    tiles: Tiles,
    pairs: Sequence[TilePairs],
    *,
    steps: int = STEPS,
) -> Float[Tensor, "b c h w"]:
    """``window_walk`` by the weights of the pairs: A^alpha, or any others that are symmetric.

    Args:
        scores: Class scores on the token grid.
        powers: Weights of ``pairs``, (p, t, w) for each of them, 0 beyond the radius.
        tiles: See ``tiles_of``.
        pairs: See ``near_pairs``.
        steps: Steps of the walk.
    """
    tokens = scores.float().flatten(2).transpose(1, 2)
    inside = tiles.cut(torch.ones_like(tokens[..., :1]))  # its weighted sums are the row sums; 0 in the padding
    weights = [(part.neighbors, power) for part, power in zip(pairs, powers, strict=True)]
    found = tiles.cut(tokens)
    # Autocast would compute the products in half precision.
    with torch.autocast(scores.device.type, enabled=False):
        for _ in range(steps):
            sums = _weighted_sums(weights, torch.cat([found, inside], dim=2))
            found = sums[..., :-1] / (sums[..., -1:] + ROW_SUM_FLOOR) * inside
    return tiles.join(found).transpose(1, 2).reshape(scores.shape)


def _weighted_sums(
    weights: Sequence[tuple[Neighbors, Float[Tensor, "_ t _"]]], values: Float[Tensor, "m t d"]
) -> Float[Tensor, "m t d"]:
    """For each token the sum over all tokens of weight times value."""
    sums = torch.zeros_like(values)
    for near, pairs in weights:
        sums[: near.tiles].baddbmm_(pairs, near.of(values))
        for places, back in near.each(pairs):
            sums[places].baddbmm_(back, values[: near.tiles])
    return sums
