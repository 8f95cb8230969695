"""Finds everything that is wrong with a data set in one pass: each file decoded, lists and classes compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.parallel import mapped
from afa_wsss.data.photo_files import PhotoFiles
from afa_wsss.data.photos import check_sizes, glance, read_photo
from afa_wsss.data.problems import Problem
from afa_wsss.types import UserError

MODES = {
    "L": "greyscale",
    "LA": "greyscale with transparency",
    "1": "black and white",
    "P": "palette",
    "CMYK": "CMYK",
    "YCCK": "CMYK",
    "RGBA": "RGB with transparency",
    "F": "floating point",
}
"""Forms of a photo that are read as RGB; all that begin with I are of 16 or 32 bits."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def check_split(dataset: SegmentationDataset, *, workers: int, progress: Progress = iter) -> Iterator[Problem]:
    """Decodes every photo, and every mask where masks are wanted.

    Args:
        dataset: One split; its lists and labels are read before.
        workers: Processes that decode.
        progress: Wraps the photos as they are done.

    Yields:
        What is wrong, photo by photo.
    """
    examine = partial(examine_photo, dataset) if isinstance(dataset, PhotoFiles) else partial(read_sample, dataset)
    for problems in progress(mapped(examine, range(len(dataset)), workers=workers)):
        yield from problems


def examine_photo(dataset: PhotoFiles, index: int) -> list[Problem]:
    """What is wrong with a photo and its mask; also what is unusual about it, and handled."""
    name, path = dataset.names[index], dataset.photo_path(index)
    kind = "photo missing" if not path.is_file() else "photo empty" if path.stat().st_size == 0 else "photo unreadable"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on damaged EXIF: the photo itself is read below
            seen = glance(path)
            image = read_photo(path)
    except UserError as error:
        kind = "photo too large" if "million pixels" in str(error) else kind
        return [Problem(kind, name, str(error))]
    problems = []
    form = "16 bits or more" if seen.mode.startswith("I") else MODES.get(seen.mode)
    if form is not None:
        problems.append(Problem(form, name, f"{path} is {form}; it is read as RGB of 8 bits", "note"))
    if seen.turned:
        problems.append(Problem("turned by EXIF", name, f"{path} is turned by its EXIF; it is read upright", "note"))
    return problems + _examine_mask(dataset, index, image)


def _examine_mask(dataset: PhotoFiles, index: int, image: np.ndarray) -> list[Problem]:
    path = dataset.mask_path(index) if dataset.needs_masks else None
    if path is None:
        return []
    name, kind = dataset.names[index], "mask unfit" if path.is_file() else "mask missing"
    try:
        mask = dataset.mask(index)
        if mask is not None:
            kind = "mask of another size"
            check_sizes(name, image, mask)
    except UserError as error:
        return [Problem(kind, name, str(error))]
    return []


def read_sample(dataset: SegmentationDataset, index: int) -> list[Problem]:
    """What is wrong with a photo of a data set that is none of files."""
    try:
        dataset.sample(index)
    except UserError as error:
        return [Problem("photo unfit", dataset.names[index], str(error))]
    return []


def compare_splits(splits: Mapping[str, SegmentationDataset]) -> list[Problem]:
    """Classes that no training photo has, and validation photos that are trained with.

    Args:
        splits: ``train`` and perhaps ``val``.
    """
    problems = []
    train, val = splits.get("train"), splits.get("val")
    if train is not None:
        absent = [name for name, photos in count_labels(train).items() if not photos]
        told = "need photos of every class to train with, {!r} has none; add some or leave the class out"
        problems += [Problem("class without photos", name, told.format(name), "warning") for name in absent]
    if train is not None and val is not None:
        seen = set(_places(train))
        told = "need other photos to validate with than to train with, {} is in both; take it off one list"
        twice = [name for name, place in zip(val.names, _places(val), strict=True) if place in seen]
        problems += [Problem("in train and val", name, told.format(name), "warning") for name in twice]
    return problems


def _places(dataset: SegmentationDataset) -> list[str | Path]:
    """What tells two photos apart: their files, else their names."""
    if isinstance(dataset, PhotoFiles):
        return [dataset.photo_path(index) for index in range(len(dataset))]
    return list(dataset.names)


def count_labels(dataset: SegmentationDataset) -> dict[str, int]:
    """Photos of each class."""
    return dict(zip(dataset.class_names, dataset.image_labels.sum(axis=0, dtype=int).tolist(), strict=True))
