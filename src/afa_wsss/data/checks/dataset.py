"""Checks all splits of a data set: opens them, decodes their files, compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.crops import check_crops, describe_crops
from afa_wsss.data.checks.photos import check_photos
from afa_wsss.data.checks.problems import Problem, Report
from afa_wsss.data.checks.splits import compare_splits, count_labels
from afa_wsss.data.contract import check_split
from afa_wsss.data.files.parallel import ProgressBar, available_cores, no_progress
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import UserError, named

BETWEEN_SPLITS = "both"
"""Stands for a split in ``Findings.problems``, for what is wrong with train and val together."""

PHOTOS_PER_WORKER = 200
"""Fewer are decoded in less time than a process takes to start."""


@runtime_checkable
class OpenSplit(Protocol):
    """Opens a split by its use: ``train``, ``val`` or another."""

    def __call__(self, use: str, /, *, with_masks: bool, report: Report) -> SegmentationDataset:
        """``report`` is called with what is wrong with lists and labels."""


class SplitCounts(NamedTuple):
    """How much a split holds.

    Attributes:
        photos: Number of photos.
        masks: Number of photos with a mask.
        classes: Number of photos of each class.
    """

    photos: int
    masks: int
    classes: dict[str, int]


class Findings(NamedTuple):
    """What a check of a data set found.

    Attributes:
        counts: Counts of the splits that could be opened, by name.
        problems: Problems of each split by name, and of train and val together as ``BETWEEN_SPLITS``.
        facts: What was understood of the data, and how.
        at_open: Problems that were found before a file was decoded.
    """

    counts: dict[str, SplitCounts]
    problems: dict[str, list[Problem]]
    facts: list[tuple[str, str]]
    at_open: list[Problem]

    def all(self) -> list[Problem]:
        """Problems of all splits."""
        return [problem for found in self.problems.values() for problem in found]


def check_dataset(
    open_split: OpenSplit,
    splits: Mapping[str, str],
    *,
    progress: ProgressBar = no_progress,
    on_open: Callable[[Findings], object] = lambda _: None,
    crops: DataSettings | None = None,
) -> Findings:
    """Finds everything that is wrong with a data set: each file is decoded, lists and classes are compared.

    Args:
        open_split: Opens a split.
        splits: Names of the splits by use: ``train``, ``val``, and perhaps others that are scored.
        progress: Shows how many photos are done.
        on_open: Called with facts and counts once all splits are open, before their files are decoded.
        crops: How training crops are cut; None where they are not judged.
    """
    found = Findings({}, {}, [], [])
    opened: dict[str, SegmentationDataset] = {}
    for use, split in splits.items():
        problems = found.problems.setdefault(split, [])
        dataset = _opened(open_split, use, split, problems)
        if dataset is not None:
            opened[use], found.counts[split] = dataset, _counts(dataset)
            facts = getattr(dataset, "facts", ())
            found.facts.extend(fact for fact in facts if fact not in found.facts)
        # One table may list both splits: what is wrong with it is reported once.
        seen = {problem.message for other in found.problems if other != split for problem in found.problems[other]}
        problems[:] = [problem for problem in dict.fromkeys(problems) if problem.message not in seen]
    if crops is not None and "train" in opened:
        found.facts.extend(describe_crops(opened["train"], crops))
        found.problems[splits["train"]] += check_crops(opened["train"], crops)
    found.at_open.extend(found.all())
    on_open(found)
    for use, dataset in opened.items():
        workers = min(available_cores(), 1 + len(dataset) // PHOTOS_PER_WORKER)
        bar = partial(progress, description=f"check {splits[use]}", total=len(dataset))
        found.problems[splits[use]] += check_photos(dataset, workers=workers, progress=bar)
    found.problems[BETWEEN_SPLITS] = compare_splits(opened)
    return found


def _opened(open_split: OpenSplit, use: str, split: str, problems: list[Problem]) -> SegmentationDataset | None:
    """A split with its labels read, or None where it cannot be opened; problems are collected."""
    try:
        dataset = open_split(use, with_masks=use != "train", report=problems.extend)
        check_split(dataset)
        _ = isinstance(dataset, PhotoFiles) and dataset.needs_masks
    except UserError as error:
        problems.append(Problem("split unusable", split, named(error)))
        return None
    return dataset


def _counts(dataset: SegmentationDataset) -> SplitCounts:
    masks = dataset.count_masks() if isinstance(dataset, PhotoFiles) else 0
    return SplitCounts(len(dataset), masks, count_labels(dataset))
