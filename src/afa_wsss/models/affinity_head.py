"""Affinity from attention (AFA, section 3.2, equation 4)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class AffinityHead(nn.Module):
    """A = sigmoid(MLP(S + S^T)), the MLP being one 1x1 convolution from all heads' logits to one channel."""

    def __init__(self, channels: int) -> None:
        """``channels``: heads of all blocks that are read."""
        super().__init__()
        start = nn.Conv2d(channels, 1, 1)
        self.weight, self.bias = start.weight, nn.Parameter(torch.zeros(1))

    def forward(self, attention: Float[Tensor, "b s n n"]) -> Float[Tensor, "b n n"]:
        """Symmetric affinity in (0, 1), float32. The map is linear, so S and S^T are added after it, on one channel."""
        # In bfloat16 a sigmoid above 0.998 is 1 and has no gradient left.
        # As a product of matrices: a convolution kernel for one output channel is many times slower on the CPU.
        scores = (self.weight.flatten(1) @ attention.flatten(2)).view_as(attention[:, 0]).float()
        return torch.sigmoid(scores + scores.transpose(1, 2) + self.bias)
