"""The permutohedral lattice as a dictionary, one point and corner at a time, and the exact Gaussian sums."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np


def gaussian_sums(features, values):
    """sum_j exp(-|f_i - f_j|^2 / 2) v_j over all pairs, of features (m, d) and values (m, c)."""
    squares = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    return np.exp(-squares / 2) @ values


def hyperplane(point):
    """d + 1 coordinates that sum to 0, of a point with d coordinates."""
    d = len(point)
    basis = np.zeros((d + 1, d))
    for column in range(d):
        basis[: column + 1, column] = 1
        basis[column + 1, column] = -(column + 1)
        basis[:, column] *= math.sqrt(2 / 3) * (d + 1) / math.sqrt((column + 1) * (column + 2))
    return basis @ point


def simplex(elevated):
    """Corners (tuples of d + 1 integers) around a point of the hyperplane, and its barycentric weights."""
    size = len(elevated)
    nearest = np.round(elevated / size).astype(int) * size
    # A sum of s * size is subtracted from the s coordinates that were rounded up most.
    order = sorted(range(size), key=lambda i: nearest[i] - elevated[i])
    surplus = nearest.sum() // size
    for i in order[size - surplus :] if surplus > 0 else order[: max(-surplus, 0)]:
        nearest[i] -= size * int(np.sign(surplus))
    differences = (elevated - nearest) / size
    order = sorted(range(size), key=lambda i: -differences[i])
    corners, weights = [], []
    for k in range(size):
        corner = nearest + k
        corner[order[size - k :]] -= size
        corners.append(tuple(int(c) for c in corner))
        upper = differences[order[size - k - 1]]
        weights.append(upper - differences[order[size - k]] if k else 1 + upper - differences[order[0]])
    return corners, weights


def lattice_sums(features, values):
    """Splat, blur along each axis in turn, slice, times 1 / (1 + 2^-d)."""
    d = features.shape[1]
    simplices = [simplex(hyperplane(point)) for point in features]
    held = defaultdict(lambda: np.zeros(values.shape[1]))
    for (corners, weights), value in zip(simplices, values, strict=True):
        for corner, weight in zip(corners, weights, strict=True):
            held[corner] = held[corner] + weight * value
    for axis in range(d + 1):
        step = -np.ones(d + 1, dtype=int)
        step[axis] = d
        zero = np.zeros(values.shape[1])
        around = {c: (tuple((np.array(c) + step).tolist()), tuple((np.array(c) - step).tolist())) for c in held}
        held = {c: held[c] + (held.get(up, zero) + held.get(down, zero)) / 2 for c, (up, down) in around.items()}
    sums = [sum(w * held[c] for c, w in zip(*found, strict=True)) for found in simplices]
    return np.array(sums) / (1 + 2.0**-d)
