"""Counts at every background score, beside scores computed pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from afa_wsss.evaluation.label_counts import confusions, curve, pair_quality
from afa_wsss.evaluation.metrics import SegmentationScores
from afa_wsss.ops.pseudo_label import argmax_labels, background_scores, combine
from afa_wsss.supervision import PAR

CLASSES = 4


@pytest.fixture
def target():
    return torch.where(torch.rand(20, 30) < 0.1, 255, torch.randint(0, CLASSES, (20, 30))).to(torch.uint8)


def test_confusions_are_those_of_each_label_alone(target):
    labels = torch.randint(0, CLASSES, (5, 20, 30), dtype=torch.uint8)
    found = confusions(labels, target, classes=CLASSES)
    expected = torch.zeros(5, CLASSES, CLASSES, dtype=torch.long)
    for place, row, column in np.ndindex(5, 20, 30):
        if target[row, column] != 255:
            expected[place, int(target[row, column]), int(labels[place, row, column])] += 1
    assert torch.equal(found, expected)
    for one, miou in zip(labels, curve(found), strict=True):
        scores = SegmentationScores(CLASSES)
        scores.update(one[None], target[None])
        torch.testing.assert_close(miou, scores.compute().miou)


@pytest.mark.parametrize("refined", [False, True])
def test_a_pair_is_what_its_two_labels_agree_on(target, refined):
    """Beside ``combine`` and a count of its pixels, with and without PAR."""
    photo, cam = torch.rand(1, 3, 20, 30), torch.rand(1, CLASSES - 1, 20, 30)
    refiner = PAR(steps=3).prepare(photo, torch.tensor([[0, 20, 0, 30]]), full_frames=True)
    low, high = (background_scores(cam, torch.ones(1, CLASSES - 1), score) for score in (0.5, 0.8))
    if refined:
        low, high = refiner.refine_each([low, high], in_boxes=True)
    labels_low, labels_high = argmax_labels(low), argmax_labels(high)
    counts = confusions(torch.cat([labels_low, labels_high]), target, classes=CLASSES)
    found = pair_quality(counts[0], counts[1])

    made, known = combine(labels_low, labels_high)[0], target != 255
    labeled = known & (made != 255)
    foreground, background = labeled & (made > 0), labeled & (made == 0)
    assert 0 < labeled.sum() < known.sum()
    expected = {
        "labeled": labeled.sum() / known.sum(),
        "foreground": foreground.sum() / known.sum(),
        "foreground_precision": (made == target)[foreground].float().mean(),
        "background": background.sum() / known.sum(),
        "background_precision": (made == target)[background].float().mean(),
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(100 * float(value), abs=1e-4), name
    scores = SegmentationScores(CLASSES)
    scores.update(made.where(labeled, 0)[None], target.where(labeled, 255)[None])
    assert found.miou == pytest.approx(float(scores.compute().miou), abs=1e-4)


def test_equal_scores_label_every_pixel(target):
    counts = confusions(torch.randint(0, CLASSES, (1, 20, 30), dtype=torch.uint8), target, classes=CLASSES)
    found = pair_quality(counts[0], counts[0])
    assert found.labeled == 100
    assert found.foreground + found.background == pytest.approx(100)
    assert found.miou == pytest.approx(float(curve(counts)[0]))
