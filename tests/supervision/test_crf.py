"""The dense CRF as a refinement."""

from __future__ import annotations

import pytest
import torch
from tests.photos import speckled_photo

from afa_wsss.errors import UserError
from afa_wsss.ops.dense_crf import dense_crf
from afa_wsss.ops.pseudo_label import box_mask
from afa_wsss.supervision import DenseCRF

HEIGHT, WIDTH = 20, 24
SHORT = DenseCRF(steps=2, bilateral_sigma_xy=8.0)


@pytest.fixture
def photos():
    return torch.cat([speckled_photo(HEIGHT, WIDTH)] * 2)


def probabilities(classes=3):
    return torch.randn(2, classes, HEIGHT, WIDTH).softmax(dim=1)


def prepared(photos, boxes=None):
    """A refiner of photos (uint8) in their boxes; without boxes, of full frames."""
    full = torch.tensor([[0, HEIGHT, 0, WIDTH]] * 2)
    return SHORT.prepare(photos / 255, full if boxes is None else boxes, full_frames=boxes is None)


@pytest.mark.parametrize("in_boxes", [False, True])
def test_full_frames_get_the_dense_crf_itself(photos, in_boxes) -> None:
    scores, refiner = probabilities(), prepared(photos)
    assert refiner.size == (HEIGHT, WIDTH)
    expected = dense_crf(photos, scores, steps=2, bilateral_sigma_xy=8.0)
    torch.testing.assert_close(refiner.refine(scores, in_boxes=in_boxes), expected)


@pytest.mark.parametrize("in_boxes", [False, True])
def test_padding_has_no_influence(photos, in_boxes) -> None:
    boxes, scores = torch.tensor([[2, 18, 3, 24], [0, 13, 5, 21]]), probabilities()
    inside = box_mask(boxes, HEIGHT, WIDTH)[:, None]
    found = prepared(photos, boxes).refine(scores, in_boxes=in_boxes)
    other_photos = torch.where(inside, photos, torch.randint_like(photos, 256))
    other_scores = torch.where(inside, scores, probabilities())
    again = prepared(other_photos, boxes).refine(other_scores, in_boxes=in_boxes)
    assert torch.equal(found * inside, again * inside)
    for index, (top, bottom, left, right) in enumerate(boxes.tolist()):
        rows, columns = slice(top, bottom), slice(left, right)
        cropped = [maps[index : index + 1, :, rows, columns] for maps in (photos, scores)]
        expected = dense_crf(*cropped, steps=2, bilateral_sigma_xy=8.0)
        torch.testing.assert_close(found[index : index + 1, :, rows, columns], expected)


def test_absent_classes_stay_zero(photos) -> None:
    scores = probabilities(4)
    scores[0, 2] = scores[1, 3] = 0
    for boxes in (None, torch.tensor([[2, 18, 3, 24], [0, 13, 5, 21]])):
        refined = prepared(photos, boxes).refine(scores, in_boxes=True)
        assert refined[0, 2].max() == refined[1, 3].max() == 0
        assert (refined[0, [0, 1, 3], 5, 8] > 0).all()


def test_impossible_settings_name_their_argument() -> None:
    with pytest.raises(UserError, match="need steps of at least 0, got -1") as error:
        DenseCRF(steps=-1)
    assert error.value.arguments == ("steps",)
