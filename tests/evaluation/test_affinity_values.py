from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.imagined_gpu import imagined_gpu
from tests.oracles import pairs

from afa_wsss.evaluation.affinity_values import AffinityValues
from afa_wsss.ops.affinity import TokenAffinity


def token_affinity(grid: tuple[int, int], size: float = 1.0) -> TokenAffinity:
    tokens = grid[0] * grid[1]
    return TokenAffinity(size * torch.randn(2, tokens, 3), torch.randn(2, tokens, 3), torch.tensor([0.5]))


@pytest.mark.parametrize(("grid", "radius"), [((5, 7), 2), ((17, 20), 3), ((9, 30), 8), ((3, 4), 9)])
def test_the_values_are_those_of_two_different_tokens_within_the_radius(grid, radius):
    affinity = token_affinity(grid, 3.0)
    near = pairs.locality_mask(*grid, radius) & ~np.eye(grid[0] * grid[1], dtype=bool)
    values = affinity.dense()[:, torch.from_numpy(near)].double().numpy()
    expected = (values.mean(), values.std(), 100 * (values < 0.01).mean(), 100 * (values > 0.99).mean())
    for form in (affinity, affinity.dense()):
        metric = AffinityValues()
        metric.update(form, grid, radius=radius)
        assert [value.item() for value in metric.compute()] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("bias", "below", "above"), [(-9.0, 100, 0), (9.0, 0, 100), (0.0, 0, 0)])
def test_a_saturated_sigmoid_is_known(bias, below, above):
    quiet = token_affinity((6, 6), 0.1)._replace(bias=torch.tensor([bias]))
    metric = AffinityValues()
    for _ in range(2):
        metric.update(quiet, (6, 6), radius=2)
    found = metric.compute()
    assert (found.below.item(), found.above.item()) == (below, above)
    assert found.spread.item() < 0.2


def test_it_waits_for_no_gpu():
    metric = AffinityValues()
    with imagined_gpu() as move:
        affinity = TokenAffinity(*(move(part) for part in token_affinity((9, 9))))
        move(metric).update(affinity, (9, 9), radius=2)
