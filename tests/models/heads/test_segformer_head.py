"""SegFormer's decoder against its formula, written for one cell at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F

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
