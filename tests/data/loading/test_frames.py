"""Batches of photos of several sizes, taken apart."""

from __future__ import annotations

import torch
from tests.data.samples import Noise

from afa_wsss.data.loading.frames import frames
from afa_wsss.data.loading.sets import EvalSet, collate
from afa_wsss.types import Batch


def _alone(dataset: EvalSet, index: int) -> Batch:
    return collate([dataset[index]])


def test_photos_of_several_sizes_are_as_if_each_was_loaded_alone() -> None:
    for dataset in (EvalSet(Noise()), EvalSet(Noise(), max_side=32)):
        found = frames(collate([dataset[index] for index in range(3)]))
        assert [frame.names for frame in found] == [("a",), ("b",), ("c",)]
        for index, frame in enumerate(found):
            alone = _alone(dataset, index)
            assert torch.equal(frame.images, alone.images)
            assert alone.masks is not None
            assert frame.masks is not None
            assert torch.equal(frame.masks, alone.masks)
            assert torch.equal(frame.boxes, alone.boxes)
            assert (frame.full_frames, frame.full_sizes) == (True, alone.full_sizes)
            assert frame.most_classes == alone.most_classes


def test_photos_of_one_size_stay_together() -> None:
    dataset = EvalSet(Noise())
    found = frames(collate([dataset[index] for index in (0, 1, 0)]))
    assert [frame.names for frame in found] == [("a", "a"), ("b",)]
    whole = collate([dataset[0], dataset[0]])
    assert frames(whole)[0] is whole


def test_photos_that_differ_before_they_are_shrunk_are_apart() -> None:
    batch = Batch(
        images=torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
        image_labels=torch.ones(2, 1),
        boxes=torch.tensor([[0, 4, 0, 4]] * 2),
        names=("a", "b"),
        masks=torch.zeros(2, 8, 8, dtype=torch.uint8),
        full_frames=True,
        full_sizes=((8, 8), (6, 6)),
    )
    large, small = frames(batch)
    assert large.masks is not None
    assert small.masks is not None
    assert (large.masks.shape, small.masks.shape) == ((1, 8, 8), (1, 6, 6))


def test_a_box_inside_its_frame_is_cut_out_with_its_mask() -> None:
    images = torch.arange(2 * 3 * 5 * 6, dtype=torch.uint8).view(2, 3, 5, 6)
    boxes = torch.tensor([[1, 4, 2, 6], [0, 3, 0, 4]])
    (frame,) = frames(Batch(images, torch.ones(2, 1), boxes, ("a", "b"), masks=images[:, 0]))
    assert torch.equal(frame.images, torch.stack([images[0, :, 1:4, 2:6], images[1, :, :3, :4]]))
    assert frame.masks is not None
    assert torch.equal(frame.masks, frame.images[:, 0])
    assert frame.boxes.tolist() == [[0, 3, 0, 4]] * 2
