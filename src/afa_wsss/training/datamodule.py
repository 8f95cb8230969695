"""The LightningDataModule: crops for training, whole photos for validation, each photo once over all processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import lightning
import numpy as np
import torch
import torch.distributed
from torch.utils.data import DataLoader, Sampler

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.loading.sets import EvalSet, Item, TrainSet, collate
from afa_wsss.data.loading.transforms import TrainTransform
from afa_wsss.errors import UserError


@runtime_checkable
class OpensDataset(Protocol):
    """Opens a split of a data set."""

    def __call__(self, *, split: str, with_masks: bool) -> SegmentationDataset:
        """``with_masks`` for validation; training never looks at masks."""


def _processes() -> tuple[int, int]:
    """Rank and number of processes, (0, 1) outside of a distributed run."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


class CropSampler(Sampler[tuple[int, int]]):
    """Shuffles photos anew each epoch and deals them out to the processes; yields (epoch, index)."""

    def __init__(self, count: int, *, batch_size: int, seed: int, start: tuple[int, int] = (0, 0)) -> None:
        """Deals ``count`` photos; every process gets as many, in whole batches where there are enough.

        ``start``: the first epoch, and how many batches of it an earlier run had before this one resumed it.
        """
        self.count, self.seed, self.epoch = count, seed, start[0]
        self.first_epoch, self.had = start[0], start[1] * batch_size
        self.rank, self.world = _processes()
        share = count // self.world
        self.share = share - share % batch_size if share >= batch_size else batch_size

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Crops an epoch in this process."""
        return self.share

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Another order each epoch, the same for equal seeds; photos repeat where there are fewer than a batch."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        dealt = np.resize(order, self.share * self.world)[self.rank :: self.world]
        epoch, had = self.epoch, self.had if self.epoch == self.first_epoch else 0
        return ((epoch, int(index)) for index in dealt[had:])


class OnceSampler(Sampler[int]):
    """Deals photos out to the processes, none twice: scores equal those of one process."""

    def __init__(self, count: int) -> None:
        """Deals ``count`` photos."""
        rank, world = _processes()
        self.indices = range(rank, count, world)

    def __len__(self) -> int:
        """Photos of this process."""
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        """In order."""
        return iter(self.indices)


class AFADataModule(lightning.LightningDataModule):
    """Opens the splits and makes the loaders.

    Attributes:
        train_set: Crops with image labels.
        val_set: Whole photos with masks.
    """

    def __init__(
        self,
        dataset: OpensDataset,
        *,
        train_split: str | None,
        val_split: str | None,
        transform: TrainTransform | None = None,
        batch_size: int = 8,
        eval_batch_size: int = 1,
        num_workers: int = 4,
        seed: int = 0,
        with_masks: bool = True,
        pin_memory: bool = False,
    ) -> None:
        """Opens both splits and checks that their files are there, before anything is trained.

        Args:
            dataset: Opens a split.
            train_split: None where nothing is to be trained.
            val_split: None where nothing is to be validated.
            transform: Makes the crops; needed with ``train_split``.
            batch_size: Crops a step and process.
            eval_batch_size: Photos a validation step; they are padded to the largest.
            num_workers: Loader processes.
            seed: Of shuffling and crops.
            with_masks: Whether validation photos must have masks; training photos need none.
            pin_memory: Whether batches are pinned for a GPU.

        Raises:
            UserError: For what the data set finds wrong, and for sizes below 1.
        """
        super().__init__()
        if min(batch_size, eval_batch_size) < 1 or num_workers < 0:
            raise UserError(
                f"need batch sizes of at least 1 and num_workers of at least 0, got {batch_size}, {eval_batch_size}, "
                f"{num_workers}"
            )
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.loading = {
            "num_workers": num_workers,
            "pin_memory": pin_memory,
            "persistent_workers": num_workers > 0,
            "collate_fn": collate,
        }
        self.train_set = self.val_set = None
        if train_split is not None and transform is not None:
            self.train_set = TrainSet(_checked(dataset, train_split, with_masks=False), transform, seed=seed)
        if val_split is not None:
            self.val_set = EvalSet(_checked(dataset, val_split, with_masks=with_masks))

    @property
    def dataset(self) -> SegmentationDataset:
        """One of the splits, for class names and palette."""
        chosen = self.train_set or self.val_set
        if chosen is None:
            raise UserError("need data.train_split or data.val_split, got neither")
        return chosen.dataset

    @property
    def class_names(self) -> Sequence[str]:
        """Foreground classes."""
        return self.dataset.class_names

    def train_dataloader(self) -> DataLoader[Item]:
        """Endless over epochs; whole batches."""
        if self.train_set is None:
            raise UserError("need data.train_split to train on, got none")
        start = self._position()
        sampler = CropSampler(len(self.train_set), batch_size=self.batch_size, seed=self.seed, start=start)
        return self._loader(self.train_set, self.batch_size, sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Item] | list[DataLoader[Item]]:
        """Each photo once; none where there is no validation split.

        Raises:
            UserError: For fewer photos than processes: one without a photo would leave the others waiting.
        """
        if self.val_set is None:
            return []
        processes = _processes()[1]
        if len(self.val_set) < processes:
            raise UserError(
                f"need a photo to validate for each process, got {len(self.val_set)} for {processes}; "
                "lower trainer.devices"
            )
        return self._loader(self.val_set, self.eval_batch_size, OnceSampler(len(self.val_set)), drop_last=False)

    def _position(self) -> tuple[int, int]:
        """Epochs, and batches of the next one, that were trained on before: none, unless a run is resumed."""
        if self.trainer is None:
            return 0, 0
        epochs, batches = self.trainer.fit_loop.epoch_progress, self.trainer.fit_loop.epoch_loop.batch_progress
        return epochs.current.processed, batches.current.processed  # type: ignore[attr-defined]  # typed as its parent

    def _loader(
        self,
        dataset: TrainSet | EvalSet,
        batch_size: int,
        sampler: Sampler[int] | Sampler[tuple[int, int]],
        *,
        drop_last: bool,
    ) -> DataLoader[Item]:
        make: Callable[..., DataLoader[Item]] = DataLoader
        return make(dataset, batch_size=batch_size, sampler=sampler, drop_last=drop_last, **self.loading)


def _checked(dataset: OpensDataset, split: str, *, with_masks: bool) -> SegmentationDataset:
    """The split, with its files there and its labels readable."""
    opened = dataset(split=split, with_masks=with_masks)
    opened.check_files()
    _ = opened.image_labels
    return opened
