"""Checks data sets: what ``afa-data folder`` and ``check`` do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.dataset import Findings, OpenSplit, check_dataset
from afa_wsss.data.checks.problems import Report
from afa_wsss.data.files.label_cache import write_atomically
from afa_wsss.data.files.parallel import ProgressBar, no_progress
from afa_wsss.data.files.value_range import RangeSetting
from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import UserError, argument
from afa_wsss.report.findings import findings_as_data


class DataCheck(NamedTuple):
    """A finished check of a data set.

    Attributes:
        root: Folder of the data.
        findings: Counts of the splits, and what is wrong with them.
        file: ``problems.json``, with all of it.
    """

    root: Path
    findings: Findings
    file: Path

    @property
    def errors(self) -> int:
        """Number of problems that would make training fail."""
        return sum(problem.level == "error" for found in self.findings.problems.values() for problem in found)


def check_splits(
    open_split: OpenSplit,
    splits: Mapping[str, str],
    *,
    root: Path,
    output_dir: str,
    progress: ProgressBar = no_progress,
    on_open: Callable[[Path, Findings], object] = lambda *_: None,
    crops: DataSettings | None = None,
) -> DataCheck:
    """Checks every file of some splits and writes ``problems.json``.

    Args:
        open_split: Opens a split by its use.
        splits: Names of the splits by use: ``train``, ``val``, and perhaps others that are scored.
        root: Folder of the data, for the result.
        output_dir: Folder for ``problems.json``.
        progress: Shows how many photos are done.
        on_open: Called with ``root``, facts and counts before files are decoded.
        crops: How training crops are cut; None where they are not judged.
    """
    findings = check_dataset(open_split, splits, progress=progress, on_open=partial(on_open, root), crops=crops)
    content = findings_as_data(findings.counts, findings.problems, findings.facts)
    file = Path(output_dir) / "problems.json"
    write_atomically(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return DataCheck(root, findings, file)


@dataclass(frozen=True)
class FolderSettings:
    """Your own photos to check.

    Attributes:
        root: The folder of photos and labels.
        labels: The file of labels, relative to ``root``; None to find it.
        crop_size: ``data.crop_size`` of the training that is planned.
        max_side: ``data.max_side`` of that training.
        value_range: ``data.value_range`` of that training.
        output_dir: Folder for ``problems.json``.
    """

    root: str
    labels: str | None = None
    crop_size: int = 512
    max_side: int | None = 1024
    value_range: RangeSetting = "auto"
    output_dir: str = "outputs/data_folder"


def check_folder(
    settings: FolderSettings,
    *,
    progress: ProgressBar = no_progress,
    on_open: Callable[[Path, Findings], object] = lambda *_: None,
) -> DataCheck:
    """Reads your own photos and their labels, and checks every file.

    Args:
        settings: Where they are.
        progress: Shows how many photos are done.
        on_open: Called with the folder, facts and counts before files are decoded.
    """
    root = Path(settings.root).expanduser()
    crops = DataSettings(crop_size=settings.crop_size, max_side=settings.max_side, value_range=settings.value_range)

    def open_split(use: str, /, *, with_masks: bool, report: Report) -> FolderDataset:
        opened = FolderDataset(root, use, with_masks=with_masks, labels=settings.labels, report=report)
        opened.value_range = crops.value_range
        return opened

    return check_splits(
        open_split,
        {"train": "train", "val": "val"},
        root=root,
        output_dir=settings.output_dir,
        progress=progress,
        on_open=on_open,
        crops=crops,
    )


@dataclass(frozen=True)
class CheckSettings:
    """The data set to check.

    Attributes:
        data: The data, as for training.
        output_dir: Folder for ``problems.json``.
    """

    data: DataSettings = field(default_factory=DataSettings)
    output_dir: str = "outputs/data_check"


def check_data(
    settings: CheckSettings,
    *,
    progress: ProgressBar = no_progress,
    on_open: Callable[[Path, Findings], object] = lambda *_: None,
) -> DataCheck:
    """Checks all that training with these settings would read.

    Args:
        settings: The data.
        progress: Shows how many photos are done.
        on_open: Called with the folder, facts and counts before files are decoded.

    Raises:
        UserError: Where data set, root or splits are missing.
    """
    data = settings.data
    splits = {use: split for use, split in (("train", data.train_split), ("val", data.val_split)) if split is not None}
    if not splits:
        raise UserError(
            "need a split to check, got train_split=None and val_split=None",
            arguments=("data.train_split", "data.val_split"),
        )
    with argument("data"):
        data.check_root()
    root = Path(data.root or ".")

    def open_split(use: str, /, *, with_masks: bool, report: Report) -> SegmentationDataset:
        try:
            return data.open_split(use, with_masks=with_masks, report=report)
        except UserError as error:
            error.arguments = tuple(f"data.{wrong}" for wrong in error.arguments)
            raise

    return check_splits(
        open_split,
        splits,
        root=root,
        output_dir=settings.output_dir,
        progress=progress,
        on_open=on_open,
        crops=data,
    )
