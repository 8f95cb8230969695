from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.two_processes import in_two_processes
from torch import Tensor

from afa_wsss.evaluation.metrics import BackgroundSweep, MultiLabelScores, SegmentationScores, iou_of
from afa_wsss.types import IGNORE_INDEX

CLASSES = 4


def iou_by_sets(preds: np.ndarray, target: np.ndarray, classes: int) -> list[float]:
    """The definition: intersection over union of two sets of pixels, in percent."""
    known = target != IGNORE_INDEX
    ious = []
    for index in range(classes):
        predicted, wanted = (preds == index) & known, (target == index) & known
        union = (predicted | wanted).sum()
        ious.append(100 * (predicted & wanted).sum() / union if union else float("nan"))
    return ious


@pytest.fixture
def labels() -> tuple[Tensor, Tensor]:
    preds = torch.randint(0, CLASSES, (6, 9, 7), dtype=torch.uint8)
    target = torch.randint(0, CLASSES, (6, 9, 7), dtype=torch.uint8)
    target[torch.rand(target.shape) < 0.2] = IGNORE_INDEX
    return preds, target


def test_segmentation_scores_are_those_of_the_definition(labels):
    preds, target = labels
    scores = SegmentationScores(CLASSES)
    for part in range(0, 6, 2):
        scores.update(preds[part : part + 2], target[part : part + 2])
    found = scores.compute()
    expected = iou_by_sets(preds.numpy(), target.numpy(), CLASSES)
    np.testing.assert_allclose(found.iou, expected, rtol=1e-5)
    assert found.miou.item() == pytest.approx(np.mean(expected), rel=1e-5)
    known = target != IGNORE_INDEX
    accuracy = 100 * (preds == target)[known].float().mean()
    assert found.pixel_accuracy.item() == pytest.approx(accuracy.item(), rel=1e-5)


def test_a_class_that_neither_predictions_nor_targets_have_is_left_out():
    scores = SegmentationScores(CLASSES)
    scores.update(torch.tensor([[[0, 1, 1]]]), torch.tensor([[[0, 1, 255]]]))
    found = scores.compute()
    assert found.iou[:2].tolist() == [100.0, 100.0]
    assert found.iou[2:].isnan().all()
    assert found.miou.item() == 100.0


def test_a_class_that_is_only_predicted_has_an_iou_of_zero():
    scores = SegmentationScores(CLASSES)
    scores.update(torch.tensor([[[0, 3]]]), torch.tensor([[[0, 0]]]))
    assert scores.compute().iou.nan_to_num(-1).tolist() == [50.0, -1.0, -1.0, 0.0]


def test_reset_forgets(labels):
    scores = SegmentationScores(CLASSES)
    assert not scores.has_target()
    scores.update(*labels)
    assert scores.has_target()
    scores.reset()
    assert not scores.has_target()
    assert scores.confmat.sum() == 0


def test_iou_of_many_matrices_at_once():
    confusion = torch.randint(0, 9, (5, 3, 3))
    for one, all_at_once in zip(confusion, iou_of(confusion), strict=True):
        torch.testing.assert_close(iou_of(one), all_at_once, equal_nan=True)


def test_background_sweep_equals_thresholding_at_every_score():
    cam = torch.rand(3, CLASSES - 1, 11, 8)
    image_labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 1]])
    target = torch.randint(0, CLASSES, (3, 11, 8), dtype=torch.uint8)
    target[0, :2] = IGNORE_INDEX
    sweep = BackgroundSweep(CLASSES, bins=20)
    sweep.update(cam[:1], image_labels[:1], target[:1])
    sweep.update(cam[1:], image_labels[1:], target[1:])
    found = sweep.compute()
    value, best = (cam * image_labels[..., None, None]).max(dim=1)
    expected = []
    for step in range(1, 20):
        preds = torch.where(value >= step / 20, best + 1, 0)
        expected.append(np.nanmean(iou_by_sets(preds.numpy(), target.numpy(), CLASSES)))
    np.testing.assert_allclose(found.curve, expected, rtol=1e-4)
    assert found.miou.item() == pytest.approx(max(expected), rel=1e-4)
    assert found.background.item() == pytest.approx((int(np.argmax(expected)) + 1) / 20)


def test_background_sweep_memory_does_not_grow():
    sweep = BackgroundSweep(CLASSES, bins=20)
    before = sweep.counts.shape
    for _ in range(3):
        sweep.update(torch.rand(2, CLASSES - 1, 5, 5), torch.ones(2, CLASSES - 1), torch.zeros(2, 5, 5).long())
    assert sweep.counts.shape == before
    assert sweep.counts.sum() == 3 * 2 * 25


def test_multi_label_scores_are_those_of_the_definition():
    logits, image_labels = torch.randn(40, 3), (torch.rand(40, 3) < 0.4).float()
    scores = MultiLabelScores(3)
    scores.update(logits[:10], image_labels[:10])
    scores.update(logits[10:], image_labels[10:])
    found = scores.compute()
    predicted, wanted = (logits > 0).numpy(), image_labels.bool().numpy()
    f1 = [2 * (p & t).sum() / (p.sum() + t.sum()) for p, t in zip(predicted.T, wanted.T, strict=True)]
    assert found["class_f1"].item() == pytest.approx(100 * np.mean(f1), rel=1e-5)
    assert found["class_accuracy"].item() == pytest.approx(100 * (predicted == wanted).mean(), rel=1e-5)
    scores.reset()
    scores.update(torch.ones(1, 3), torch.ones(1, 3))
    assert scores.compute() == {"class_f1": 100, "class_accuracy": 100}


def test_multi_label_scores_of_photos_without_labels_are_empty():
    scores = MultiLabelScores(3)
    scores.update(torch.randn(4, 3), torch.zeros(4, 3))
    assert scores.compute() == {}


def scores_of(cam: Tensor, image_labels: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Every score of a few photos, summed over all processes."""
    segmentation, sweep, labels = SegmentationScores(CLASSES), BackgroundSweep(CLASSES), MultiLabelScores(CLASSES - 1)
    preds = cam.argmax(dim=1)
    segmentation.update(preds, target)
    sweep.update(cam, image_labels, target)
    labels.update(cam.mean(dim=(2, 3)) - 0.5, image_labels)
    found = segmentation.compute()
    return {"miou": found.miou, "iou": found.iou, "sweep": sweep.compute().curve, **labels.compute()}


def score_a_share(rank: int, photos: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    """One of two processes: the first has one photo, the second the others."""
    share = slice(0, 1) if rank == 0 else slice(1, None)
    return scores_of(*(part[share] for part in photos))


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path: Path):
    cam, image_labels = torch.rand(5, CLASSES - 1, 6, 6), (torch.rand(5, CLASSES - 1) < 0.5).float()
    photos = (cam, image_labels, torch.randint(0, CLASSES, (5, 6, 6), dtype=torch.uint8))
    alone = scores_of(*photos)
    for together in in_two_processes(score_a_share, tmp_path, photos):
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, equal_nan=True)
