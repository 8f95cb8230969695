from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.imagined_gpu import imagined_gpu
from tests.two_processes import in_two_processes
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from afa_wsss.evaluation.affinity_values import AffinityValues
from afa_wsss.evaluation.cam_border import CamBorder
from afa_wsss.evaluation.class_evidence import ClassEvidence
from afa_wsss.evaluation.image_labels import ImageLabelScores
from afa_wsss.evaluation.label_shares import LabelShares, thinned
from afa_wsss.evaluation.metrics import BackgroundSweep, SegmentationScores, iou_of
from afa_wsss.evaluation.predicted_photos import PredictedPhotos
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


@pytest.mark.parametrize("classes", [2, 127, 128, 255])
@pytest.mark.parametrize("kind", [torch.uint8, torch.long])
def test_pairs_of_labels_are_counted_as_torchmetrics_counts_them(classes, kind):
    preds, target = (torch.randint(0, classes, (2, 30, 40)) for _ in range(2))
    target[0] = IGNORE_INDEX
    scores, theirs = SegmentationScores(classes), MulticlassConfusionMatrix(classes, ignore_index=IGNORE_INDEX)
    scores.update(preds.to(kind), target.to(kind))
    theirs.update(preds, target)
    assert torch.equal(scores.confmat, theirs.compute())


@pytest.mark.parametrize("classes", [3, 6, 16, 21, 127, 255])
def test_pixels_without_a_class_are_wrong(classes):
    target = torch.zeros(1, 10, 10, dtype=torch.uint8)
    target[:, :5], target[:, 9] = 1, IGNORE_INDEX
    preds = target.clone()
    preds[:, :, :3] = IGNORE_INDEX
    scores = SegmentationScores(classes)
    scores.update(preds, target)
    found = scores.compute()
    np.testing.assert_allclose(found.iou[:2], [70, 70], rtol=1e-6)
    assert found.iou[2:].isnan().all()
    assert found.miou.item() == found.pixel_accuracy.item() == pytest.approx(70)
    assert found.confusion.sum() == 63
    scores.reset()
    assert scores.missed.sum() == 0


def test_a_class_without_a_held_out_pixel_is_left_out():
    scores = SegmentationScores(CLASSES)
    scores.update(torch.tensor([[[0, 1, 1]]]), torch.tensor([[[0, 1, 255]]]))
    found = scores.compute()
    assert found.iou[:2].tolist() == [100.0, 100.0]
    assert found.iou[2:].isnan().all()
    assert found.miou.item() == 100.0


def test_pixels_given_to_a_class_that_is_left_out_count_against_their_own_class():
    scores = SegmentationScores(CLASSES)
    scores.update(torch.tensor([[[0, 3]]]), torch.tensor([[[0, 0]]]))
    found = scores.compute()
    assert found.iou.nan_to_num(-1).tolist() == [50.0, -1.0, -1.0, -1.0]
    assert found.miou.item() == 50.0


def test_reset_forgets(labels):
    scores = SegmentationScores(CLASSES)
    assert not scores.update_called
    scores.update(*labels)
    assert scores.update_called
    scores.reset()
    assert not scores.update_called
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


