"""A transformer block (Vaswani et al., NeurIPS 2017) that starts as the identity."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.models.encoders.encoder import Attention


class AttentionBlock(nn.Module):
    """x + O(softmax(q k^T / sqrt(d)) v), then x + MLP, both of normalized tokens; both branches add 0 at first.

    The last linear layer of each branch starts at zero. It receives gradient in the first step, the layers before it
    from the second step on; queries and keys have the affinity's gradient from the first.
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
        for layer in (self.query_key, self.value, self.expand):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        for layer in (self.output, self.contract):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> tuple[Float[Tensor, "b n d"], Attention]:
        """Tokens of the same shape, and queries and keys of all heads before scaling."""
        normed = self.attention_norm(tokens)
        query, key = self.query_key(normed).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        value = self.value(normed).unflatten(2, (self.heads, -1)).transpose(1, 2)
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.output(attended.transpose(1, 2).flatten(2))
        tokens = tokens + self.contract(F.gelu(self.expand(self.feed_forward_norm(tokens))))
        return tokens, Attention(query, key)
