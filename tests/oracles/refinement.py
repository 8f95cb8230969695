"""PAR, one pixel at a time."""

from __future__ import annotations

import numpy as np

DIRECTIONS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def refine(image, scores, *, dilations, steps, w1=0.3, w2=0.3, w3=0.01):
    """``image`` (3, H, W) and ``scores`` (c, H, W) as float64 arrays of one size."""
    _, height, width = image.shape
    offsets = [(d * dy, d * dx) for d in dilations for dy, dx in DIRECTIONS]
    lengths = np.array([np.hypot(*offset) for offset in offsets])
    near = np.exp(-((lengths / (w2 * lengths.std(ddof=1) + 1e-8)) ** 2))
    near /= near.sum()
    for _ in range(steps):
        refined = np.zeros_like(scores)
        for y in range(height):
            for x in range(width):
                around = [(min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)) for dy, dx in offsets]
                colors = np.array([image[:, row, column] for row, column in around])
                spread = colors.std(axis=0, ddof=1)
                difference = np.abs(colors - image[:, y, x]) / (w1 * spread + 1e-8)
                alike = -(difference**2).mean(axis=1)
                alike = np.exp(alike - alike.max())
                weights = alike / alike.sum() + w3 * near
                refined[:, y, x] = sum(w * scores[:, r, c] for w, (r, c) in zip(weights, around, strict=True))
        scores = refined
    return scores
