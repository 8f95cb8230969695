"""Which held-out photos a label maker with masks gets, and in which state the network is meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerState, TrainerStatus

from afa_wsss.data.base import Sample
from afa_wsss.data.loading.sets import EvalSet
from afa_wsss.errors import UserError
from afa_wsss.supervision import AFALabels
from afa_wsss.supervision.recent_splits import LOOKED_AT
from afa_wsss.training.callbacks.held_out_looks import (
    LOOKED_KEY,
    HeldOutLooks,
    held_out_looks,
    masked_items,
    spread,
)


class Photos:
    """A ``SegmentationDataset`` of ``count`` photos, of which some have a mask; remembers what was read."""

    class_names = ("cat",)
    palette = np.zeros((2, 3), dtype=np.uint8)

    def __init__(self, count, masked=lambda index: True, size=(40, 60)):
        self.names, self.masked, self.size, self.seen = [str(index) for index in range(count)], masked, size, []

    @property
    def image_labels(self):
        return np.ones((len(self), 1), dtype=np.uint8)

    def check_files(self):
        pass

    def __len__(self):
        return len(self.names)

    def sample(self, index):
        self.seen.append(index)
        mask = np.full(self.size, index % 2, dtype=np.uint8) if self.masked(index) else None
        labels = self.image_labels[index].astype(np.float32)
        return Sample(np.zeros((*self.size, 3), dtype=np.uint8), labels, mask, self.names[index])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 100])
def test_every_photo_has_a_place_and_each_beginning_is_spread(count):
    order = list(spread(count))
    assert sorted(order) == list(range(count))
    for length in (2, 4, 8, 16):
        if length <= count:
            gaps = np.diff([*sorted(order[:length]), count])
            assert gaps.max() <= np.ceil(count / length)


def test_as_many_photos_are_read_as_are_looked_at():
    photos = Photos(1000)
    items = masked_items(EvalSet(photos), LOOKED_AT)
    assert len(items) == len(photos.seen) == LOOKED_AT
    assert np.diff(sorted(photos.seen)).tolist() == pytest.approx([1000 / LOOKED_AT] * (LOOKED_AT - 1), abs=1)


def test_photos_without_a_mask_are_passed_over():
    items = masked_items(EvalSet(Photos(50, masked=lambda index: index % 10 == 3)), LOOKED_AT)
    assert sorted(item.name for item in items) == ["13", "23", "3", "33", "43"]


def test_photos_without_a_class_come_last():
    photos = Photos(40)
    labels = (np.arange(40) % 4 == 0).astype(np.uint8)[:, None]
    photos.__class__ = type("Some", (Photos,), {"image_labels": labels})
    items = masked_items(EvalSet(photos), LOOKED_AT)
    assert len(items) == LOOKED_AT
    assert {item.name for item in items[:10]} == {str(index) for index in range(0, 40, 4)}


def test_masks_without_any_class_are_refused():
    """At any score all labels of such photos are right where they are background: no score is the best one."""
    with pytest.raises(UserError, match="whose masks show a class, those of 2 photos are background alone; add masks"):
        held_out_looks(MASKS, EvalSet(Photos(4, masked=lambda index: index % 2 == 0)), batch_size=2)


def test_masks_are_as_large_as_the_shrunk_photos():
    (item,) = masked_items(EvalSet(Photos(1, size=(80, 100)), max_side=50), LOOKED_AT)
    assert item.image.shape[:2] == item.mask.shape == (40, 50)
    assert item.full_size is None


MASKS = AFALabels(low="auto", high="auto", background="auto", auto_from="masks")


def test_only_a_label_maker_that_learns_from_masks_has_any_read():
    photos = Photos(3)
    assert held_out_looks(AFALabels(), EvalSet(photos), batch_size=2) == []
    assert photos.seen == []
    (callback,) = held_out_looks(MASKS, EvalSet(photos), batch_size=2)
    assert len(callback.items) == 3


def test_photos_without_masks_are_refused():
    with pytest.raises(UserError, match="need held-out photos with masks, none of the 3 photos to validate on has one"):
        held_out_looks(MASKS, EvalSet(Photos(3, masked=lambda index: False)), batch_size=2)
    with pytest.raises(UserError, match="got no validation split"):
        held_out_looks(MASKS, None, batch_size=2)


def test_a_split_that_knows_it_has_no_masks_is_not_read():
    photos = Photos(3)
    photos.has_masks = False
    assert masked_items(EvalSet(photos), LOOKED_AT) == []
    assert photos.seen == []


def test_a_checkpoint_has_the_last_step_that_was_looked_at():
    callback, other = (HeldOutLooks(EvalSet(Photos(2)), batch_size=1) for _ in range(2))
    callback.looked_step, checkpoint = 7, {}
    trainer = Trainer.__new__(Trainer)
    trainer.state = TrainerState()
    callback.on_save_checkpoint(trainer, LightningModule(), checkpoint)
    other.on_load_checkpoint(Trainer.__new__(Trainer), LightningModule(), checkpoint)
    assert other.looked_step == 7
    assert callback.state_dict() == {}, "Lightning would ask for the callback in a run that leaves auto_from at photos"
    assert torch.is_grad_enabled()


def test_a_run_that_is_stopped_looks_again():
    """``NonFinite`` takes back what a look has found, with the step that it was before."""
    callback, checkpoint, trainer = HeldOutLooks(EvalSet(Photos(2)), batch_size=1), {}, Trainer.__new__(Trainer)
    callback.looked_step, trainer.state = 7, TrainerState(status=TrainerStatus.INTERRUPTED)
    callback.on_save_checkpoint(trainer, LightningModule(), checkpoint)
    assert checkpoint == {LOOKED_KEY: -1}


def test_a_checkpoint_of_a_run_without_looks_can_be_gone_on_with():
    callback = HeldOutLooks(EvalSet(Photos(2)), batch_size=1)
    callback.on_load_checkpoint(Trainer.__new__(Trainer), LightningModule(), {})
    assert callback.looked_step == -1
