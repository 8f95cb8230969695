"""The scores of validation, whatever a label maker calls its stages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.two_processes import in_two_processes
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.report.stages import BRANCH
from afa_wsss.training.scores import ValidationScores
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


@pytest.mark.parametrize("later", [{}, {"walk": "of some photos"}, {"cam": "", "walk": "of some photos"}])
def test_stages_of_some_photos_alone_are_refused(batch, later):
    """Else the stages of the last batch would be scored, and those that it lacks would vanish without a word."""
    scores, branch, stage = ValidationScores(("cat", "dog")), {BRANCH: Labels(batch.masks)}, Labels(batch.masks)
    scores.update({"cam": stage}, branch, torch.ones(1, 2), batch)
    got = ", ".join([*later, BRANCH])
    with pytest.raises(UserError, match=f"need the same stages of all photos .*, got {got} after cam, {BRANCH}"):
        scores.update(dict.fromkeys(later, stage), branch, torch.ones(1, 2), batch)
    scores.reset()
    scores.update(dict.fromkeys(later, stage), branch, torch.ones(1, 2), batch)


def scores_of(seeds: list[int], masked: list[bool]) -> dict[str, Tensor]:
    """Of photos that are drawn, each a batch, some of them without a mask."""
    scores = ValidationScores(("cat", "dog"))
    for seed, has_mask in zip(seeds, masked, strict=True):
        drawn = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 3, (2, 1, 8, 8), generator=drawn, dtype=torch.uint8)
        cam = torch.rand(1, 2, 8, 8, generator=drawn)
        masks = labels[0] if has_mask else None
        photo = Batch(
            torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.ones(1, 2), torch.tensor([[0, 8, 0, 8]]), ("a",), masks
        )
        scores.update({"cam": Labels(labels[1], scores=cam)}, {BRANCH: Labels(labels[1])}, torch.ones(1, 2), photo)
    return scores.compute()


def of_rank(rank: int) -> dict[str, Tensor]:
    return scores_of([2 * rank, 2 * rank + 1], [rank == 0, False])


@pytest.mark.ddp
def test_a_process_whose_photos_have_no_masks_waits_for_nobody(tmp_path: Path) -> None:
    first, second = in_two_processes(of_rank, tmp_path)
    wanted = scores_of([0, 1, 2, 3], [True, False, False, False])
    assert {"val/miou", "val/cam_miou", "val/cam_best_miou"} <= wanted.keys()
    for found in (first, second):
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, equal_nan=True)
