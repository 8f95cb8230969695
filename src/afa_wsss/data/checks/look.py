"""What is doubtful in a data set, found without reading a photo: what ``afa-train`` says before it starts."""

from __future__ import annotations

from collections.abc import Mapping

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.checks.splits import compare_splits
from afa_wsss.data.formats.photo_files import PhotoFiles


def doubts_of(splits: Mapping[str, SegmentationDataset]) -> list[Problem]:
    """Warnings about lists, labels and splits.

    Args:
        splits: The opened splits by their use: ``train``, ``val``.
    """
    found = [problem for data in splits.values() if isinstance(data, PhotoFiles) for problem in data.warnings]
    return list(dict.fromkeys([*found, *compare_splits(splits, contents=False)]))
