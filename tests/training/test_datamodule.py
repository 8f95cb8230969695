"""Sharding, shuffling and batches."""

from __future__ import annotations

import shutil

import lightning
import numpy as np
import pytest
import torch
from PIL import Image
from tests.commands import quiet_libraries
from tests.data.shards.shards import write_shards

from afa_wsss.data import ShardedDataset
from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.data.formats.voc import VOCDataset
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import UserError
from afa_wsss.ops.pseudo_label import box_mask
from afa_wsss.training import datamodule
from afa_wsss.training.datamodule import AFADataModule
from afa_wsss.training.trainer import TrainerSettings


def make(root, *, with_masks=True, train_masks=False, **settings):
    chosen = {"train_split": "train", "val_split": "val", "crop_size": 32, "num_workers": 0}
    opened = {"dataset": VOCDataset, "root": str(root)}
    return AFADataModule(DataSettings(**(opened | chosen | settings)), with_masks=with_masks, train_masks=train_masks)


def test_training_batches_hold_no_masks_and_validation_batches_do(root):
    data = make(root, batch_size=4, eval_batch_size=2)
    crops, photos = next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))
    assert crops.masks is None
    assert crops.images.shape == (4, 3, 32, 32)
    assert photos.masks.shape == (2, 48, 48)


def test_training_batches_hold_masks_where_a_label_maker_needs_them(root):
    data = make(root, batch_size=4, train_masks=True)
    crops, without = next(iter(data.train_dataloader())), next(iter(make(root, batch_size=4).train_dataloader()))
    assert crops.masks.shape == (4, 32, 32)
    assert torch.equal(crops.images, without.images)
    inside = box_mask(crops.boxes, 32, 32)
    assert (crops.masks[~inside] == 255).all()
    assert set(crops.masks[inside].unique().tolist()) <= {0, 1, 2, 3, 4, 5, 255}


def test_weak_supervision_never_reads_a_training_mask(root, tmp_path, monkeypatch):
    """Neither the files, which may be broken or missing, nor the pixels."""
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    for number, mask in enumerate(sorted((copy / "SegmentationClass").glob("train_*"))):
        mask.write_bytes(b"no picture") if number % 2 else mask.unlink()
    data = make(copy, batch_size=4)
    monkeypatch.setattr(PhotoFiles, "mask", lambda *_: pytest.fail("a mask was read"))
    batches, untouched = list(data.train_dataloader()), list(make(root, batch_size=4).train_dataloader())
    assert all(batch.masks is None for batch in batches)
    assert all(torch.equal(one.images, other.images) for one, other in zip(batches, untouched, strict=True))


