"""Attention in the blocks of a mix transformer: SegFormer's efficient attention, and the interface of others."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.models.encoders.encoder import Attention, Grid, to_map, to_tokens


class TokenMixing(nn.Module, ABC):
    """What a block lets tokens exchange, and the queries and keys that AFA may read."""

    @abstractmethod
    def forward(
        self, tokens: Float[Tensor, "b n d"], grid: Grid, *, read: bool = False
    ) -> tuple[Float[Tensor, "b n d"] | None, Attention | None]:
        """What is added to the tokens, None for nothing; with ``read``, also queries and keys, with gradient."""

    @abstractmethod
    def logit_layers(self) -> tuple[nn.Linear, nn.Linear]:
        """The layers that make queries and keys."""


class EfficientAttention(TokenMixing):
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
        query = self.query(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key_value = self.key_value(self.reduced(tokens, grid)).unflatten(2, (2, self.heads, -1))
        key, value = key_value.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.output(mixed.transpose(1, 2).flatten(2)), Attention(query, key) if read else None

    def reduced(self, tokens: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b m d"]:
        """The tokens of the coarser grid, which keys and values come from."""
        if self.reduction is None or self.reduction_norm is None:
            return tokens
        normed: Tensor = self.reduction_norm(to_tokens(self.reduction(to_map(tokens, grid))))
        return normed

    def logit_layers(self) -> tuple[nn.Linear, nn.Linear]:
        """The layers that make queries and keys."""
        return self.query, self.key_value
