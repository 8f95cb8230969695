"""Pairs of tokens, one at a time."""

from __future__ import annotations

import numpy as np


def locality_mask(height, width, radius):
    """Whether two cells lie at most ``radius`` apart in both directions."""
    cells = [(y, x) for y in range(height) for x in range(width)]
    return np.array([[max(abs(a - c), abs(b - d)) <= radius for c, d in cells] for a, b in cells])


def affinity_labels(tokens, radius):
    """Affinity labels of a (h, w) grid of classes."""
    near, flat = locality_mask(*tokens.shape, radius), tokens.ravel()
    labels = np.full(near.shape, 255, dtype=np.uint8)
    for i, j in np.argwhere(near):
        if flat[i] != 255 and flat[j] != 255:
            labels[i, j] = flat[i] == flat[j]
    return labels


def walk(scores, affinity, near, alpha):
    """Scores (c, n) after one step of the random walk."""
    passed = np.zeros_like(scores)
    for i in range(len(affinity)):
        weights = np.array([affinity[i, j] ** alpha if near[i, j] else 0 for j in range(len(affinity))])
        passed[:, i] = (scores * weights).sum(axis=1) / (weights.sum() + 0.1)
    return passed
