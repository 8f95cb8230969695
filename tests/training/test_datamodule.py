"""Sharding, shuffling and batches."""

from __future__ import annotations

import shutil

import lightning
import numpy as np
import pytest
import torch
from PIL import Image
from tests.commands import quiet_libraries, write_small_set

from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.data.formats.voc import VOCDataset
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import UserError
from afa_wsss.ops.pseudo_label import box_mask
from afa_wsss.training import datamodule
from afa_wsss.training.datamodule import AFADataModule, CropSampler, OnceSampler
from afa_wsss.training.trainer import TrainerSettings


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_small_set(tmp_path_factory.mktemp("partshapes"))


def make(root, *, with_masks=True, train_masks=False, **settings):
    chosen = {"train_split": "train", "val_split": "val", "crop_size": 32, "num_workers": 0}
    opened = {"dataset": VOCDataset, "root": str(root)}
    return AFADataModule(DataSettings(**(opened | chosen | settings)), with_masks=with_masks, train_masks=train_masks)


def as_process(monkeypatch, rank, world):
    monkeypatch.setattr(datamodule, "_processes", lambda: (rank, world))


def test_crops_are_shuffled_anew_each_epoch_and_equally_for_equal_seeds():
    sampler, twin = (CropSampler(20, batch_size=4, seed=3) for _ in range(2))
    first = list(sampler)
    assert first == list(twin)
    assert sorted(index for _, index in first) == list(range(20))
    sampler.set_epoch(1)
    assert [index for _, index in sampler] != [index for _, index in first]
    assert {epoch for epoch, _ in sampler} == {1}


def test_processes_get_different_photos_and_equally_many(monkeypatch):
    dealt = []
    for rank in range(2):
        as_process(monkeypatch, rank, 2)
        dealt.append([index for _, index in CropSampler(21, batch_size=4, seed=0)])
    assert len(dealt[0]) == len(dealt[1]) == 8
    assert not set(dealt[0]) & set(dealt[1])


def test_fewer_photos_than_a_batch_repeat():
    assert len(list(CropSampler(3, batch_size=8, seed=0))) == 8


def test_each_photo_is_validated_once_over_all_processes(monkeypatch):
    dealt = []
    for rank in range(3):
        as_process(monkeypatch, rank, 3)
        dealt += list(OnceSampler(7))
    assert sorted(dealt) == list(range(7))


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


@pytest.mark.parametrize(("name", "least"), [("batch_size", 1), ("eval_batch_size", 1), ("num_workers", 0)])
def test_batches_and_workers_below_the_least_are_refused(root, name, least):
    with pytest.raises(UserError, match=f"need {name} of at least {least}, got {least - 1}") as error:
        make(root, **{name: least - 1})
    assert error.value.arguments == (name,)


def test_a_process_without_a_photo_is_refused(root, monkeypatch):
    as_process(monkeypatch, 0, 6)
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
