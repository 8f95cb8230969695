from __future__ import annotations

import torch
from tests.photos import speckled_photo

from afa_wsss.inference import crf_labels
from afa_wsss.ops.dense_crf import dense_crf
from afa_wsss.ops.image import resize
from afa_wsss.ops.pseudo_label import argmax_labels


def test_each_photo_is_refined_as_if_cropped_to_its_box() -> None:
    photos = torch.cat([speckled_photo(20, 18), speckled_photo(20, 18)])
    logits, boxes = torch.randn(2, 4, 20, 18) * 2, torch.tensor([[0, 20, 0, 18], [3, 17, 2, 15]])
    found = crf_labels(photos, logits, boxes)
    whole = argmax_labels(dense_crf(photos[:1], logits[:1].softmax(dim=1)))
    part = argmax_labels(dense_crf(photos[1:, :, 3:17, 2:15], logits[1:, :, 3:17, 2:15].softmax(dim=1)))
    assert torch.equal(found[:1], whole)
    assert torch.equal(found[1:, 3:17, 2:15], part)
    outside = torch.ones(20, 18, dtype=torch.bool)
    outside[3:17, 2:15] = False
    assert torch.equal(found[1][outside], argmax_labels(logits[1:])[0][outside])


def test_labels_at_full_size_are_those_of_the_resized_marginals() -> None:
    photos, logits = torch.cat([speckled_photo(20, 18)] * 2), torch.randn(2, 4, 20, 18) * 2
    found = crf_labels(photos, logits, torch.tensor([[0, 20, 0, 18]] * 2), size=(80, 72))
    for row in range(2):
        marginals = dense_crf(photos[row : row + 1], logits[row : row + 1].softmax(dim=1))
        assert (found[row : row + 1] == argmax_labels(resize(marginals, (80, 72)))).float().mean() > 0.999


def test_a_single_pixel_vanishes_in_a_uniform_region() -> None:
    photos, logits = torch.full((1, 3, 24, 24), 90, dtype=torch.uint8), torch.zeros(1, 2, 24, 24)
    logits[:, 0] = 2
    logits[:, 1, 12, 12] = 4
    assert logits.argmax(dim=1).sum() == 1
    assert crf_labels(photos, logits, torch.tensor([[0, 24, 0, 24]])).sum() == 0
