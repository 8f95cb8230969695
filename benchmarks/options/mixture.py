"""Mixtures of two Gaussians in one dimension, one for each row of a batch, by expectation maximization."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

VARIANCE_FLOOR = 1e-6
"""Added to each variance, so that equal values leave no component without width."""


class Mixture(NamedTuple):
    """Components in ascending order of their means."""

    weights: Float[Tensor, "b 2"]
    means: Float[Tensor, "b 2"]
    variances: Float[Tensor, "b 2"]

    def posteriors(self, values: Float[Tensor, "b n"]) -> Float[Tensor, "b 2 n"]:
        """Probability of each component at each value; they add up to 1."""
        return _joint(self, values).softmax(dim=1)

    def log_likelihood(self, values: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        """Of each value."""
        return _joint(self, values).logsumexp(dim=1)


def _joint(mixture: Mixture, values: Tensor) -> Tensor:
    """log(weight * density) of each component at each value, (b, 2, n)."""
    weights, means, variances = (part[..., None] for part in mixture)
    distances = (values[:, None] - means).square() / variances
    # A component without members has weight 0; its logarithm has to stay finite.
    return weights.clamp(min=torch.finfo(values.dtype).tiny).log() - 0.5 * (
        distances + variances.log() + math.log(2 * math.pi)
    )


def fit_mixture(values: Float[Tensor, "b n"], counted: Bool[Tensor, "b n"], *, steps: int = 20) -> Mixture:
    """The mixture of each row after ``steps`` steps of expectation maximization (Bishop 2006, equations 9.24-9.27).

    Starts from the values below and above their mean. A row without any value that counts has weights of 0.

    Args:
        values: Each row by itself.
        counted: Which values count.
        steps: Steps of both halves.

    Example:
        >>> values = torch.tensor([[0.0, 0.1, 0.2, 4.0, 4.2]])
        >>> fit_mixture(values, torch.ones_like(values, dtype=torch.bool)).means
        tensor([[0.1000, 4.1000]])
    """
    number = counted.sum(dim=1, keepdim=True).clamp(min=1)
    values = torch.where(counted, values, 0)
    above = (values > values.sum(dim=1, keepdim=True) / number)[:, None].to(values.dtype)
    found = _maximized(values, counted, torch.cat([1 - above, above], dim=1))
    for _ in range(steps):
        found = _maximized(values, counted, found.posteriors(values))
    order = found.means.argsort(dim=1)
    return Mixture(*(part.gather(1, order) for part in found))


def _maximized(values: Tensor, counted: Tensor, posteriors: Tensor) -> Mixture:
    """Weights, means and variances at given probabilities of the components."""
    members = posteriors * counted[:, None]
    totals = members.sum(dim=2)
    divisors = totals.clamp(min=torch.finfo(values.dtype).tiny)
    means = (members * values[:, None]).sum(dim=2) / divisors
    squares = (members * (values[:, None] - means[..., None]).square()).sum(dim=2)
    return Mixture(totals / counted.sum(dim=1, keepdim=True).clamp(min=1), means, squares / divisors + VARIANCE_FLOOR)
