"""Labels and scores drawn over photos."""

from __future__ import annotations

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from afa_wsss.types import IGNORE_INDEX

Picture = NDArray[np.uint8]

IGNORE_COLOUR = (255, 255, 255)


def colorize(label: NDArray[np.integer], palette: Picture) -> Picture:
    """Each pixel's class in its colour, 255 in white: (H, W) -> (H, W, 3)."""
    colours = np.empty((256, 3), dtype=np.uint8)
    colours[:] = IGNORE_COLOUR
    colours[: len(palette)] = palette
    return colours[label]


def overlay(image: Picture, label: NDArray[np.integer], palette: Picture, *, opacity: float = 0.6) -> Picture:
    """A photo with its labelled objects in colour; background stays as it is, unknown pixels turn pale."""
    strength = np.where(label == 0, 0.0, opacity)[..., None]
    return (image * (1 - strength) + colorize(label, palette) * strength).round().astype(np.uint8)


def heat_map(image: Picture, scores: NDArray[np.floating], *, opacity: float = 0.65) -> Picture:
    """Scores in [0, 1], of any size, as a heat map over a darkened photo."""
    height, width = image.shape[:2]
    grown = Image.fromarray(scores.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    heat = matplotlib.colormaps["inferno"](np.clip(np.asarray(grown), 0, 1))[..., :3] * 255
    grey = np.broadcast_to(image.mean(axis=-1, keepdims=True), image.shape)
    return (grey * (1 - opacity) + heat * opacity).round().astype(np.uint8)


def mark(image: Picture, row: int, column: int, *, arm: int = 4) -> Picture:
    """A white cross with a dark rim at a point."""
    marked = image.copy()
    for reach, thick, colour in ((arm + 1, 1, 0), (arm, 0, 255)):
        top, left = max(0, row - reach), max(0, column - reach)
        marked[top : row + reach + 1, max(0, column - thick) : column + thick + 1] = colour
        marked[max(0, row - thick) : row + thick + 1, left : column + reach + 1] = colour
    return marked
