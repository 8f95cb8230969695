"""Large photos made smaller: a network sees no more of a photo of 12 million pixels than of one of a million."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from afa_wsss.data.base import Photo
from afa_wsss.data.loading.sizes import shrunk_size


def shrunk(image: Photo, max_side: int | None) -> UInt8[np.ndarray, "h w 3"]:
    """The photo with its longer side at most ``max_side``; each pixel is the mean of those that it stands for."""
    height, width = shrunk_size(image.shape[0], image.shape[1], max_side)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
