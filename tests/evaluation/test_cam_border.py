from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.imagined_gpu import imagined_gpu

from afa_wsss.evaluation.cam_border import EVEN_SHARE, CamBorder, border_share


def share_by_pixels(cam: np.ndarray) -> float:
    """The definition, with every token drawn as 20 x 20 pixels."""
    activation = np.maximum(cam, 0)
    pixels = np.kron(activation - activation.min(), np.ones((20, 20)))
    height, width = pixels.shape
    inner = pixels[height // 10 : height - height // 10, width // 10 : width - width // 10]
    return 100 * (1 - inner.sum() / pixels.sum())


@pytest.mark.parametrize("grid", [(14, 14), (7, 20), (1, 3)])
def test_the_share_is_that_of_the_pixels_in_the_ring(grid):
    cam = torch.randn(2, 3, *grid)
    expected = [[share_by_pixels(maps.numpy()) for maps in photo] for photo in cam]
    torch.testing.assert_close(border_share(cam), torch.tensor(expected, dtype=torch.float32))


def test_the_ring_holds_a_third_of_the_area_and_all_of_what_lies_in_it():
    assert pytest.approx(36) == EVEN_SHARE
    middle, frame = torch.zeros(1, 1, 10, 10), torch.ones(1, 1, 10, 10)
    middle[..., 3:7, 3:7] = 2.0
    frame[..., 1:-1, 1:-1] = -3.0
    assert border_share(middle).item() == pytest.approx(0, abs=1e-4)
    assert border_share(frame).item() == pytest.approx(100)


def test_only_maps_of_present_classes_with_any_activation_count():
    cam = torch.zeros(2, 3, 10, 10)
    cam[:, 0, 0, 0] = cam[:, 1, 5, 5] = 1.0
    border = CamBorder(3)
    border.update(cam[:1], torch.tensor([[1.0, 1.0, 1.0]]))
    border.update(cam[1:], torch.tensor([[1.0, 0.0, 1.0]]))
    found = border.compute()
    assert found.classes.tolist()[:2] == pytest.approx([100, 0], abs=1e-4)
    assert found.classes[2].isnan()
    assert found.share.item() == pytest.approx(200 / 3)


def test_it_waits_for_no_gpu():
    metric = CamBorder(2)
    with imagined_gpu() as move:
        move(metric).update(move(torch.zeros(2, 2, 4, 4)), move(torch.ones(2, 2)))
