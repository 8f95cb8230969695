"""Classes as colors."""

from __future__ import annotations

import numpy as np
from jaxtyping import Integer, UInt8

IGNORE_COLOR = (255, 255, 255)
"""Color of pixels that have no label."""


def colorize(label: Integer[np.ndarray, "H W"], palette: UInt8[np.ndarray, "c 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Each pixel's class in its color; a label that the palette does not hold, 255 among them, in white.

    Args:
        label: Classes in 0-255.
        palette: RGB of each class, background first.
    """
    colors = np.empty((256, 3), dtype=np.uint8)
    colors[:] = IGNORE_COLOR
    colors[: len(palette)] = palette
    colored: UInt8[np.ndarray, "H W 3"] = colors[label]
    return colored
