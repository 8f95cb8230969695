"""A transformer block (Vaswani et al., NeurIPS 2017) that starts as the identity and attends to what is alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.models.encoders.encoder import Attention, Grid, to_map, to_tokens
from afa_wsss.ops.image import resize


class AttentionBlock(nn.Module):
    """x + O(softmax(q k^T / sqrt(d)) v), then x + MLP, both of normalized tokens; both branches add 0 at first.

    The last linear layer of each branch starts at zero. It receives gradient in the first step, the layers before it
    from the second step on; queries and keys have the affinity's gradient from the first.

    Queries and keys are made of a context of each token, by one orthogonal matrix at first: q k^T starts as the inner
    product of contexts, which is large where two tokens are alike. From random queries and keys a few hundred steps do
    not get there; they learn which tokens are background instead of which belong together (docs/real.md).
    """

    def __init__(self, width: int, heads: int, *, mlp_ratio: int = 4) -> None:
        """``width`` is divided evenly among ``heads``; the hidden layer has ``mlp_ratio`` times as many channels."""
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key = nn.Linear(width, 2 * width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, mlp_ratio * width)
        self.contract = nn.Linear(mlp_ratio * width, width)
        with torch.no_grad():
            self.query_key.weight.copy_(nn.init.orthogonal_(torch.empty(width, width)).repeat(2, 1))
        for layer in (self.value, self.expand):
            nn.init.trunc_normal_(layer.weight, std=0.02)
        for layer in (self.output, self.contract):
            nn.init.zeros_(layer.weight)
        for layer in (self.query_key, self.value, self.output, self.expand, self.contract):
            nn.init.zeros_(layer.bias)

    def forward(
        self, tokens: Float[Tensor, "b n d"], context: Float[Tensor, "b n d"]
    ) -> tuple[Float[Tensor, "b n d"], Attention]:
        """Tokens of the same shape, and queries and keys of all heads before scaling."""
        query, key = self.query_key(context).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        value = self.value(self.attention_norm(tokens)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.output(attended.transpose(1, 2).flatten(2))
        tokens = tokens + self.contract(F.gelu(self.expand(self.feed_forward_norm(tokens))))
        return tokens, Attention(query, key)


class Context(nn.Module):
    """What tokens are compared by: feature maps, normalized cell by cell, mixed, and without the photo's mean.

    The mean is what all cells of a photo have in common; without it, inner products tell its parts from each other.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        """Maps of so many ``channels`` each become ``width``, by an orthogonal matrix at first."""
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(each) for each in channels)
        self.mixes = nn.ModuleList()
        whole = nn.init.orthogonal_(torch.empty(width, sum(channels)))
        for part in torch.split(whole, list(channels), dim=1):
            mix = nn.Linear(part.shape[1], width, bias=False)
            mix.weight = nn.Parameter(part.clone())
            self.mixes.append(mix)

    def forward(self, maps: Sequence[Float[Tensor, "b _ _ _"]], grid: Grid) -> Float[Tensor, "b n d"]:
        """Contexts of the cells of ``grid``, the upper left part of the first map; other maps are resized to it."""
        size = maps[0].shape[-2:]
        mixed = [
            resize(to_map(mix(norm(to_tokens(each))), Grid(*each.shape[-2:])), size)
            for each, norm, mix in zip(maps, self.norms, self.mixes, strict=True)
        ]
        tokens = to_tokens(torch.stack(mixed).sum(dim=0)[..., : grid.height, : grid.width])
        return tokens - tokens.mean(dim=1, keepdim=True)
