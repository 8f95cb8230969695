"""Generated photos: plain, smooth, and realistic with edges, shading and noise; uint8 (1, 3, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor

from afa_wsss.types import Batch


def _coordinates(height: int, width: int) -> tuple[Tensor, Tensor]:
    return torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")


def _as_photo(*channels: Tensor) -> Tensor:
    return torch.stack(channels)[None].round().clamp(0, 255).to(torch.uint8)


def plain_photo(height: int, width: int) -> Tensor:
    """One color."""
    return torch.full((1, 3, height, width), 100, dtype=torch.uint8)


def smooth_photo(height: int, width: int) -> Tensor:
    """Waves of color."""
    y, x = _coordinates(height, width)
    return _as_photo(128 + 100 * torch.sin(x / 20 + y / 31), 128 + 100 * torch.cos(y / 17), 60 + 1.2 * (x + y))


def speckled_photo(height: int, width: int) -> Tensor:
    """A disc and a bar on a background, all shaded, with camera noise."""
    y, x = _coordinates(height, width)
    background = torch.stack([90 + x, 120 + y / 2, 70 + (x + y) / 3])
    disc = ((y - height / 2) ** 2 + (x - width / 3) ** 2) < (height / 4) ** 2
    bar = (x > 0.7 * width) & (x < 0.9 * width)
    body = torch.stack([210 - y, 60 + x / 2, 40 + y])
    picture = torch.where(disc, body, torch.where(bar, body.flip(0), background))
    return _as_photo(*(picture + 4 * torch.randn(3, height, width)))


def two_photos(side: int) -> Batch:
    """A batch of two random photos of three classes; the second is padded and has one class."""
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    boxes = torch.tensor([[0, side, 0, side], [3, side - 2, 5, side]])
    return Batch(images, torch.tensor([[1.0, 0, 1], [1, 0, 0]]), boxes, ("a", "b"), most_classes=2)
