"""What validation finds in a photo does not depend on the photos that share its batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.data.samples import Noise
from tests.training.module.modules import LABELS, make_module

from afa_wsss.data.base import Sample
from afa_wsss.data.loading.sets import EvalSet, collate


class Photos(Noise):
    """Five photos of three sizes."""

    sizes = ((40, 56), (64, 48), (40, 56), (48, 48), (64, 48))
    names = tuple("abcde")
    image_labels = np.array([[1, 0], [0, 1], [1, 1], [1, 0], [0, 1]], dtype=np.uint8)

    def sample(self, index):
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (*self.sizes[index], 3), dtype=np.uint8)
        mask = rng.integers(0, 3, self.sizes[index], dtype=np.uint8)
        return Sample(image, self.image_labels[index].astype(np.float32), mask, self.names[index])


def scores(module, photos, count):
    """Scores where ``count`` photos share a batch."""
    module.scores.reset()
    for start in range(0, len(photos), count):
        items = [photos[index] for index in range(start, min(start + count, len(photos)))]
        module.validation_step(collate(items), 0)
    return {name: float(value) for name, value in module.scores.compute().items()}


@pytest.mark.parametrize("max_side", [None, 32])
def test_scores_are_those_of_photos_one_by_one(max_side):
    module = make_module(labels=LABELS).eval()
    photos = EvalSet(Photos(), max_side=max_side)
    with torch.no_grad():
        alone = scores(module, photos, 1)
        assert len(alone) > 8
        for count in (2, 4):
            assert scores(module, photos, count) == pytest.approx(alone, abs=1e-6, nan_ok=True)
