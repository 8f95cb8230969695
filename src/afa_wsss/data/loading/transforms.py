"""Training crops: random scale, mirror, crop with padding, and where the photo is in the crop (AFA, section 4.1)."""

from __future__ import annotations

import os

import numpy as np
from jaxtyping import UInt8

# On import, albumentations asks the network for a newer version unless this is set.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations  # type: ignore[import-untyped]  # ships no types
import cv2

from afa_wsss.data.base import Photo
from afa_wsss.data.loading.settings import CropSettings

PADDING = (124, 116, 104)
"""RGB color around a photo that is smaller than its crop: ImageNet's mean, 0 after normalization."""

Box = tuple[int, int, int, int]
"""``(y0, y1, x0, x1)`` in pixels, half open."""


class TrainTransform:
    """A random crop of a randomly scaled, perhaps mirrored photo."""

    def __init__(self, settings: CropSettings) -> None:
        """Prepares the random flips and colors."""
        self.crop_size, (self.smallest, self.largest) = settings.crop_size, settings.scale
        jitter = settings.jitter
        around = (1 - jitter, 1 + jitter)
        color = albumentations.ColorJitter(around, around, around, (-jitter / 4, jitter / 4), p=float(jitter > 0))
        self._augment = albumentations.Compose([albumentations.HorizontalFlip(p=settings.mirror), color])

    def __call__(self, image: Photo, seed: int) -> tuple[UInt8[np.ndarray, "side side 3"], Box]:
        """The crop and the box of the photo in it; equal seeds give equal crops."""
        rng = np.random.default_rng(seed)
        height, width = image.shape[:2]
        factor = rng.uniform(self.smallest, self.largest)
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
        side = self.crop_size
        top, left = (int(rng.integers(max(0, length - side) + 1)) for length in (height, width))
        y0, x0 = (int(rng.integers(max(0, side - length) + 1)) for length in (height, width))
        resized = albumentations.Resize(height, width, interpolation=cv2.INTER_LINEAR)(image=image)["image"]
        self._augment.set_random_seed(seed)
        part = self._augment(image=resized[top : top + side, left : left + side])["image"]
        y1, x1 = y0 + part.shape[0], x0 + part.shape[1]
        border = (y0, side - y1, x0, side - x1)
        crop = cv2.copyMakeBorder(part, *border, cv2.BORDER_CONSTANT, value=PADDING)
        return np.asarray(crop, dtype=np.uint8), (y0, y1, x0, x1)
