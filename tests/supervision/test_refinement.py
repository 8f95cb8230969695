"""Leaving the refinement out, and what a refinement of one's own returns."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.supervision import NoRefinement, Refinement, Refiner


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


class Changed(Refiner):
    """A refiner of one's own."""

    def __init__(self, change) -> None:
        self.size, self.change = (8, 12), change

    def refine(self, scores, *, in_boxes):
        return self.change(scores)


@dataclass(frozen=True)
class Mine(Refinement):
    """A refinement of one's own."""

    made: object = None

    def prepare(self, photos, boxes, *, full_frames):
        return self.made


PHOTO, BOX = torch.rand(1, 3, 8, 12), torch.tensor([[0, 8, 0, 12]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda scores: scores[:, :1],
            r"need scores of shape \(1, 3, 8, 12\) from Changed.refine, got torch.\w+ of shape \(1, 1, 8, 12\)",
        ),
        (lambda scores: scores.argmax(dim=1), r"got torch.\w+ of shape \(1, 8, 12\)"),
        (lambda scores: None, "got NoneType"),
        (
            lambda scores: scores[..., ::2, ::2],
            r"need scores of shape \(1, 3, 8, 12\) .* got torch.\w+ of shape \(1, 3, 4, 6\)",
        ),
        (lambda scores: scores / 0, "need finite scores from Changed.refine, got NaN or infinity"),
    ],
)
def test_what_a_refiner_returns_is_checked(change, message) -> None:
    refiner = Mine(Changed(change)).refiner(PHOTO, BOX, full_frames=True)
    with pytest.raises(UserError, match=message):
        refiner.refine_each([torch.rand(1, 3, 8, 12)])


def test_what_was_not_finite_before_is_not_the_refiners() -> None:
    assert len(Changed(lambda scores: scores).refine_each([torch.full((1, 3, 8, 12), torch.nan)])) == 1


@pytest.mark.parametrize("made", [None, torch.ones(1)])
def test_a_refinement_prepares_a_refiner(made) -> None:
    with pytest.raises(UserError, match=f"need a Refiner from Mine.prepare, got {type(made).__name__}"):
        Mine(made).refiner(PHOTO, BOX, full_frames=True)


@pytest.mark.parametrize("size", [None, 8, (8,)])
def test_a_refiner_says_at_which_size_it_wants_scores(size) -> None:
    made = Changed(lambda scores: scores)
    made.size = size
    if size is None:
        del made.size
    with pytest.raises(UserError, match=re.escape(f"need a height and a width as size of Changed, got {size}")):
        Mine(made).refiner(PHOTO, BOX, full_frames=True)
