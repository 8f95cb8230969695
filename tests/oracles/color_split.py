"""The share of a photo's color variance between foreground and background, weighted by size, pixel by pixel."""

from __future__ import annotations

import numpy as np


def color_split(photo, foreground, inside):
    """Of one photo (3, H, W) and one split (H, W): the between-group part of the sum of squares, times sqrt(1 - w)."""
    places = [(row, column) for row in range(photo.shape[1]) for column in range(photo.shape[2]) if inside[row, column]]
    if not places:
        return 0.0
    design = np.array([(1.0, column, row) for row, column in places])
    colors = np.array([photo[:, row, column] for row, column in places], dtype=np.float64)
    colors = colors - design @ np.linalg.lstsq(design, colors, rcond=None)[0]
    groups = {True: [], False: []}
    for (row, column), color in zip(places, colors, strict=True):
        groups[bool(foreground[row, column])].append(color)
    mean = colors.mean(axis=0)
    total = ((colors - mean) ** 2).sum()
    between = sum(len(group) * ((np.mean(group, axis=0) - mean) ** 2).sum() for group in groups.values() if group)
    background = len(groups[False]) / len(places)
    return between / total * background**0.5 if total > 1e-9 else 0.0
