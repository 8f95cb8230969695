"""The trivial floor, beside means computed photo by photo."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.real.__main__ import main
from benchmarks.real.floor import class_masks, confusion_at, floor, summed
from benchmarks.real.held_out import open_photos
from tests.benchmarks.real.folders import write_photos

from afa_wsss.data.loading.sets import EvalSet
from afa_wsss.evaluation.metrics import BackgroundSweep, SegmentationScores, iou_of
from afa_wsss.ops.pseudo_label import cam_labels


def test_means_leave_out_the_photos_own_mask_and_unknown_pixels():
    labels = torch.tensor([[1.0, 0], [1, 1], [1, 0]])
    targets = torch.randint(0, 3, (3, 8, 8), dtype=torch.uint8)
    targets[0] = targets[0].clamp(max=1)
    targets[1, :3] = 255
    masks = [class_masks(target, row, frame=8) for target, row in zip(targets, labels, strict=True)]
    found = summed(masks).without(masks[2])
    for row, column in np.ndindex(8, 8):
        known = [place for place in (0, 1) if targets[place, row, column] != 255]
        mean = sum(int(targets[place, row, column] == 1) for place in known) / len(known)
        assert found[0, row, column] == pytest.approx(mean)
        own = targets[1, row, column]
        assert found[1, row, column] == (0 if own == 255 else float(own == 2))
    alone = summed(masks).without(masks[1])[1]
    assert (alone == 0).all()  # no other photo shows the second class


def test_masks_of_all_sizes_fit_the_frame():
    target = torch.zeros(30, 50, dtype=torch.uint8)
    target[:15] = 1
    masks = class_masks(target, torch.tensor([1.0]), frame=10)
    assert masks.hits.shape == (1, 10, 10)
    assert (masks.hits[0, :5] == 1).all()
    assert (masks.hits[0, 5:] == 0).all()
    assert (masks.known == 1).all()


def test_the_matrix_at_a_score_is_that_of_the_labels_there():
    cam, target = torch.rand(1, 2, 9, 9), torch.randint(0, 3, (1, 9, 9), dtype=torch.uint8)
    sweep = BackgroundSweep(3, bins=10)
    sweep.update(cam, torch.ones(1, 2), target)
    for place in range(9):
        scores = SegmentationScores(3)
        scores.update(cam_labels(cam, torch.ones(1, 2), (place + 1) / 10), target)
        torch.testing.assert_close(iou_of(confusion_at(sweep, place)), scores.compute().iou)


def test_the_floor_of_a_class_that_is_always_in_one_place_is_high(tmp_path):
    photos = EvalSet(open_photos(write_photos(tmp_path / "photos", val=15), "val"))
    found = floor(photos)
    assert found.miou > 40
    assert found.miou == pytest.approx(float(np.mean(found.iou)), abs=1e-4)
    assert 0 < found.background < 1


def test_the_command_prints_every_class(tmp_path, capsys):
    main(["floor", "--root", str(write_photos(tmp_path / "photos")), "--limit", "5"])
    said = capsys.readouterr().out
    assert "mean masks " in said
    for name in ("background", "cat", "dog"):
        assert name in said