def test_training_photos_without_masks_are_refused_where_a_label_maker_needs_them(root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    masks = sorted((copy / "SegmentationClass").glob("train_*"))
    masks[3].unlink()
    with pytest.raises(UserError, match=r"need every mask that .* lists, 1 of 8 missing: .*train_000003.png"):
        make(copy, train_masks=True)


def test_a_data_set_without_any_training_mask_is_refused_where_a_label_maker_needs_them(tmp_path):
    rows = ["file,labels,split"]
    for number, split in enumerate(["train", "train", "val", "val"]):
        Image.new("RGB", (40, 40)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{('cat', 'dog')[number % 2]},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    with pytest.raises(UserError, match="split train has none; add them, or choose a label maker") as error:
        make(tmp_path, dataset=FolderDataset, train_masks=True)
    assert error.value.arguments == ("train_split",)


def test_validation_photos_may_lack_masks_where_none_are_needed(root):
    photos = next(iter(make(root, with_masks=False).val_dataloader()))
    assert photos.masks is None


@pytest.mark.parametrize("share", [-0.1, 1, float("nan")])
def test_a_share_of_negatives_that_is_none_is_refused(root, share):
    with pytest.raises(UserError, match=r"need max_negatives in \[0, 1\), got") as error:
        make(root, max_negatives=share)
    assert error.value.arguments == ("max_negatives",)


def test_negatives_are_limited_only_where_labels_are_known_before_photos_are_read(tmp_path):
    write_shards(tmp_path, [4, 4])
    with pytest.raises(UserError, match=r"need a data set whose labels are known .* ShardedDataset is none, got 0.5"):
        make(tmp_path, dataset=ShardedDataset, val_split=None, max_negatives=0.5)


def test_an_epoch_has_at_most_that_share_of_negatives(tmp_path):
    rows = ["file,labels,split"]
    for number in range(16):
        Image.new("RGB", (40, 40)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{('cat', 'dog')[number % 2] if number < 4 else ''},train")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    opened = {"dataset": FolderDataset, "val_split": None, "batch_size": 2}
    crops = list(make(tmp_path, max_negatives=0.5, **opened).train_dataloader())
    assert sum(int((~batch.image_labels.any(dim=1)).sum()) for batch in crops) == 4
    assert len(crops) == 4
    assert len(make(tmp_path, **opened).train_dataloader()) == 8


@pytest.mark.parametrize(("name", "least"), [("batch_size", 1), ("eval_batch_size", 1), ("num_workers", 0)])
def test_batches_and_workers_below_the_least_are_refused(root, name, least):
    with pytest.raises(UserError, match=f"need {name} of at least {least}, got {least - 1}") as error:
        make(root, **{name: least - 1})
    assert error.value.arguments == (name,)


def test_a_process_without_a_photo_is_refused(root, monkeypatch):
    monkeypatch.setattr(datamodule, "world_size", lambda: 6)
    with pytest.raises(UserError, match="5 for 6; use fewer devices") as error:
        make(root).val_dataloader()
    assert error.value.arguments == ("devices",)


def test_without_splits_there_are_no_classes(root):
    data = make(root, train_split=None, val_split=None)
    assert data.val_dataloader() == []
    with pytest.raises(UserError, match="need a split to train on, got none") as error:
        data.train_dataloader()
    assert error.value.arguments == ("train_split",)
    with pytest.raises(UserError, match="got neither") as error:
        _ = data.class_names
    assert error.value.arguments == ("train_split", "val_split")


def test_validation_photos_have_the_range_of_values_of_training_photos(tmp_path):
    rows = []
    for number, (top, split) in enumerate([(4000, "train"), (3000, "train"), (200, "val"), (400, "val")]):
        values = np.linspace(0, top, 40 * 50).reshape(40, 50).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{('cat', 'dog')[number % 2]},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(["file,labels,split", *rows]))
    data = make(tmp_path, dataset=FolderDataset)
    assert data.value_range == (0, 4000)
    assert data.val_set[0].image.max() == 13
    assert make(tmp_path, dataset=FolderDataset, train_split=None, value_range=(0, 400)).val_set[1].image.max() == 255


class Counting(lightning.LightningModule):
    """Keeps how many crops each step was of, and the steps at which it was validated."""

    def __init__(self):
        super().__init__()
        self.layer, self.crops, self.steps, self.validated = torch.nn.Linear(1, 1), 0, [], []

    def training_step(self, batch, batch_index):
        self.crops += len(batch.images)
        return self.layer(torch.ones(1, 1)).sum()

    def on_before_optimizer_step(self, optimizer):
        self.steps.append(self.crops)
        self.crops = 0

    def on_validation_epoch_start(self):
        self.validated.append(self.global_step)

    def validation_step(self, batch, batch_index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(("accumulated", "batch_size"), [(2, 3), (3, 2), (5, 2)])
def test_accumulated_steps_are_whole_over_the_ends_of_epochs(root, tmp_path, accumulated, batch_size):
    """Eight photos hold one step and a part of the next, or less than one."""
    settings = TrainerSettings(
        accelerator="cpu", max_steps=7, val_check_interval=3, accumulate_grad_batches=accumulated
    )
    trainer = lightning.Trainer(
        **settings.arguments(),
        check_val_every_n_epoch=None,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Counting()
    quiet_libraries()
    trainer.fit(module, datamodule=make(root, batch_size=batch_size))
    assert module.steps == [accumulated * batch_size] * 7
    assert module.validated == [3, 6]
