"""SegFormer's decoder against its formula, written for one cell at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from afa_wsss.models.heads.segformer_head import SegFormerHead


@torch.no_grad()
def test_maps_are_projected_resized_fused_and_classified():
    head = SegFormerHead((4, 6), 3, width=8, dropout=0.5).eval()
    torch.nn.init.normal_(head.norm.running_mean)
    fine, coarse = torch.randn(2, 4, 8, 6), torch.randn(2, 6, 4, 3)
    projected = [
        torch.einsum("bchw,dc->bdhw", maps, layer.weight) + layer.bias[:, None, None]
        for maps, layer in zip((fine, coarse), head.projections, strict=True)
    ]
    coarse_resized = F.interpolate(projected[1], size=(8, 6), mode="bilinear", align_corners=False)
    fused = F.relu(head.norm(head.fuse(torch.cat([coarse_resized, projected[0]], dim=1))))
    torch.testing.assert_close(head((fine, coarse)), head.classify(fused), atol=1e-5, rtol=1e-5)


def _plain(head: SegFormerHead, features: list[Tensor]) -> Tensor:
    """Project each cell, resize each map to the finest grid, concatenate coarse to fine, fuse (SegFormer, eq. 4)."""
    projected = []
    for layer, maps in zip(head.projections, features, strict=True):
        cells = layer(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        projected.append(F.interpolate(cells, size=features[0].shape[-2:], mode="bilinear", align_corners=False))
    return head.fuse(torch.cat(projected[::-1], dim=1))


@pytest.mark.parametrize("sizes", [((24, 20), (12, 10), (6, 5), (6, 5)), ((7, 9), (4, 5), (2, 3), (1, 1)), ((5, 5),)])
def test_joined_layers_equal_projection_concatenation_and_fusion(sizes: tuple[tuple[int, int], ...]) -> None:
    widths = (24, 40, 112, 256)[: len(sizes)]
    head = SegFormerHead(widths, 5, width=32, dropout=0.0).double()
    features = [
        torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
        for channels, size in zip(widths, sizes, strict=True)
    ]
    inputs = [*features, *head.projections.parameters(), head.fuse.weight]
    wanted, given = _plain(head, features), head.fused(features)
    torch.testing.assert_close(given, wanted)
    weight = torch.randn_like(wanted)
    for one, other in zip(
        torch.autograd.grad((given * weight).sum(), inputs),
        torch.autograd.grad((wanted * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
