"""A mixture of two Gaussians, one value at a time."""

from __future__ import annotations

import math

VARIANCE_FLOOR = 1e-6


def density(value, mean, variance):
    return math.exp(-((value - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def fitted_by_loops(values, steps):
    """Expectation maximization as in textbooks: one row, one value at a time."""
    middle = sum(values) / len(values)
    shares = [[float(value <= middle), float(value > middle)] for value in values]
    for step in range(steps + 1):
        components = []
        for k in (0, 1):
            members = sum(share[k] for share in shares)
            mean = sum(share[k] * value for share, value in zip(shares, values, strict=True)) / members
            spread = sum(share[k] * (value - mean) ** 2 for share, value in zip(shares, values, strict=True)) / members
            components.append((members / len(values), mean, spread + VARIANCE_FLOOR))
        if step < steps:
            for i, value in enumerate(values):
                joint = [weight * density(value, mean, variance) for weight, mean, variance in components]
                shares[i] = [part / sum(joint) for part in joint]
    return sorted(components, key=lambda component: component[1])
