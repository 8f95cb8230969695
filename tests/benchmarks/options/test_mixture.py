"""Mixtures of two Gaussians: against loops over rows and values, the likelihood, and rows without values."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from benchmarks.options.mixture import Mixture, fit_mixture
from tests.oracles.mixture import density, fitted_by_loops


def two_groups(rows=3, count=40):
    generator = np.random.default_rng(1)
    values = generator.normal(0.3, 0.2, (rows, count))
    values[:, ::3] = generator.normal(3.0, 0.7, values[:, ::3].shape)
    return torch.from_numpy(values)


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_equals_loops_over_the_values_that_count(steps) -> None:
    values = two_groups()
    counted = torch.rand(values.shape) < 0.8
    found = fit_mixture(values, counted, steps=steps)
    for row in range(len(values)):
        wanted = fitted_by_loops(values[row][counted[row]].tolist(), steps)
        torch.testing.assert_close(torch.stack([part[row] for part in found], dim=1), torch.tensor(wanted).double())


def test_posteriors_equal_the_definition() -> None:
    mixture = Mixture(torch.tensor([[0.7, 0.3]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[0.5, 1.5]]))
    values = torch.linspace(-2, 4, 9)[None]
    for index, value in enumerate(values[0].tolist()):
        joint = [0.7 * density(value, 0.0, 0.5), 0.3 * density(value, 2.0, 1.5)]
        assert mixture.posteriors(values)[0, 1, index].item() == pytest.approx(joint[1] / sum(joint), abs=1e-5)
        assert mixture.log_likelihood(values)[0, index].item() == pytest.approx(math.log(sum(joint)), abs=1e-5)


def test_no_step_lowers_the_likelihood() -> None:
    values = two_groups()
    every = torch.ones_like(values, dtype=torch.bool)
    likelihoods = [fit_mixture(values, every, steps=steps).log_likelihood(values).sum(1) for steps in range(8)]
    for before, after in pairwise(likelihoods):
        assert (after >= before - 1e-4).all()


def test_finds_the_groups_in_ascending_order() -> None:
    values = two_groups(rows=1, count=3000)
    found = fit_mixture(values, torch.ones_like(values, dtype=torch.bool), steps=50)
    torch.testing.assert_close(found.means, torch.tensor([[0.3, 3.0]]).double(), atol=0.1, rtol=0)
    torch.testing.assert_close(found.weights, torch.tensor([[2 / 3, 1 / 3]]).double(), atol=0.03, rtol=0)


@pytest.mark.parametrize("case", ["no value", "one value", "equal values"])
def test_degenerate_rows_are_finite(case) -> None:
    values = torch.full((1, 5), 2.0)
    counted = torch.tensor([[case != "no value", *[case == "equal values"] * 4]])
    found = fit_mixture(values, counted)
    assert all(part.isfinite().all() for part in found)
    assert found.posteriors(values).isfinite().all()
    assert found.weights.sum().item() == pytest.approx(float(counted.any()))
