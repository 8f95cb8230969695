"""Dense energy and dense CRF of one small photo, with the whole matrix of pairs K (m, m)."""

from __future__ import annotations

import numpy as np
from tests.oracles.lattice import gaussian_sums, lattice_sums


def pixel_features(photo, *, sigma_xy, sigma_rgb=None):
    """Column, row and, with ``sigma_rgb``, colors of a (3, H, W) array, each divided by its width."""
    _, height, width = photo.shape
    rows, columns = np.mgrid[:height, :width]
    parts = [columns / sigma_xy, rows / sigma_xy]
    if sigma_rgb is not None:
        parts += [channel / sigma_rgb for channel in photo.astype(float)]
    return np.stack([part.ravel() for part in parts], axis=1)


def pairs(features, *, exact=False):
    """K of all pairs, approximated by the lattice or ``exact``."""
    return (gaussian_sums if exact else lattice_sums)(features, np.eye(len(features)))


def energy(kernel, probabilities, gate):
    """-sum_c sum_ij g_i p_ic K_ij p_jc of probabilities (c, m) and a gate (m,)."""
    total = 0.0
    for scores in probabilities:
        for i in range(len(gate)):
            total -= gate[i] * scores[i] * (kernel[i] * scores).sum()
    return total


def softmax(logits):
    """Softmax over the first axis."""
    raised = np.exp(logits - logits.max(axis=0))
    return raised / raised.sum(axis=0)


def mean_field(probabilities, kernels, steps):
    """Marginals from probabilities (c, m) and (weight, K) for each kernel, normalized by the roots of its row sums."""
    unary = np.log(np.clip(probabilities, 1e-5, 1))
    current = softmax(unary)
    for _ in range(steps):
        logits = unary.copy()
        for weight, kernel in kernels:
            roots = np.sqrt(kernel.sum(axis=1))
            logits += weight * (current @ (kernel / roots[:, None] / roots[None]).T)
        current = softmax(logits)
    return current
