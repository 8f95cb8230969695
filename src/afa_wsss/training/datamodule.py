"""The LightningDataModule: crops for training, whole photos for validation, each photo once over all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any, Literal

import lightning
import torch
from torch.utils.data import DataLoader, Sampler

from afa_wsss.data.base import SegmentationDataset, Streamed
from afa_wsss.data.contract import check_split, read_sample
from afa_wsss.data.files.parallel import available_cores
from afa_wsss.data.files.shared_range import range_in_use
from afa_wsss.data.files.value_range import RangeSetting
from afa_wsss.data.loading.sets import EvalSet, Item, TrainSet, collate
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.data.loading.transforms import TrainTransform
from afa_wsss.errors import UserError
from afa_wsss.ops.processes import world_size
from afa_wsss.training.loader_workers import prepare_worker
from afa_wsss.training.samplers import CropSampler, OnceSampler


class AFADataModule(lightning.LightningDataModule):
    """Opens the splits and makes the loaders.

    Attributes:
        train_set: Crops with image labels; None without a training split.
        val_set: Whole photos with masks; None without a validation split.
        batch_size: Crops of a batch in this process; set anew where ``total_batch`` has to be dealt to devices.
    """

    def __init__(
        self,
        settings: DataSettings,
        *,
        seed: int = 0,
        with_masks: bool = True,
        train_masks: bool = False,
        pin_memory: bool = False,
    ) -> None:
        """Opens both splits and checks their files, before anything is trained.

        Args:
            settings: Data set, splits, crops, batches.
            seed: Seed of shuffling and crops.
            with_masks: Whether validation photos must have masks.
            train_masks: Whether training photos must have masks, which their crops then come with: for label makers
                that need them (``LabelMaker.needs_masks``). Weak supervision reads none.
            pin_memory: Whether batches are pinned for a GPU.

        Raises:
            UserError: For what the data set finds wrong, and where there is no split.
        """
        super().__init__()
        self.batch_size, self.eval_batch_size, self.seed = settings.batch_size, settings.eval_batch_size, seed
        self.max_negatives = settings.max_negatives
        num_workers = min(settings.num_workers, available_cores())
        self.loading = {
            "num_workers": num_workers,
            "pin_memory": pin_memory,
            "persistent_workers": num_workers > 0,
            "collate_fn": collate,
            "worker_init_fn": prepare_worker,
        }
        self.train_set = self.val_set = None
        if settings.train_split is not None:
            opened = _checked(settings, "train", with_masks=train_masks)
            if train_masks:
                _check_train_masks(opened, settings.train_split)
            _check_negatives(opened, settings.max_negatives)
            settings = replace(settings, value_range=range_in_use(opened))
            self.train_set = TrainSet(
                opened, TrainTransform(settings), seed=seed, max_side=settings.max_side, with_masks=train_masks
            )
        if settings.val_split is not None:
            self.val_set = EvalSet(_checked(settings, "val", with_masks=with_masks), max_side=settings.max_side)
        if self.train_set and self.val_set:
            _check_same_classes(self.train_set.dataset.class_names, self.val_set.dataset.class_names)

    @property
    def dataset(self) -> SegmentationDataset:
        """One of the splits, for class names and palette."""
        chosen = self.train_set or self.val_set
        if chosen is None:
            raise UserError("need train_split or val_split, got neither", arguments=("train_split", "val_split"))
        return chosen.dataset

    @property
    def value_range(self) -> RangeSetting:
        """The values of photos of more than 8 bits that become black and white: those that training photos use."""
        return range_in_use(self.dataset)

    @property
    def class_names(self) -> Sequence[str]:
        """Foreground classes."""
        return self.dataset.class_names

    def train_dataloader(self) -> DataLoader[Item]:
        """Endless over epochs; whole steps, so that steps between validations are as many in every epoch."""
        if self.train_set is None:
            raise UserError("need a split to train on, got none", arguments=("train_split",))
        start = self._position()
        accumulated = 1 if self.trainer is None else self.trainer.accumulate_grad_batches
        step = self.batch_size * accumulated
        photos = self.train_set.dataset
        streamed = photos if isinstance(photos, Streamed) else None
        sampler = CropSampler(
            len(photos),
            batch_size=step,
            seed=self.seed,
            start=start,
            streamed=streamed,
            labels=photos.image_labels,
            max_negatives=self.max_negatives,
        )
        return self._loader(self.train_set, self.batch_size, sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Item] | list[DataLoader[Item]]:
        """Each photo once; none where there is no validation split.

        Raises:
            UserError: For fewer photos than processes: one without a photo would leave the others waiting.
        """
        if self.val_set is None:
            return []
        count = world_size()
        if len(self.val_set) < count:
            raise UserError(
                f"need a photo to validate for each process, got {len(self.val_set)} for {count}; use fewer devices",
                arguments=("devices",),
            )
        return self._loader(self.val_set, self.eval_batch_size, OnceSampler(len(self.val_set)), drop_last=False)

    def _position(self) -> tuple[int, int]:
        """Epochs, and photos of the next one, that were trained on before: none, unless a run is resumed."""
        if self.trainer is None:
            return 0, 0
        epochs: Any = self.trainer.fit_loop.epoch_progress
        batches: Any = self.trainer.fit_loop.epoch_loop.batch_progress
        if batches.is_last_batch and batches.total.completed < batches.total.processed:
            # Written at the end of an epoch's last step: Lightning goes on with the next epoch, and loaders of several
            # processes fetch its photos before Lightning counts it.
            return epochs.current.processed + 1, 0
        return epochs.current.processed, batches.current.processed * self.batch_size

    def _loader(
        self,
        dataset: TrainSet | EvalSet,
        batch_size: int,
        sampler: Sampler[int] | Sampler[tuple[int, int]],
        *,
        drop_last: bool,
    ) -> DataLoader[Item]:
        make: Callable[..., DataLoader[Item]] = DataLoader
        # A loader draws a number for its workers each time it starts: of its own, or a run that is resumed in the
        # middle of an epoch would draw another number of times from the generator of dropout.
        drawn = torch.Generator().manual_seed(self.seed)
        chosen = {"batch_size": batch_size, "sampler": sampler, "drop_last": drop_last, "generator": drawn}
        return make(dataset, **chosen, **self.loading)


def _checked(settings: DataSettings, use: Literal["train", "val"], *, with_masks: bool) -> SegmentationDataset:
    """The split to train or to validate on, with its files there and its labels readable."""
    opened = settings.open_split(use, with_masks=with_masks)
    opened.check_files()
    check_split(opened)
    return opened


def _check_same_classes(train: Sequence[str], val: Sequence[str]) -> None:
    """Checks that numbers of classes mean the same in both splits.

    Raises:
        UserError: Where they do not.
    """
    if tuple(train) != tuple(val):
        pairs = enumerate(zip_longest(train, val, fillvalue="none"), start=1)
        number, (one, other) = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
        raise UserError(
            f"need the same classes to train and to validate with, class {number} is {one} and {other}; list all in "
            "the same classes.txt for both",
            arguments=("train_split", "val_split"),
        )


def _check_negatives(opened: SegmentationDataset, share: float | None) -> None:
    """Checks that photos without a class are known before they are read, where their share is limited.

    Raises:
        UserError: Where labels come with the photos.
    """
    if share is not None and opened.image_labels is None:
        raise UserError(
            f"need a data set whose labels are known before its photos are read to limit those without a class, "
            f"{type(opened).__name__} is none, got {share:g}; leave max_negatives=null, and put fewer of them into the "
            "files",
            arguments=("max_negatives",),
        )


def _check_train_masks(opened: SegmentationDataset, split: str) -> None:
    """Checks the first photo: where a data set has any masks, its file check finds those that are missing.

    Raises:
        UserError: Where it has no mask.
    """
    if read_sample(opened, 0).mask is None:
        raise UserError(
            f"need masks of the photos to train on for this label maker, split {split} has none; add them, or choose "
            "a label maker that needs image labels alone, such as supervision=afa",
            arguments=("train_split",),
        )
