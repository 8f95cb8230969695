"""One block of the mix transformer (Xie et al., NeurIPS 2021, section 3.1): efficient attention, mix feed-forward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.models.encoder import Attention, Grid, to_map, to_tokens

_HIDDEN_AT_ONCE = 1 << 22
"""Without gradient, a CPU makes so many hidden values of a feed-forward at a time: they stay in its cache, and in
memory just used. Asking the system for new pages costs more than the arithmetic."""


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
        query = self.query(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(source).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.output(mixed.transpose(1, 2).flatten(2)), Attention(query, key) if read else None

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
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or tokens.device.type != "cpu":
            return self._of_rows(tokens, grid, slice(0, grid.height))
        rows = max(1, _HIDDEN_AT_ONCE // (len(tokens) * grid.width * self.expand.out_features))
        bands = [slice(first, min(first + rows, grid.height)) for first in range(0, grid.height, rows)]
        return torch.cat([self._of_rows(tokens, grid, band) for band in bands], dim=1)

    def _of_rows(self, tokens: Tensor, grid: Grid, rows: slice) -> Tensor:
        """What becomes of the tokens of some rows of the grid; read are those of the rows beside them too."""
        first, end = max(rows.start - 1, 0), min(rows.stop + 1, grid.height)
        read = tokens[:, first * grid.width : end * grid.width]
        mixed = self.depthwise(to_map(self.expand(read), Grid(end - first, grid.width)))
        mixed = to_tokens(mixed[:, :, rows.start - first : rows.stop - first])
        # Without a gradient in place: on a CPU new memory of this size costs several times what GELU does.
        contracted: Tensor = self.contract(F.gelu(mixed) if mixed.requires_grad else torch.ops.aten.gelu_(mixed))
        return contracted


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
        return tokens + self.drop_path(self.feed_forward(self.feed_forward_norm(tokens), grid)), attention
