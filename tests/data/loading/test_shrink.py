from __future__ import annotations

import numpy as np
import pytest

from afa_wsss.data.loading.shrink import shrunk
from afa_wsss.data.loading.sizes import shrunk_size


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((3000, 4000), 1024, (768, 1024)),
        ((4000, 3000), 1024, (1024, 768)),
        ((300, 400), 1024, (300, 400)),
        ((300, 400), None, (300, 400)),
        ((1, 4000), 32, (1, 32)),
    ],
)
def test_the_longer_side_is_at_most_the_limit(
    size: tuple[int, int], max_side: int | None, expected: tuple[int, int]
) -> None:
    assert shrunk_size(*size, max_side) == expected
    assert shrunk(np.zeros((*size, 3), dtype=np.uint8), max_side).shape == (*expected, 3)


def test_a_pixel_is_the_mean_of_those_that_it_stands_for() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (128, 256, 3), dtype=np.uint8)
    means = photo.reshape(32, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(shrunk(photo, 64) - means).max() <= 0.5 + 1e-6


def test_a_photo_within_the_limit_is_not_copied() -> None:
    photo = np.zeros((8, 9, 3), dtype=np.uint8)
    assert shrunk(photo, 9) is photo
