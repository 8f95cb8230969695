"""PAR by unfolding: 48 copies of the photo, and 48 copies of the scores at every step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DILATIONS = (1, 2, 4, 8, 12, 24)


def neighbors(maps: Tensor) -> Tensor:
    """The 48 neighbors of every pixel, (b, c, 48, H, W)."""
    b, c, height, width = maps.shape
    rings = []
    for dilation in DILATIONS:
        padded = F.pad(maps, (dilation,) * 4, mode="replicate")
        patches = F.unfold(padded, kernel_size=3, dilation=dilation).view(b, c, 9, height, width)
        rings += [patches[:, :, :4], patches[:, :, 5:]]
    return torch.cat(rings, dim=2)


def kernel(image: Tensor, *, w1: float = 0.3, w2: float = 0.3, w3: float = 0.01) -> Tensor:
    """Kappa, (b, 1, 48, H, W): softmax of the color term + w3 softmax of the distance term."""
    around = neighbors(image)
    difference = torch.abs(around - image.unsqueeze(2))
    spread = torch.std(around, dim=2, keepdim=True)
    color = (-((difference / (spread + 1e-8) / w1) ** 2)).mean(dim=1, keepdim=True)
    ring = image.new_tensor([2**0.5, 1.0, 2**0.5, 1.0, 1.0, 2**0.5, 1.0, 2**0.5])
    distance = torch.cat([ring * dilation for dilation in DILATIONS]).view(1, 1, 48, 1, 1)
    distance = distance.expand(image.shape[0], 1, 48, *image.shape[-2:]).contiguous()
    place = -((distance / (torch.std(distance, dim=2, keepdim=True) + 1e-8) / w2) ** 2)
    return torch.softmax(color, dim=2) + w3 * torch.softmax(place, dim=2)


def apply(weights: Tensor, scores: Tensor, *, steps: int = 10) -> Tensor:
    """M <- kappa M."""
    for _ in range(steps):
        scores = (neighbors(scores) * weights).sum(dim=2)
    return scores


@torch.no_grad()
def refine(image: Tensor, scores: Tensor, *, steps: int = 10) -> Tensor:
    """PAR with its defaults; the scores are first resized to the image."""
    scores = F.interpolate(scores, size=image.shape[-2:], mode="bilinear", align_corners=True)
    return apply(kernel(image), scores, steps=steps)
