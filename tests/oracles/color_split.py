"""The share of a photo's color variance between foreground and background, weighted by size, pixel by pixel."""

from __future__ import annotations

import numpy as np


def color_split(photo, foreground, inside):
    """Of one photo (3, H, W) and one split (H, W): the between-group part of the sum of squares, times sqrt(1 - w)."""
    groups = {True: [], False: []}
    for row in range(photo.shape[1]):
        for column in range(photo.shape[2]):
            if inside[row, column]:
                groups[bool(foreground[row, column])].append(photo[:, row, column])
    everything = np.array(groups[True] + groups[False])
    if len(everything) == 0:
        return 0.0
    mean = everything.mean(axis=0)
    total = ((everything - mean) ** 2).sum()
    between = sum(len(group) * ((np.mean(group, axis=0) - mean) ** 2).sum() for group in groups.values() if group)
    background = len(groups[False]) / len(everything)
    return between / total * background**0.5 if total > 0 else 0.0
