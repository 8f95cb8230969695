"""``MixBlock`` without gradient on a CPU: the same values, computed in pieces that stay in its cache.

``MixBlock.plain`` is the formula; the order of the sums alone differs here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from afa_wsss.models.encoders.efficient_attention import EfficientAttention
from afa_wsss.models.encoders.encoder import Attention, Grid, to_map, to_tokens

if TYPE_CHECKING:
    from afa_wsss.models.encoders.mix_block import MixBlock, MixFeedForward

_HIDDEN_AT_ONCE = 1 << 20
"""Hidden values of a feed-forward that are computed at a time; about as many fit the cache."""

_ROWS_AT_ONCE = 32
"""Fewest rows of the grid in a band: the row above and the row below are computed too, as neighbors."""


def pays(tokens: Tensor) -> bool:
    """Whether this form is faster: not with gradient, which keeps every intermediate result anyway."""
    return tokens.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def forward(
    block: MixBlock, tokens: Float[Tensor, "b n d"], grid: Grid, *, read: bool
) -> tuple[Float[Tensor, "b n d"], Attention | None]:
    """``block.plain(tokens, grid, read=read)`` in evaluation mode."""
    attention = None
    if block.attention is not None and block.attention_norm is not None:
        normed = block.attention_norm(tokens)
        if isinstance(block.attention, EfficientAttention) and block.attention.heads == 1 and not read:
            attended: Tensor | None = attend_by_few_keys(block.attention, normed, grid)
        else:
            attended, attention = block.attention(normed, grid, read=read)
        tokens = tokens if attended is None else tokens + attended
    return add_feed_forward(tokens, block.feed_forward_norm(tokens), block.feed_forward, grid), attention


def attend_by_few_keys(
    attention: EfficientAttention, tokens: Float[Tensor, "b n d"], grid: Grid
) -> Float[Tensor, "b n d"]:
    """Attention of one head, with the products in another order: the outer layers act on the few keys and values.

    (x Q + p) . k = x . (Q k) + p . k, and as the weights of a softmax add up to 1, softmax(.) v O + o =
    softmax(.) (v O + o).
    """
    key, value = attention.key_value(attention.reduced(tokens, grid)).chunk(2, dim=2)
    logit_bias = (key @ attention.query.bias)[:, None, None] / math.sqrt(key.shape[-1])
    key, value = key @ attention.query.weight, attention.output(value)
    mixed = F.scaled_dot_product_attention(tokens[:, None], key[:, None], value[:, None], attn_mask=logit_bias)
    return mixed[:, 0]


def add_feed_forward(
    residual: Float[Tensor, "b n d"], tokens: Float[Tensor, "b n d"], feed_forward: MixFeedForward, grid: Grid
) -> Float[Tensor, "b n d"]:
    """``residual + feed_forward(tokens, grid)``, some rows of the grid at a time."""
    total = torch.empty_like(residual)
    for images, rows in _bands(len(tokens), grid, feed_forward.expand.out_features):
        cells = slice(rows.start * grid.width, rows.stop * grid.width)
        added = _rows(feed_forward, tokens[images], grid, rows)
        torch.add(residual[images, cells], added, out=total[images, cells])
    return total


def _rows(feed_forward: MixFeedForward, tokens: Tensor, grid: Grid, rows: slice) -> Tensor:
    """The output for some rows of the grid, from these and the rows beside them."""
    first, end = max(rows.start - 1, 0), min(rows.stop + 1, grid.height)
    read = tokens[:, first * grid.width : end * grid.width]
    mixed = feed_forward.depthwise(to_map(feed_forward.expand(read), Grid(end - first, grid.width)))
    mixed = to_tokens(mixed[:, :, rows.start - first : rows.stop - first])
    # In place: on a CPU new memory of this size costs several times what GELU does.
    contracted: Tensor = feed_forward.contract(torch.ops.aten.gelu_(mixed))
    return contracted


def _bands(images: int, grid: Grid, hidden: int) -> Iterator[tuple[slice, slice]]:
    """Images and rows of the grid to take at a time: several images, or some rows of one."""
    rows = max(_ROWS_AT_ONCE, _HIDDEN_AT_ONCE // (grid.width * hidden))
    together = max(1, rows // grid.height)
    rows = math.ceil(grid.height / math.ceil(grid.height / rows))  # bands of about the same height
    for image, first in product(range(0, images, together), range(0, grid.height, rows)):
        yield slice(image, image + together), slice(first, min(first + rows, grid.height))
