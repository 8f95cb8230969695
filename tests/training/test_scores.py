"""The scores of validation, whatever a label maker calls its stages."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from afa_wsss.training.scores import BRANCH, ValidationScores
from afa_wsss.types import IGNORE_INDEX, Batch, Labels


@pytest.fixture
def batch() -> Batch:
    masks = torch.zeros(1, 8, 8, dtype=torch.uint8)
    masks[:, :4] = 1
    return Batch(
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.ones(1, 2), torch.tensor([[0, 8, 0, 8]]), ("a",), masks=masks
    )


def scored(batch: Batch, stages: dict[str, Labels]) -> dict[str, Tensor]:
    scores = ValidationScores(("cat", "dog"))
    for _ in range(2):
        scores.update(stages, {BRANCH: Labels(batch.masks)}, torch.ones(1, 2), batch)
    assert scores.stages == (*stages, BRANCH)
    assert scores.swept == tuple(name for name, found in stages.items() if found.scores is not None)
    return scores.compute()


@pytest.mark.parametrize("name", ["cam_at_0.1", "values", "items", "training", "a/b", "0", ""])
def test_a_stage_may_have_any_name(batch, name):
    stages = {"cam": Labels(1 - batch.masks), name: Labels(batch.masks, scores=torch.rand(1, 2, 8, 8))}
    found = scored(batch, stages)
    assert found[f"val/{name}_miou"] == found["val/miou"] == 100
    assert found["val/cam_miou"] == 0
    assert f"val/{name}_best_miou" in found
    assert found[f"val/labels/{name}/foreground"] == pytest.approx(50)


def test_unknown_pixels_of_a_stage_are_wrong_and_named(batch):
    labels = batch.masks.clone()
    labels[:, :, 4:] = IGNORE_INDEX
    found = scored(batch, {"both": Labels(labels)})
    assert found["val/both_miou"] == pytest.approx(50)
    assert found["val/labels/both/unknown"] == pytest.approx(50)
