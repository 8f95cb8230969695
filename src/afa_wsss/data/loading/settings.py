"""Settings of data and crops; apart from what crops, so that checking data imports neither torch nor OpenCV."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.problems import Report
from afa_wsss.data.files.value_range import RangeSetting, check_range
from afa_wsss.errors import UserError

MIN_CROP = 32
"""Pixels: two by two tokens at the network's stride of 16."""


@dataclass(frozen=True)
class CropSettings:
    """How training crops are cut (AFA, section 4.1).

    Attributes:
        crop_size: Side of the square crop in pixels, at least 32.
        scale: Smallest and largest factor on the photo's size; stored as a tuple.
        mirror: Probability of mirroring, in [0, 1].
        jitter: Strength of random brightness, contrast, saturation and hue, in [0, 1]; 0 for none.

    Raises:
        UserError: For a value out of range.
    """

    crop_size: int = 512
    scale: Sequence[float] = (0.5, 2.0)
    mirror: float = 0.5
    jitter: float = 0.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        object.__setattr__(self, "scale", tuple(self.scale))
        if self.crop_size < MIN_CROP:
            raise UserError(f"need crop_size of at least {MIN_CROP}, got {self.crop_size}", arguments=("crop_size",))
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise UserError(
                f"need scale as (smallest, largest) with 0 < smallest <= largest, got {self.scale}",
                arguments=("scale",),
            )
        for name in ("mirror", "jitter"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UserError(f"need {name} in [0, 1], got {value}", arguments=(name,))


@dataclass(frozen=True)
class DataSettings(CropSettings):
    """Which photos to train and validate on, and how they are cropped and batched.

    Attributes:
        name: Name of the data set, for the names of runs.
        dataset: Opens a split: called as ``dataset(root=..., split=..., with_masks=...)``, returns a
            ``SegmentationDataset``. Usually its class, or a ``functools.partial`` of it.
        root: Passed to ``dataset``; None for a data set that takes no root.
        train_split: Split to train on; None where nothing is trained.
        val_split: Split to validate on; None where nothing is validated.
        batch_size: Crops per training step and process; with ``total_batch`` the most that one process has at once.
        total_batch: Crops per training step of all processes, whatever their number: gradients are accumulated where
            they would be more than ``batch_size`` in one. None for ``batch_size`` in each.
        max_negatives: Largest share of an epoch's crops that are of photos without any class, in [0, 1); others of them
            each epoch. None for all there are.
        eval_batch_size: Photos per validation step. Those of one size share a pass, so no score depends on it.
        num_workers: Number of loader processes; 0 loads in the main process.
        max_side: Longest side in pixels, at least 32, that a photo is shrunk to where it is larger: for crops,
            validation, labels and predictions. Masks and scores are those of the full size. None to shrink none.
        value_range: The values that become black and white in photos of more than 8 bits: [low, high], or ``auto`` for
            what each file declares, or else all files together use. Stored as ``auto``, a tuple, or a tuple for each
            kind of values.

    Raises:
        UserError: For a value out of range.
    """

    name: str = ""
    dataset: Any = None
    root: str | None = field(default=None, metadata={"asked_for": True})
    train_split: str | None = None
    val_split: str | None = None
    batch_size: int = 8
    total_batch: int | None = None
    max_negatives: float | None = None
    eval_batch_size: int = 1
    num_workers: int = 4
    max_side: int | None = None
    value_range: RangeSetting = "auto"

    def __post_init__(self) -> None:
        """Checks the ranges."""
        super().__post_init__()
        for name, least in (("batch_size", 1), ("eval_batch_size", 1), ("num_workers", 0)):
            value = getattr(self, name)
            if value < least:
                raise UserError(f"need {name} of at least {least}, got {value}", arguments=(name,))
        if self.total_batch is not None and self.total_batch < 1:
            raise UserError(f"need total_batch of at least 1, got {self.total_batch}", arguments=("total_batch",))
        if self.max_negatives is not None and not 0 <= self.max_negatives < 1:
            raise UserError(f"need max_negatives in [0, 1), got {self.max_negatives}", arguments=("max_negatives",))
        if self.max_side is not None and self.max_side < MIN_CROP:
            raise UserError(f"need max_side of at least {MIN_CROP}, got {self.max_side}", arguments=("max_side",))
        object.__setattr__(self, "value_range", check_range(self.value_range))

    def check_root(self) -> None:
        """Checks that there is a data set, and a root unless it takes none.

        Raises:
            UserError: Where one of them is missing.
        """
        if not callable(self.dataset):
            raise UserError(f"need a class of data sets, got dataset={self.dataset!r}", arguments=("dataset",))
        root = inspect.signature(self.dataset).parameters.get("root")
        if self.root is None and root is not None and root.default is root.empty:
            raise UserError("need the folder of the data, got root=None", arguments=("root",))

    def open_split(self, use: str, *, with_masks: bool, report: Report | None = None) -> SegmentationDataset:
        """Opens the split to train or to validate on.

        Args:
            use: ``train`` for ``train_split``, ``val`` for ``val_split``.
            with_masks: Whether samples shall hold their masks.
            report: Called with what is wrong with lists and labels, where the data set takes such an argument; None to
                raise.

        Raises:
            UserError: Where split, data set or root are missing or the split has no photo, and what ``dataset`` raises.
        """
        split, name = (self.train_split if use == "train" else self.val_split), f"{use}_split"
        if split is None:
            raise UserError(f"need a split to open, got {name}=None", arguments=(name,))
        self.check_root()
        given: dict[str, Any] = {} if self.root is None else {"root": self.root}
        if report is not None and "report" in inspect.signature(self.dataset).parameters:
            given["report"] = report
        try:
            opened: SegmentationDataset = self.dataset(split=split, with_masks=with_masks, **given)
        except UserError as error:
            own = {"split": name, "root": "root"}
            error.arguments = tuple(own.get(argument, f"dataset.{argument}") for argument in error.arguments)
            raise
        if len(opened) == 0:
            of = "" if self.root is None else f" of {self.root}"
            raise UserError(f"need photos in the split {split!r}{of}, got none; fix {name} or root", arguments=(name,))
        if self.value_range != "auto":
            if not hasattr(opened, "value_range"):
                raise UserError(
                    f"need a data set with value_range to set it, {type(opened).__name__} has none; leave it at auto",
                    arguments=("value_range",),
                )
            opened.value_range = self.value_range
        return opened