def f1_of(predicted: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The definition, in percent, of each column."""
    hits, both = (predicted & wanted).sum(axis=0), predicted.sum(axis=0) + wanted.sum(axis=0)
    return 100 * np.where(both > 0, 2 * hits / np.maximum(both, 1), 0)


@pytest.mark.parametrize("classes", [1, 3])
def test_image_label_scores_are_those_of_the_definition(classes):
    logits, image_labels = torch.randn(40, classes), (torch.rand(40, classes) < 0.4).float()
    scores = ImageLabelScores(classes)
    scores.update(logits[:10], image_labels[:10])
    scores.update(logits[10:], image_labels[10:])
    found = scores.compute()
    predicted, wanted = (logits > 0).numpy(), image_labels.bool().numpy()
    hits = (predicted & wanted).sum(axis=0)
    np.testing.assert_allclose(found.class_f1, f1_of(predicted, wanted), rtol=1e-5)
    np.testing.assert_allclose(found.class_precision, 100 * hits / predicted.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.class_recall, 100 * hits / wanted.sum(axis=0), rtol=1e-5)
    assert found.f1.item() == pytest.approx(f1_of(predicted, wanted).mean(), rel=1e-5)
    assert found.accuracy.item() == pytest.approx(100 * (predicted == wanted).mean(), rel=1e-5)
    assert found.photos.view(-1).tolist() == wanted.sum(axis=0).tolist()
    scores.reset()
    scores.update(torch.ones(1, classes), torch.ones(1, classes))
    assert scores.compute().f1 == scores.compute().accuracy == 100


def test_the_best_threshold_is_that_of_trying_all():
    logits, image_labels = torch.randn(60, 3), (torch.rand(60, 3) < 0.4).float()
    scores = ImageLabelScores(3)
    scores.update(logits, image_labels)
    found = scores.compute()
    tried = np.arange(1, 100, dtype=np.float32) / 100
    by_hand = np.stack([f1_of((logits.sigmoid() >= t).numpy(), image_labels.bool().numpy()) for t in tried])
    np.testing.assert_allclose(found.class_best_f1, by_hand.max(axis=0), rtol=1e-5)
    for column, threshold in enumerate(found.class_threshold.tolist()):
        assert by_hand[round(threshold * 100) - 1, column] == pytest.approx(by_hand[:, column].max())


def test_of_equally_good_thresholds_the_one_closest_to_a_half_is_taken():
    scores = ImageLabelScores(2)
    scores.update(torch.tensor([[3.0, -1.5], [-3.0, -3.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    assert scores.compute().class_threshold.tolist() == pytest.approx([0.5, 0.18])


def test_classes_that_no_photo_has_are_left_out():
    scores = ImageLabelScores(3)
    scores.update(torch.tensor([[2.0, 3.0, -1.0], [-2.0, 3.0, -1.0]]), torch.tensor([[1.0, 0, 0], [0, 0, 0]]))
    found = scores.compute()
    assert found.f1 == 100
    assert found.photos.tolist() == [1, 0, 0]
    for values in (found.class_f1, found.class_precision, found.class_recall, found.class_threshold):
        assert values.isnan().tolist() == [False, True, True]
    assert found.accuracy.item() == pytest.approx(100 * 4 / 6)


def test_photos_without_any_label_have_no_image_label_scores():
    scores = ImageLabelScores(3)
    scores.update(torch.randn(4, 3), torch.zeros(4, 3))
    assert scores.compute() is None


def test_label_shares_are_those_of_counting_inside_the_photos():
    labels = torch.tensor([0, 1, 2, IGNORE_INDEX], dtype=torch.uint8)[torch.randint(0, 4, (3, 20, 30))]
    boxes = torch.tensor([[0, 20, 0, 30], [3, 9, 5, 30], [0, 1, 0, 1]])
    shares = LabelShares(2)
    for one, box in zip(labels, boxes, strict=True):
        shares.update(one[None], box[None])
    inside = np.concatenate([one[a:b, c:d].ravel() for one, (a, b, c, d) in zip(labels.numpy(), boxes, strict=True)])
    found = shares.compute()
    by_hand = [100 * (inside == value).mean() for value in (0, 1, 2, IGNORE_INDEX)]
    assert [found.background, *found.classes, found.unknown] == pytest.approx(by_hand, rel=1e-5)
    assert found.foreground.item() == pytest.approx(by_hand[1] + by_hand[2], rel=1e-5)


def test_label_shares_of_smaller_labels_have_their_boxes_measured_in_the_photo():
    labels = torch.zeros(2, 16, 24, dtype=torch.uint8)
    labels[:, 4:8, 6:18] = 2
    boxes = torch.tensor([[0, 64, 0, 96], [16, 64, 0, 72]])
    shares, enlarged = LabelShares(2), LabelShares(2)
    shares.update(labels, boxes, size=(64, 96))
    enlarged.update(labels.repeat_interleave(4, 1).repeat_interleave(4, 2), boxes)
    for found, wanted in zip(shares.compute(), enlarged.compute(), strict=True):
        torch.testing.assert_close(found, wanted)


def test_label_shares_of_a_large_photo_are_close():
    labels = torch.zeros(1, 700, 515, dtype=torch.uint8)
    labels[:, 100:400, 50:300] = 1
    shares = LabelShares(1)
    shares.update(labels, torch.tensor([[0, 600, 0, 515]]))
    assert shares.compute().foreground.item() == pytest.approx(100 * 300 * 250 / (600 * 515), abs=0.3)
    shares.update(torch.zeros(1, 100, 200, dtype=torch.uint8), torch.tensor([[0, 100, 0, 200]]))  # weighs by its pixels
    assert shares.compute().foreground.item() == pytest.approx(100 * 300 * 250 / (600 * 515 + 20000), abs=0.3)


@pytest.mark.parametrize(("side", "left"), [(255, 255), (256, 256), (257, 129), (513, 171)])
def test_photos_are_thinned_beyond_256_lines(side, left):
    assert thinned(torch.zeros(1, side, 8)).shape == (1, left, 8)
    assert thinned(torch.zeros(1, 8, side)).shape == (1, 8, left)


def test_label_shares_wait_for_no_gpu():
    shares = LabelShares(2)
    with imagined_gpu() as move:
        move(shares).update(
            move(torch.zeros(2, 8, 8, dtype=torch.uint8)), move(torch.tensor([[0, 8, 0, 8], [0, 4, 0, 4]]))
        )


def scores_of(cam: Tensor, image_labels: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Every score of a few photos, summed over all processes."""
    segmentation, sweep, labels = SegmentationScores(CLASSES), BackgroundSweep(CLASSES), ImageLabelScores(CLASSES - 1)
    shares = LabelShares(CLASSES - 1)
    preds = cam.argmax(dim=1)
    segmentation.update(preds, target)
    sweep.update(cam, image_labels, target)
    labels.update(cam.mean(dim=(2, 3)) - 0.5, image_labels)
    shares.update(preds, torch.tensor([[0, 6, 0, 5]]).expand(len(preds), 4))
    found, branch = segmentation.compute(), labels.compute()._asdict()
    border, evidence, affinity, predicted = CamBorder(3), ClassEvidence(3), AffinityValues(), PredictedPhotos(3)
    border.update(cam, image_labels)
    evidence.update(cam, image_labels)
    affinity.update(cam[:, :1].flatten(1).sigmoid()[:, :, None].expand(-1, -1, 36), (6, 6), radius=2)
    predicted.update(preds)
    return {
        **{f"border {name}": value for name, value in border.compute()._asdict().items()},
        **{f"evidence {name}": value for name, value in evidence.compute()._asdict().items()},
        **{f"affinity {name}": value for name, value in affinity.compute()._asdict().items()},
        **{f"predicted {name}": value for name, value in predicted.compute()._asdict().items()},
        "miou": found.miou,
        "iou": found.iou,
        "sweep": sweep.compute().curve,
        **branch,
        **shares.compute()._asdict(),
    }


def score_a_share(rank: int, photos: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    """One of two processes: the first has one photo, the second the others."""
    share = slice(0, 1) if rank == 0 else slice(1, None)
    return scores_of(*(part[share] for part in photos))


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path: Path):
    cam, image_labels = torch.rand(45, CLASSES - 1, 6, 6), (torch.rand(45, CLASSES - 1) < 0.5).float()
    photos = (cam, image_labels, torch.randint(0, CLASSES, (45, 6, 6), dtype=torch.uint8))
    alone = scores_of(*photos)
    for together in in_two_processes(score_a_share, tmp_path, photos):
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, equal_nan=True)
