"""Labels and scores drawn over photos."""

from __future__ import annotations

import matplotlib
import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image

from afa_wsss.report.palette import colorize


def overlay(
    image: UInt8[np.ndarray, "H W 3"],
    label: Integer[np.ndarray, "H W"],
    palette: UInt8[np.ndarray, "c 3"],
    *,
    opacity: float = 0.6,
    fade: float = 0.7,
) -> UInt8[np.ndarray, "H W 3"]:
    """A photo with its labeled objects in color; background keeps the photo, unknown pixels turn pale.

    Args:
        image: RGB.
        label: Class of each pixel, background 0, 255 unknown.
        palette: RGB of each class, background first.
        opacity: Opacity of the classes' colors, in [0, 1].
        fade: How gray the photo turns, so that its colors are not taken for classes: 0 keeps them, 1 is gray.
    """
    strength = np.where(label == 0, 0.0, opacity)[..., None]
    return _mix(_mix(image, _gray(image), fade), colorize(label, palette), strength)


def heat_map(
    image: UInt8[np.ndarray, "H W 3"], scores: Float[np.ndarray, "h w"], *, opacity: float = 0.65
) -> UInt8[np.ndarray, "H W 3"]:
    """Scores over the photo, which turns gray: dark violet is 0, light yellow is 1.

    Args:
        image: RGB.
        scores: In [0, 1], values outside are clipped; of any size, resized bilinearly to the photo's.
        opacity: 0 shows the photo alone, 1 the heat alone.
    """
    height, width = image.shape[:2]
    grown = Image.fromarray(scores.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    heat = matplotlib.colormaps["inferno"](np.clip(np.asarray(grown), 0, 1))[..., :3] * 255
    return _mix(_gray(image), heat, opacity)


def mark(image: UInt8[np.ndarray, "H W 3"], row: int, column: int, *, arm: int = 4) -> UInt8[np.ndarray, "H W 3"]:
    """A white cross with a dark rim at a point.

    Args:
        image: RGB; it is not changed.
        row: Row of the center.
        column: Column of the center.
        arm: Length of each arm in pixels, the rim not counted; the lines are a quarter as wide.
    """
    marked, half = image.copy(), arm // 8
    for reach, thick, color in ((arm + 1, half + 1, 0), (arm, half, 255)):
        top, left = max(0, row - reach), max(0, column - reach)
        marked[top : row + reach + 1, max(0, column - thick) : column + thick + 1] = color
        marked[max(0, row - thick) : row + thick + 1, left : column + reach + 1] = color
    return marked


def _gray(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """The photo without its colors."""
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def _mix(
    below: UInt8[np.ndarray, "H W 3"],
    above: UInt8[np.ndarray, "H W 3"] | Float[np.ndarray, "H W 3"],
    opacity: float | Float[np.ndarray, "H W 1"],
) -> UInt8[np.ndarray, "H W 3"]:
    """``above`` drawn over ``below``."""
    mixed: UInt8[np.ndarray, "H W 3"] = (below * (1 - opacity) + above * opacity).round().astype(np.uint8)
    return mixed
