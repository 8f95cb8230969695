"""Leaving the refinement out."""

from __future__ import annotations

import torch

from afa_wsss.supervision import NoRefinement


def test_without_refinement_scores_stay_as_they_are() -> None:
    photos, scores = torch.rand(2, 3, 20, 30), torch.rand(2, 4, 20, 30)
    refiner = NoRefinement().prepare(photos, torch.tensor([[0, 20, 0, 30], [2, 18, 3, 30]]), full_frames=False)
    assert refiner.size == (20, 30)
    for in_boxes in (False, True):
        assert torch.equal(refiner.refine(scores, in_boxes=in_boxes), scores)
    assert all(map(torch.equal, refiner.refine_each([scores, scores + 1]), [scores, scores + 1]))


def test_scores_of_another_size_are_resized() -> None:
    refiner = NoRefinement().prepare(torch.rand(1, 3, 20, 30), torch.tensor([[0, 20, 0, 30]]), full_frames=True)
    assert refiner.refine(torch.rand(1, 2, 5, 6), in_boxes=False).shape == (1, 2, 20, 30)
