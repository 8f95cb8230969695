"""Training crops: random scale, mirror, crop with padding, and where the photo lies in the crop (AFA, section 4.1)."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

# albumentations asks the network for a newer version when it is imported, unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations  # type: ignore[import-untyped]  # ships no types
import cv2

from afa_wsss.data.base import Photo
from afa_wsss.errors import UserError

PADDING = (124, 116, 104)
"""Colour around a photo smaller than its crop: ImageNet's mean, 0 after normalising."""

Box = tuple[int, int, int, int]


class TrainTransform:
    """A random crop of a randomly scaled, perhaps mirrored photo."""

    def __init__(
        self,
        crop_size: int,
        *,
        scale: Sequence[float] = (0.5, 2.0),
        mirror: float = 0.5,
        jitter: float = 0.0,
    ) -> None:
        """Checks the settings once, where they enter.

        Args:
            crop_size: Side of the crop in pixels.
            scale: Smallest and largest factor on the photo's size.
            mirror: Chance of mirroring.
            jitter: Strength of random brightness, contrast, saturation and hue; 0 for none.

        Raises:
            UserError: For a crop below 32 pixels, scales that are not in order, or a chance outside [0, 1].
        """
        if crop_size < 32:
            raise UserError(f"need data.crop_size of at least 32, got {crop_size}")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise UserError(f"need data.scale as [smallest, largest] above 0, got {list(scale)}")
        if not 0 <= mirror <= 1 or not 0 <= jitter <= 1:
            raise UserError(f"need mirror and jitter in [0, 1], got {mirror} and {jitter}")
        self.crop_size, self.scale = crop_size, (scale[0], scale[1])
        around = (1 - jitter, 1 + jitter)
        colour = albumentations.ColorJitter(around, around, around, (-jitter / 4, jitter / 4), p=float(jitter > 0))
        self._pixels = albumentations.Compose([albumentations.HorizontalFlip(p=mirror), colour])

    def __call__(self, image: Photo, seed: int) -> tuple[UInt8[np.ndarray, "side side 3"], Box]:
        """The crop and the box (y0, y1, x0, x1) of the photo in it; equal seeds give equal crops."""
        rng = np.random.default_rng(seed)
        height, width = image.shape[:2]
        factor = rng.uniform(*self.scale)
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
        side = self.crop_size
        top, left = (int(rng.integers(max(0, length - side) + 1)) for length in (height, width))
        y0, x0 = (int(rng.integers(max(0, side - length) + 1)) for length in (height, width))
        resized = albumentations.Resize(height, width, interpolation=cv2.INTER_LINEAR)(image=image)["image"]
        self._pixels.set_random_seed(seed)
        part = self._pixels(image=resized[top : top + side, left : left + side])["image"]
        y1, x1 = y0 + part.shape[0], x0 + part.shape[1]
        around = (y0, side - y1, x0, side - x1)
        crop = cv2.copyMakeBorder(part, *around, cv2.BORDER_CONSTANT, value=PADDING)
        return np.asarray(crop, dtype=np.uint8), (y0, y1, x0, x1)
