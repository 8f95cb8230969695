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
        """Logits at the grid of the first features: classify(dropout(relu(norm(fused)))).

        In evaluation mode the norm is linear in each channel, and part of the linear layers.
        """
        mean, variance = self.norm.running_mean, self.norm.running_var
        if self.norm.training or mean is None or variance is None:
            fused = self.norm(self.fused(features))
        else:
            scale = self.norm.weight * (variance + self.norm.eps).rsqrt()
            shift = self.norm.bias - mean * scale
            fused = self.fused(features, scale=scale, shift=shift)
        logits: Tensor = self.classify(self.dropout(fused.relu_()))
        return logits

    def fused(
        self,
        features: Sequence[Float[Tensor, "b _ _ _"]],
        *,
        scale: Float[Tensor, " d"] | None = None,
        shift: Float[Tensor, " d"] | None = None,
    ) -> Float[Tensor, "b d H4 W4"]:
        """fuse(concat(resize(project(features)))), without the maps of all stages at the finest grid.

        Nothing between the two linear layers is nonlinear, and resizing, which weighs neighbors by numbers that sum to
        1, commutes with a linear layer of each cell. So each stage has one layer whose weight is the product of both,
        applied to its own, coarser grid: at stride 4 and MiT-B1 a seventh of the arithmetic.

        Args:
            features: Feature maps, finest first.
            scale: Factor on each channel of the result; None for 1.
            shift: Added to each channel after that; None for 0.
        """
        with torch.autocast(features[0].device.type, enabled=False):
            weights, bias = self._joined()
            if scale is not None:
                weights, bias = [weight * scale[:, None] for weight in weights], bias * scale
            bias = bias if shift is None else bias + shift
        grids: list[Tensor] = []
        for weight, maps in zip(weights, features, strict=True):
            stage = F.conv2d(maps, weight[..., None, None])
            if grids and grids[-1].shape[-2:] == stage.shape[-2:]:
                grids[-1] += stage  # stages of one grid are resized together
            else:
                grids.append(stage)
        finest, *coarser = grids
        for one in coarser:
            finest += resize(one, finest.shape[-2:])
        return finest + bias[:, None, None]

    def _joined(self) -> tuple[list[Float[Tensor, "d _"]], Float[Tensor, " d"]]:
        """Weight of each stage, finest first, and the bias of all, of projection and fusion together."""
        # The reference concatenates coarse to fine; its fuse weights have that order.
        parts = self.fuse.weight.flatten(1).chunk(len(self.projections), dim=1)[::-1]
        layers = [layer for layer in self.projections if isinstance(layer, nn.Linear)]
        weights = [part @ layer.weight for part, layer in zip(parts, layers, strict=True)]
        bias = sum(
            (part @ layer.bias for part, layer in zip(parts, layers, strict=True)), torch.zeros_like(parts[0][:, 0])
        )
        return weights, bias
