from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.samples import Noise
from torch.utils.data import DataLoader

from afa_wsss.data.formats.voc import VOCDataset
from afa_wsss.data.loading.sets import EvalSet, Item, TrainSet, collate
from afa_wsss.data.loading.settings import CropSettings
from afa_wsss.data.loading.shrink import shrunk
from afa_wsss.data.loading.transforms import PADDING, TrainTransform
from afa_wsss.errors import UserError

KEYS = [(epoch, index) for epoch in (0, 1) for index in range(6)]


def _train_set(seed: int = 0) -> TrainSet:
    return TrainSet(Noise(), TrainTransform(CropSettings(32, jitter=0.3)), seed=seed)


def _unchanged(item: Item) -> Item:
    return item


def _loaded(workers: int) -> list[Item]:
    loader = DataLoader(_train_set(), sampler=KEYS, batch_size=None, collate_fn=_unchanged, num_workers=workers)  # type: ignore[arg-type]
    return list(loader)


def test_crops_are_the_same_in_any_number_of_workers() -> None:
    torch.manual_seed(1)
    alone = _loaded(0)
    torch.manual_seed(2)
    for mine, theirs in zip(alone, _loaded(2), strict=True):
        np.testing.assert_array_equal(mine.image, theirs.image)
        assert mine.box == theirs.box
        assert mine.name == theirs.name


def test_crops_change_with_seed_epoch_and_photo() -> None:
    crops = [_train_set(seed)[key].image.tobytes() for seed in (0, 1) for key in KEYS]
    assert len(set(crops)) == len(crops)


def test_crops_are_the_same_again_in_any_order() -> None:
    first, second = _train_set(), _train_set()
    backwards = {key: second[key] for key in reversed(KEYS)}
    for key in KEYS:
        np.testing.assert_array_equal(first[key].image, backwards[key].image)


def test_training_items_have_no_mask() -> None:
    assert _train_set()[0, 0].mask is None
    assert len(_train_set()) == 6


def test_training_items_have_a_mask_where_one_is_wanted() -> None:
    transform = TrainTransform(CropSettings(64, scale=(1.0, 1.0), mirror=0.0))
    dataset = TrainSet(Noise(), transform, seed=0, with_masks=True)
    without = TrainSet(Noise(), transform, seed=0)
    for index in range(3):
        item, mask = dataset[0, index], Noise().sample(index).mask
        y0, y1, x0, x1 = item.box
        assert item.mask is not None
        assert item.mask.shape == (64, 64)
        np.testing.assert_array_equal(item.mask[y0:y1, x0:x1], mask)
        np.testing.assert_array_equal(item.image, without[0, index].image)
    batch = collate([dataset[0, index] for index in range(4)])
    assert batch.masks is not None
    assert batch.masks.shape == (4, 64, 64)


def test_a_training_photo_without_the_mask_that_is_wanted_is_refused() -> None:
    dataset = TrainSet(Noise(with_masks=False), TrainTransform(CropSettings(32)), seed=0, with_masks=True)
    with pytest.raises(UserError, match="need a mask of every training photo for this label maker, b has none"):
        _ = dataset[0, 1]


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UserError, match="need seed of at least 0, got -1"):
        _train_set(-1)


def test_training_batch() -> None:
    dataset = _train_set()
    batch = collate([dataset[0, index] for index in range(4)])
    assert batch.images.shape == (4, 3, 32, 32)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous()
    assert batch.boxes.shape == (4, 4)
    assert not batch.boxes.is_floating_point()
    assert batch.image_labels.dtype == torch.float32
    assert batch.names == ("a", "b", "c", "d")
    assert batch.masks is None
    for row, index in enumerate(range(4)):
        np.testing.assert_array_equal(batch.images[row].permute(1, 2, 0).numpy(), dataset[0, index].image)


def test_whole_photos_are_padded_to_the_largest_of_the_batch() -> None:
    dataset = EvalSet(Noise())
    batch = collate([dataset[0], dataset[5]])
    assert batch.images.shape == (2, 3, 35, 50)
    assert batch.boxes.tolist() == [[0, 30, 0, 50], [0, 35, 0, 45]]
    assert batch.masks is not None
    for row, index in enumerate((0, 5)):
        sample = Noise().sample(index)
        height, width = sample.image.shape[:2]
        np.testing.assert_array_equal(batch.images[row, :, :height, :width].permute(1, 2, 0).numpy(), sample.image)
        np.testing.assert_array_equal(batch.masks[row, :height, :width].numpy(), sample.mask)
    assert (batch.masks[0, 30:] == 255).all()
    assert (batch.masks[1, :, 45:] == 255).all()
    assert batch.images[0, :, 30:].flatten(1).unique(dim=1).T.tolist() == [list(PADDING)]


def test_batch_without_masks() -> None:
    assert collate([EvalSet(Noise(with_masks=False))[0]]).masks is None


@pytest.mark.parametrize("max_side", [None, 32])
def test_a_photo_without_a_mask_leaves_the_others_theirs(max_side: int | None) -> None:
    """So no score depends on which photos make a batch."""
    masked, bare = EvalSet(Noise(), max_side=max_side), EvalSet(Noise(with_masks=False), max_side=max_side)
    batch, mask = collate([bare[0], masked[5]]), Noise().sample(5).mask
    assert batch.masks is not None
    assert mask is not None
    assert batch.masks.shape == (2, 35, 50)
    assert (batch.masks[0] == 255).all()
    np.testing.assert_array_equal(batch.masks[1, :35, :45].numpy(), mask)


def test_large_photos_are_shrunk_and_their_masks_are_not() -> None:
    dataset = EvalSet(Noise(), max_side=32)
    item, sample = dataset[0], Noise().sample(0)
    assert item.image.shape == (19, 32, 3)
    assert item.full_size == (30, 50)
    np.testing.assert_array_equal(item.mask, sample.mask)
    batch = collate([dataset[0], dataset[5]])
    assert batch.images.shape == (2, 3, 25, 32)
    assert batch.full_sizes == ((30, 50), (35, 45))
    assert batch.masks is not None
    for row, index in enumerate((0, 5)):
        mask = Noise().sample(index).mask
        assert mask is not None
        np.testing.assert_array_equal(batch.masks[row, : mask.shape[0], : mask.shape[1]].numpy(), mask)


def test_photos_within_the_limit_stay_as_they_are() -> None:
    batch = collate([EvalSet(Noise(), max_side=50)[index] for index in range(2)])
    assert batch.full_sizes is None
    assert torch.equal(batch.images, collate([EvalSet(Noise())[index] for index in range(2)]).images)


def test_crops_are_cut_from_the_shrunk_photo() -> None:
    transform = TrainTransform(CropSettings(64, scale=(1.0, 1.0), mirror=0.0))
    crop = TrainSet(Noise(), transform, seed=0, max_side=40)[0, 0]
    y0, y1, x0, x1 = crop.box
    assert (y1 - y0, x1 - x0) == (24, 40)
    np.testing.assert_array_equal(crop.image[y0:y1, x0:x1], shrunk(Noise().sample(0).image, 40))


@pytest.mark.data
def test_real_photos_become_batches(voc_mini: Path) -> None:
    train = TrainSet(VOCDataset(voc_mini, "train"), TrainTransform(CropSettings(128)), seed=0)
    batch = collate([train[0, index] for index in range(3)])
    assert batch.images.shape == (3, 3, 128, 128)
    val = EvalSet(VOCDataset(voc_mini, "val", with_masks=True))
    batch = collate([val[index] for index in range(2)])
    assert batch.masks is not None
    assert batch.masks.shape == batch.images[:, 0].shape
