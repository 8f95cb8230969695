from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from afa_wsss.ops.full_size import STRIP, enlarge_labels, labels_at, strips
from afa_wsss.ops.image import resize

SIZES = [(48, 64), (37, 91), (16, 64), (48, 7), (9, 11), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("most", [1, 500, STRIP])
def test_strips_are_the_rows_of_the_resized_maps(size, most):
    maps = torch.randn(2, 3, 9, 11)
    found = list(strips(maps, size, most=most))
    assert [row for rows, _ in found for row in range(rows.start, rows.stop)] == list(range(size[0]))
    torch.testing.assert_close(torch.cat([part for _, part in found], dim=2), resize(maps, size), atol=1e-5, rtol=1e-5)


def test_maps_of_that_size_come_as_they_are():
    maps = torch.randn(1, 2, 9, 11)
    ((rows, part),) = strips(maps, (9, 11), most=1)
    assert (rows, part) == (slice(0, 9), maps)


@pytest.mark.parametrize("size", SIZES)
def test_labels_are_the_highest_scores_at_that_size(size):
    scores = torch.randn(2, 3, 9, 11)
    assert (labels_at(scores, size) == resize(scores, size).argmax(dim=1)).float().mean() > 0.999


@pytest.mark.parametrize("size", SIZES)
def test_enlarged_labels_keep_their_values(size):
    labels = torch.tensor([0, 7, 255], dtype=torch.uint8)[torch.randint(0, 3, (2, 9, 11))]
    found = enlarge_labels(labels, size)
    assert (found.shape, found.dtype) == ((2, *size), torch.uint8)
    assert set(found.unique().tolist()) <= {0, 7, 255}
    nearest = torch.nn.functional.interpolate(labels[:, None].float(), (18, 22))[:, 0]
    assert torch.equal(enlarge_labels(labels, (18, 22))[:, 1:-1:2, 1:-1:2].float(), nearest[:, 1:-1:2, 1:-1:2])


def test_a_straight_border_stays_where_it_is():
    labels = torch.zeros(1, 10, 10, dtype=torch.uint8)
    labels[:, :, 4:] = 3
    found = enlarge_labels(labels, (40, 40))
    assert (found[:, :, :16] == 0).all()
    assert (found[:, :, 16:] == 3).all()


class Largest(TorchDispatchMode):
    """Number of values of the largest floating point tensor that was made."""

    def __init__(self):
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.is_floating_point():
            self.values = max(self.values, found.numel())
        return found


def test_no_scores_are_made_at_full_size():
    scores, size = torch.randn(1, 40, 8, 10), (800, 1000)
    with Largest() as found:
        labels_at(scores, size)
    assert found.values <= STRIP < 40 * 800 * 1000
