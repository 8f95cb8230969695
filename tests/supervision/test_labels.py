"""Pixel labels from the CAM and from the walk, beside the official ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from afa_wsss.ops.pseudo_label import box_mask, cam_labels, combine
from afa_wsss.supervision import PAR, NoRefinement, Walk, labels_from_cam, labels_from_walk

THRESHOLDS = {"low": 0.35, "high": 0.55}
WALK = Walk((4, 4), radius=2, alpha=2.0, steps=1)


def inputs(count: int = 2, classes: int = 3, side: int = 32):
    """Photos, maps, image labels and boxes; the second photo is padded and has one class."""
    labels = torch.zeros(count, classes)
    labels[:, 0] = labels[0, 2] = 1
    boxes = torch.tensor([[0, side, 0, side], [3, side - 2, 5, side]])[:count]
    return torch.rand(count, 3, side, side), torch.rand(count, classes, side, side), labels, boxes


@pytest.mark.parametrize(("name", "refinement"), [("refined", PAR()), ("unrefined", NoRefinement())])
def test_labels_from_cam_equal_the_official_ones(golden, name, refinement) -> None:
    data = {key: torch.from_numpy(np.asarray(value)) for key, value in golden("pseudo_label").items()}
    given = (data["image"], data["cam"], data["image_labels"], data["box"])
    found = labels_from_cam(*given, refinement=refinement, **THRESHOLDS)
    assert (found == data[name]).float().mean() >= 0.999


def test_labels_are_refined_by_par_unless_asked_otherwise() -> None:
    given = inputs()
    found = labels_from_cam(*given, **THRESHOLDS)
    assert torch.equal(found, labels_from_cam(*given, refinement=PAR(), **THRESHOLDS))
    assert not torch.equal(found, labels_from_cam(*given, refinement=NoRefinement(), **THRESHOLDS))


def test_a_refiner_of_the_same_photos_can_be_handed_in() -> None:
    images, cam, labels, boxes = inputs()
    refiner = NoRefinement().prepare(images, boxes, full_frames=False)
    unrefined = labels_from_cam(images, cam, labels, boxes, refinement=NoRefinement(), **THRESHOLDS)
    assert torch.equal(labels_from_cam(images, cam, labels, boxes, refiner=refiner, **THRESHOLDS), unrefined)


def test_each_photo_of_a_batch_is_labeled_as_if_alone() -> None:
    images, cam, labels, boxes = inputs()
    affinity = torch.rand(2, 16, 16)
    together = labels_from_walk(images, cam, affinity, labels, boxes, walk=WALK, **THRESHOLDS)
    for i in range(2):
        row = slice(i, i + 1)
        alone = (images[row], cam[row], affinity[row], labels[row], boxes[row])
        assert torch.equal(together[row], labels_from_walk(*alone, walk=WALK, **THRESHOLDS))


def test_padding_and_absent_classes_are_never_labeled() -> None:
    images, cam, labels, boxes = inputs()
    for found in (
        labels_from_cam(images, cam, labels, boxes, **THRESHOLDS),
        labels_from_walk(images, cam, torch.rand(2, 16, 16), labels, boxes, walk=WALK, **THRESHOLDS),
    ):
        assert (found[~box_mask(boxes, 32, 32)] == 255).all()
        assert set(found[1].unique().tolist()) <= {0, 1, 255}
        assert set(found[0].unique().tolist()) <= {0, 1, 3, 255}


def test_combined_labels_are_those_that_both_thresholds_agree_on() -> None:
    low, high = torch.tensor([[[0, 1, 2, 2]]]), torch.tensor([[[0, 0, 2, 1]]])
    assert combine(low, high).tolist() == [[[0, 255, 2, 1]]]


def test_cam_labels_are_the_argmax_of_present_classes_above_the_background() -> None:
    cam = torch.tensor([[[[0.9, 0.3]], [[0.99, 0.2]], [[0.5, 0.44]]]])
    assert cam_labels(cam, torch.tensor([[1.0, 0.0, 1.0]]), 0.4).tolist() == [[[1, 3]]]
