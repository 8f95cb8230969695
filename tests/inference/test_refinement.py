from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.oracles.refinement import refine
from tests.photos import speckled_photo

from afa_wsss.errors import UserError
from afa_wsss.inference import InferenceSettings, refined_labels, refined_scores
from afa_wsss.ops.dense_crf import dense_crf
from afa_wsss.ops.image import resize
from afa_wsss.ops.par import PARSettings
from afa_wsss.ops.pseudo_label import argmax_labels

CRF = InferenceSettings(refinement="crf")
SHORT = InferenceSettings(refinement="par", par=PARSettings(dilations=(1, 2), steps=2, w3=0.05))


def test_each_photo_is_refined_as_if_cropped_to_its_box() -> None:
    photos = torch.cat([speckled_photo(20, 18), speckled_photo(20, 18)])
    logits, boxes = torch.randn(2, 4, 20, 18) * 2, torch.tensor([[0, 20, 0, 18], [3, 17, 2, 15]])
    outside = torch.ones(20, 18, dtype=torch.bool)
    outside[3:17, 2:15] = False
    for settings in (CRF, SHORT):
        found = refined_labels(photos, logits, boxes, settings)
        part = refined_labels(
            photos[1:, :, 3:17, 2:15], logits[1:, :, 3:17, 2:15], boxes[1:] * 0 + _box(14, 13), settings
        )
        assert torch.equal(found[:1], refined_labels(photos[:1], logits[:1], boxes[:1], settings))
        assert torch.equal(found[1:, 3:17, 2:15], part)
        assert torch.equal(found[1][outside], argmax_labels(logits[1:])[0][outside])


def _box(height: int, width: int) -> torch.Tensor:
    return torch.tensor([0, height, 0, width])


def test_the_crf_starts_from_the_probabilities() -> None:
    photos, logits = speckled_photo(20, 18), torch.randn(1, 4, 20, 18) * 2
    wanted = dense_crf(photos, logits.softmax(dim=1))
    torch.testing.assert_close(refined_scores(photos, logits, CRF), wanted)
    assert torch.equal(refined_labels(photos, logits, _box(20, 18)[None], CRF), argmax_labels(wanted))


def test_par_refines_the_probabilities_at_half_size() -> None:
    photos, logits = torch.cat([speckled_photo(18, 13)] * 2), torch.randn(2, 3, 18, 13)
    found = refined_scores(photos, logits, SHORT)
    small = resize(photos.float() / 255, (9, 6)).double()
    start = resize(logits.softmax(dim=1), (9, 6)).double()
    for row in range(2):
        wanted = refine(small[row].numpy(), start[row].numpy(), dilations=(1, 2), steps=2, w3=0.05)
        np.testing.assert_allclose(found[row].numpy(), wanted / 1.05**2, atol=1e-5)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 9, 6))
    labels = refined_labels(photos, logits, _box(18, 13).expand(2, 4), SHORT)
    assert torch.equal(labels, argmax_labels(resize(found, (18, 13))))


def test_nothing_but_the_softmax_without_a_refinement() -> None:
    photos, logits = speckled_photo(8, 9), torch.randn(1, 3, 8, 9)
    assert torch.equal(refined_scores(photos, logits, InferenceSettings()), logits.softmax(dim=1))
    assert torch.equal(refined_labels(photos, logits, _box(8, 9)[None], InferenceSettings()), argmax_labels(logits))


@pytest.mark.parametrize("settings", [CRF, SHORT])
def test_labels_at_full_size_are_those_of_the_resized_scores(settings) -> None:
    photos, logits = torch.cat([speckled_photo(20, 18)] * 2), torch.randn(2, 4, 20, 18) * 2
    found = refined_labels(photos, logits, torch.tensor([[0, 20, 0, 18]] * 2), settings, size=(80, 72))
    for row in range(2):
        scores = refined_scores(photos[row : row + 1], logits[row : row + 1], settings)
        assert (found[row : row + 1] == argmax_labels(resize(scores, (80, 72)))).float().mean() > 0.999


@pytest.mark.parametrize("refinement", ["par", "crf"])
def test_a_single_pixel_vanishes_in_a_uniform_region(refinement) -> None:
    photos, logits = torch.full((1, 3, 24, 24), 90, dtype=torch.uint8), torch.zeros(1, 2, 24, 24)
    logits[:, 0] = 2
    logits[:, 1, 12, 12] = 4
    assert logits.argmax(dim=1).sum() == 1
    settings = InferenceSettings(refinement=refinement)
    assert refined_labels(photos, logits, torch.tensor([[0, 24, 0, 24]]), settings).sum() == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 5)])
def test_photos_of_a_pixel_are_refined(size) -> None:
    photos, logits = speckled_photo(*size), torch.randn(1, 3, *size)
    assert refined_scores(photos, logits, SHORT).isfinite().all()


def test_an_unknown_refinement_is_refused() -> None:
    with pytest.raises(UserError, match="need a refinement of none, par, crf; got blur") as raised:
        InferenceSettings(refinement="blur")
    assert raised.value.arguments == ("refinement",)
