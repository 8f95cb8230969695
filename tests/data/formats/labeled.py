"""Photos beside files of labels: written, and read back with all that was found wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests.data.samples import write_photo

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.formats.folder import FolderDataset

Content = str | bytes


def write_labeled(root: Path, photos: Sequence[str], files: Mapping[str, Content]) -> None:
    for red, photo in enumerate(photos):
        write_photo(root / photo, 10 + 40 * red % 250)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def read_labeled(
    root: Path, split: str = "all", **arguments: Any
) -> tuple[dict[str, list[str]], dict[str, str], list[Problem]]:
    """Classes by photo, what was understood, and what is wrong."""
    problems: list[Problem] = []
    dataset = FolderDataset(root, split, report=problems.extend, **arguments)
    labels = {name: [one for one in dataset.class_names if one in found] for name, found in labels_of(dataset).items()}
    return labels, dict(dataset.facts), problems


def labels_of(dataset: FolderDataset) -> dict[str, set[str]]:
    """Classes by photo."""
    rows = zip(dataset.names, dataset.image_labels, strict=True)
    return {name: {dataset.class_names[column] for column in np.flatnonzero(row)} for name, row in rows}
