"""Large photos made smaller: a network sees no more of a photo of 12 million pixels than of one of a million."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from afa_wsss.data.base import Photo


def shrunk_size(height: int, width: int, max_side: int | None) -> tuple[int, int]:
    """Height and width with the longer one at most ``max_side``, in the same proportions; None leaves them.

    Example:
        >>> shrunk_size(3000, 4000, 1024), shrunk_size(300, 400, 1024)
        ((768, 1024), (300, 400))
    """
    longest = max(height, width)
    if max_side is None or longest <= max_side:
        return height, width
    factor = max_side / longest
    return max(1, round(height * factor)), max(1, round(width * factor))


def shrunk(image: Photo, max_side: int | None) -> UInt8[np.ndarray, "h w 3"]:
    """The photo with its longer side at most ``max_side``; each pixel is the mean of those that it stands for."""
    height, width = shrunk_size(image.shape[0], image.shape[1], max_side)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
