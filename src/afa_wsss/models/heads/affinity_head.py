"""Affinity from attention (AFA, section 3.2, equation 4)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.models.encoders.encoder import Attention
from afa_wsss.ops.affinity import TokenAffinity


class AffinityHead(nn.Module):
    """A = sigmoid(MLP(S + S^T)), the MLP being one 1x1 convolution from all heads' logits to one channel."""

    def __init__(self, channels: int, *, start: float | None = None) -> None:
        """Weights at the start.

        Args:
            channels: Number of heads of all blocks that are read.
            start: Weight of every head; None for random weights.
        """
        super().__init__()
        self.weight, self.bias = nn.Conv2d(channels, 1, 1).weight, nn.Parameter(torch.zeros(1))
        if start is not None:
            nn.init.constant_(self.weight, start)

    def forward(self, attention: Attention) -> Float[Tensor, "b n n"]:
        """Symmetric affinity in (0, 1), float32."""
        return self.vectors(attention).dense()

    def vectors(self, attention: Attention) -> TokenAffinity:
        """What the affinity is made of, linear in n.

        The convolution is linear in S, and S in the queries: sum_h w_h q_h k_h^T is one matrix product over all heads,
        and the n x n logits of single heads are never computed. S^T is added afterwards, on one channel.
        """
        queries, keys = (part.transpose(1, 2) for part in attention)
        weighted = queries.float() * self.weight.view(-1, 1)
        return TokenAffinity(weighted.flatten(2), keys.flatten(2), self.bias)
