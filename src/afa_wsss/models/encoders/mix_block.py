"""One block of the mix transformer (Xie et al., NeurIPS 2021, section 3.1): efficient attention, mix feed-forward.

``mix_block_cpu`` has a form of the block that gives the same without gradient and stays in a CPU's cache.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.models.encoders import mix_block_cpu
from afa_wsss.models.encoders.efficient_attention import TokenMixing
from afa_wsss.models.encoders.encoder import Attention, Grid, to_map, to_tokens


class DropPath(nn.Module):
    """Skips a residual branch for a random part of the batch, and scales it up for the rest (Huang et al., 2016)."""

    def __init__(self, rate: float) -> None:
        """``rate`` is the probability of skipping."""
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Zeros whole rows of the batch in training; the identity otherwise."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        shape = (branch.shape[0],) + (1,) * (branch.ndim - 1)
        return branch * branch.new_empty(shape).bernoulli_(keep).div_(keep)


class MixFeedForward(nn.Module):
    """Two linear layers around a 3x3 depthwise convolution, which gives tokens their position."""

    def __init__(self, width: int, hidden: int) -> None:
        """``hidden`` is the number of channels between the linear layers."""
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Keeps the shape."""
        mixed = to_tokens(self.depthwise(to_map(self.expand(tokens), grid)))
        contracted: Tensor = self.contract(F.gelu(mixed))
        return contracted


class MixBlock(nn.Module):
    """Attention, where there is one, and feed-forward, each behind a norm and around a residual."""

    def __init__(self, width: int, attention: TokenMixing | None, hidden: int, drop_path: float) -> None:
        """``drop_path`` is the probability of skipping a branch in training."""
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
        if mix_block_cpu.pays(tokens) and not self.training:
            return mix_block_cpu.forward(self, tokens, grid, read=read)
        return self.plain(tokens, grid, read=read)

    def plain(
        self, tokens: Float[Tensor, "b n d"], grid: Grid, *, read: bool = False
    ) -> tuple[Float[Tensor, "b n d"], Attention | None]:
        """The formula: x + attention(norm(x)), then x + feed_forward(norm(x))."""
        attention = None
        if self.attention is not None and self.attention_norm is not None:
            attended, attention = self.attention(self.attention_norm(tokens), grid, read=read)
            tokens = tokens if attended is None else tokens + self.drop_path(attended)
        return tokens + self.drop_path(self.feed_forward(self.feed_forward_norm(tokens), grid)), attention
