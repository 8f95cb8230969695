"""Training crops: random scale, mirror, crop with padding, and where the photo is in the crop (AFA, section 4.1)."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

# On import, albumentations asks the network for a newer version unless this is set.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations  # type: ignore[import-untyped]  # ships no types
import cv2

from afa_wsss.data.base import Photo
from afa_wsss.data.loading.settings import CropSettings
from afa_wsss.types import IGNORE_INDEX

PADDING = (124, 116, 104)
"""RGB color around a photo that is smaller than its crop: ImageNet's mean, 0 after normalization."""

Box = tuple[int, int, int, int]
"""``(y0, y1, x0, x1)`` in pixels, half open."""


class Crop(NamedTuple):
    """A training crop.

    Attributes:
        image: RGB, 0-255.
        box: Where the photo is in it; the rest is padding.
        mask: Class of each pixel, 255 outside the box; None where there was no mask to crop.
    """

    image: UInt8[np.ndarray, "side side 3"]
    box: Box
    mask: UInt8[np.ndarray, "side side"] | None = None


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
        crop = self.cut(image, seed)
        return crop.image, crop.box

    def cut(self, image: Photo, seed: int, *, mask: UInt8[np.ndarray, "h w"] | None = None) -> Crop:
        """The crop, and that of a mask; equal seeds give equal crops, with and without one.

        Args:
            image: The photo.
            seed: Of scale, place, mirror and colors.
            mask: Of the whole photo, also at another size. Each pixel of the crop gets the nearest class.
        """
        rng = np.random.default_rng(seed)
        height, width = image.shape[:2]
        factor = rng.uniform(self.smallest, self.largest)
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
        side = self.crop_size
        top, left = (int(rng.integers(max(0, length - side) + 1)) for length in (height, width))
        y0, x0 = (int(rng.integers(max(0, side - length) + 1)) for length in (height, width))
        resized = albumentations.Resize(height, width, interpolation=cv2.INTER_LINEAR)(image=image)["image"]
        window = (slice(top, top + side), slice(left, left + side))
        masks = {} if mask is None else {"mask": _nearest(mask, height, width)[window]}
        self._augment.set_random_seed(seed)
        parts = self._augment(image=resized[window], **masks)
        y1, x1 = y0 + parts["image"].shape[0], x0 + parts["image"].shape[1]
        border = (y0, side - y1, x0, side - x1)
        crop = _framed(parts["image"], border, PADDING)
        return Crop(crop, (y0, y1, x0, x1), _framed(parts["mask"], border, IGNORE_INDEX) if masks else None)


def _nearest(mask: UInt8[np.ndarray, "h w"], height: int, width: int) -> UInt8[np.ndarray, "{height} {width}"]:
    """The mask at another size, each pixel with the class at its center, as bilinear interpolation places photos."""
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)


def _framed(
    part: UInt8[np.ndarray, "h w *channels"], border: tuple[int, int, int, int], value: int | tuple[int, ...]
) -> UInt8[np.ndarray, "side side *channels"]:
    """A part with its border (top, bottom, left, right) of one color or class."""
    return np.asarray(cv2.copyMakeBorder(part, *border, cv2.BORDER_CONSTANT, value=value), dtype=np.uint8)
