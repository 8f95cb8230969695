"""One block of the mix transformer (Xie et al., NeurIPS 2021, section 3.1): efficient attention, mix feed-forward."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.models.encoders.encoder import Attention, Grid, to_map, to_tokens

_HIDDEN_AT_ONCE = 1 << 20
"""Without gradient, a CPU makes about so many hidden values of a feed-forward at a time: they stay in its cache."""

_ROWS_AT_ONCE = 32
"""But no fewer rows of the grid: the row above and the row below are expanded too, for their neighbours' sake."""


class DropPath(nn.Module):
    """Skips a residual branch for a random part of the batch, and scales it up for the rest (Huang et al., 2016)."""

    def __init__(self, rate: float) -> None:
        """``rate`` is the chance of skipping."""
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Zeros whole rows of the batch in training; the identity otherwise."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        shape = (branch.shape[0],) + (1,) * (branch.ndim - 1)
        return branch * branch.new_empty(shape).bernoulli_(keep).div_(keep)


class EfficientAttention(nn.Module):
    """Self-attention whose keys and values come from a grid reduced by a strided convolution."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        """``width`` is divided evenly among ``heads``."""
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.reduction = nn.Conv2d(width, width, reduction, reduction) if reduction > 1 else None
        self.reduction_norm = nn.LayerNorm(width) if reduction > 1 else None

    def forward(
        self, tokens: Float[Tensor, "b n d"], grid: Grid, *, read: bool = False
    ) -> tuple[Float[Tensor, "b n d"], Attention | None]:
        """Attended tokens; with ``read``, also queries and keys, with gradient."""
        source = tokens
        if self.reduction is not None and self.reduction_norm is not None:
            source = self.reduction_norm(to_tokens(self.reduction(to_map(tokens, grid))))
        if self.heads == 1 and not read and _for_the_cache(tokens):
            return self._by_few_keys(tokens, source), None
        query = self.query(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(source).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.output(mixed.transpose(1, 2).flatten(2)), Attention(query, key) if read else None

    def _by_few_keys(self, tokens: Tensor, source: Tensor) -> Tensor:
        """The same of one head, by products in another order: the outer layers act on the few keys and values instead.

        (x Q + p) . k = x . (Q k) + p . k, and as the weights of a softmax add up to 1, softmax(.) v O + o =
        softmax(.) (v O + o).
        """
        key, value = self.key_value(source).chunk(2, dim=2)
        logit_bias = (key @ self.query.bias)[:, None, None] / math.sqrt(key.shape[-1])
        key, value = key @ self.query.weight, self.output(value)
        mixed = F.scaled_dot_product_attention(tokens[:, None], key[:, None], value[:, None], attn_mask=logit_bias)
        return mixed[:, 0]

    def logit_layers(self) -> tuple[nn.Linear, nn.Linear]:
        """The layers that the logits are made by."""
        return self.query, self.key_value


class TokenComparison(nn.Module):
    """Queries and keys alone: tokens are compared for the affinity, and nothing passes from one to another."""

    def __init__(self, width: int, heads: int) -> None:
        """``width`` is divided evenly among ``heads``."""
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)

    def forward(
        self, tokens: Float[Tensor, "b n d"], grid: Grid, *, read: bool = False
    ) -> tuple[None, Attention | None]:
        """Nothing to add to the tokens; with ``read``, queries and keys, with gradient."""
        if not read:
            return None, None
        query, key = (layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key))
        return None, Attention(query, key)

    def logit_layers(self) -> tuple[nn.Linear, nn.Linear]:
        """The layers that the logits are made by."""
        return self.query, self.key


class MixFeedForward(nn.Module):
    """Two linear layers around a 3x3 depthwise convolution, which tells tokens where they are."""

    def __init__(self, width: int, hidden: int) -> None:
        """``hidden`` is the number of channels between the linear layers."""
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Keeps the shape."""
        return self._of_rows(tokens, grid, slice(0, grid.height))

    def added_by_bands(
        self, residual: Float[Tensor, "b n d"], tokens: Float[Tensor, "b n d"], grid: Grid
    ) -> Float[Tensor, "b n d"]:
        """``residual + forward(tokens, grid)`` without gradient, a part at a time that fits a CPU's cache."""
        total = torch.empty_like(residual)
        for images, rows in _bands(len(tokens), grid, self.expand.out_features):
            cells = slice(rows.start * grid.width, rows.stop * grid.width)
            added = self._of_rows(tokens[images], grid, rows)
            torch.add(residual[images, cells], added, out=total[images, cells])
        return total

    def _of_rows(self, tokens: Tensor, grid: Grid, rows: slice) -> Tensor:
        """What becomes of the tokens of some rows of the grid; read are those of the rows beside them too."""
        first, end = max(rows.start - 1, 0), min(rows.stop + 1, grid.height)
        read = tokens[:, first * grid.width : end * grid.width]
        mixed = self.depthwise(to_map(self.expand(read), Grid(end - first, grid.width)))
        mixed = to_tokens(mixed[:, :, rows.start - first : rows.stop - first])
        # Without a gradient in place: on a CPU new memory of this size costs several times what GELU does.
        contracted: Tensor = self.contract(F.gelu(mixed) if mixed.requires_grad else torch.ops.aten.gelu_(mixed))
        return contracted


def _bands(images: int, grid: Grid, hidden: int) -> Iterator[tuple[slice, slice]]:
    """Images and rows of the grid to take at a time, together in memory: several images, or some rows of one."""
    rows = max(_ROWS_AT_ONCE, _HIDDEN_AT_ONCE // (grid.width * hidden))
    together = max(1, rows // grid.height)
    rows = math.ceil(grid.height / math.ceil(grid.height / rows))  # of each band about as many
    for image, first in product(range(0, images, together), range(0, grid.height, rows)):
        yield slice(image, image + together), slice(first, min(first + rows, grid.height))


def _for_the_cache(tokens: Tensor) -> bool:
    """Whether to go by what keeps a CPU in its cache; a gradient needs all that lies between anyway."""
    return tokens.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


class MixBlock(nn.Module):
    """Attention, where there is one, and feed-forward, each behind a norm and around a residual."""

    def __init__(
        self, width: int, attention: EfficientAttention | TokenComparison | None, hidden: int, drop_path: float
    ) -> None:
        """``drop_path`` is the chance of skipping a branch in training."""
        super().__init__()
        self.attention_norm = None if attention is None else nn.LayerNorm(width, eps=1e-6)
        self.attention = attention
        self.feed_forward_norm = nn.LayerNorm(width, eps=1e-6)
        self.feed_forward = MixFeedForward(width, hidden)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, tokens: Float[Tensor, "b n d"], grid: Grid, *, read: bool = False
    ) -> tuple[Float[Tensor, "b n d"], Attention | None]:
        """Tokens of the same shape; with ``read``, also queries and keys."""
        attended, attention = None, None
        if self.attention is not None and self.attention_norm is not None:
            attended, attention = self.attention(self.attention_norm(tokens), grid, read=read)
        if attended is not None:
            tokens = tokens + self.drop_path(attended)
        normed = self.feed_forward_norm(tokens)
        if _for_the_cache(tokens) and not self.training:
            return self.feed_forward.added_by_bands(tokens, normed, grid), attention
        return tokens + self.drop_path(self.feed_forward(normed, grid)), attention
