"""SegFormer's all-MLP decoder (Xie et al., NeurIPS 2021, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.ops.image import resize


class SegFormerHead(nn.Module):
    """Projects the features of every stage to one width, fuses them at the finest grid and classifies each cell."""

    def __init__(self, widths: Sequence[int], classes: int, *, width: int, dropout: float) -> None:
        """Fuses feature maps into logits.

        Args:
            widths: Channels of each feature map, finest first.
            classes: Number of classes, background included.
            width: Channels that each map is projected to.
            dropout: Probability of dropping a channel before the last layer.
        """
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(channels, width) for channels in widths)
        self.fuse = nn.Conv2d(width * len(widths), width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, features: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b c H4 W4"]:
        """Logits at the grid of the first features."""
        size = features[0].shape[-2:]
        projected = [
            resize(linear(maps.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, maps.shape[-2:]), size)
            for linear, maps in zip(self.projections, features, strict=True)
        ]
        # The reference concatenates coarse to fine; its fuse weights have that order.
        fused = F.relu(self.norm(self.fuse(torch.cat(projected[::-1], dim=1))))
        logits: Tensor = self.classify(self.dropout(fused))
        return logits
