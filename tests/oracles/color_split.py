"""The step of a photo's colors between foreground and background on top of a smooth trend, pixel by pixel."""

from __future__ import annotations

import numpy as np


def color_split(photo, foreground, inside):
    """Of one photo (3, H, W) and one split (H, W): least squares of trend and step, one channel after the other."""
    places = [(row, column) for row in range(photo.shape[1]) for column in range(photo.shape[2]) if inside[row, column]]
    if not places:
        return 0.0
    trend = np.array([(1.0, x, y, x * x, x * y, y * y) for y, x in places])
    split = np.array([float(foreground[place]) for place in places])
    share = split.mean()
    if residual(trend, split) <= 1e-3 * len(places) * share * (1 - share):
        return 0.0
    design = np.column_stack([trend, split])
    steps, left = 0.0, 0.0
    for channel in photo:
        values = np.array([channel[place] for place in places], dtype=np.float64)
        steps += np.linalg.lstsq(design, values, rcond=None)[0][-1] ** 2
        left += residual(trend, values)
    if left / len(places) < 1e-6:
        return 0.0
    return min(1.0, share * (1 - share) * steps * len(places) / left) * (1 - share) ** 0.5


def residual(design, values):
    """Sum of squares that least squares leave."""
    return ((values - design @ np.linalg.lstsq(design, values, rcond=None)[0]) ** 2).sum()
