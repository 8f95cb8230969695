"""Finds everything that is wrong with a data set in one pass: each file decoded, lists and classes compared."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.problems import Level, Problem
from afa_wsss.data.files.lists import is_file
from afa_wsss.data.files.parallel import mapped
from afa_wsss.data.files.photos import fit_mask, glance, read_photo
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.errors import UserError

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
    """Decodes every photo, and every mask that is there.

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
    name, path = dataset.names[index], Path(dataset.photo_path(index))
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
    if seen.orientation != 1:
        problems.append(Problem("turned by EXIF", name, f"{path} is turned by its EXIF; it is read upright", "note"))
    return problems + _examine_mask(dataset, index, image)


def _examine_mask(dataset: PhotoFiles, index: int, image: np.ndarray) -> list[Problem]:
    """What is wrong with a mask: an error where it is wanted, a warning where it merely lies there."""
    name, path = dataset.names[index], dataset.mask_path(index)
    level: Level = "error" if dataset.needs_masks else "warning"
    if path is None or (not is_file(path) and level == "warning"):
        return []
    kind = "mask unfit" if is_file(path) else "mask missing"
    try:
        mask = dataset.mask(index)
        if mask is None:
            return []
        kind = "mask of another size"
        mask = fit_mask(name, image, mask, dataset.photo_path(index))
    except UserError as error:
        return [Problem(kind, name, str(error), level)]
    classes = np.flatnonzero(dataset.image_labels[index]) + 1
    if len(classes) and not np.isin(mask, classes).any():
        told = f"need a mask that shows a class of its photo, {path} shows none; mend the mask or the labels"
        return [Problem("mask without classes", name, told, "warning")]
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
    if val is not None:
        bare = [val.names[index] for index in np.flatnonzero(~val.image_labels.any(axis=1)).tolist()]
        told = "need the classes of a photo to score them, {} has none; label it unless it shows none"
        problems += [Problem("no class", name, told.format(name), "warning") for name in bare]
    if train is not None and val is not None:
        told = "need other photos to validate with than to train with, {} is there too{}; take it off one list"
        problems += [
            Problem("in train and val", name, told.format(name, place), "warning")
            for name, place in _shared_photos(train, val)
        ]
    return problems


def _shared_photos(train: SegmentationDataset, val: SegmentationDataset) -> Iterator[tuple[str, str]]:
    """Photos of ``val`` that are in ``train`` too: of the same place, or of the same content under another name."""
    if not (isinstance(train, PhotoFiles) and isinstance(val, PhotoFiles)):
        seen = set(train.names)
        yield from ((name, "") for name in val.names if name in seen)
        return
    trained = {Path(train.photo_path(index)) for index in range(len(train))}
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(trained):
        by_size[_size(path)].append(path)
    digests: dict[Path, bytes] = {}
    for index, name in enumerate(val.names):
        path = Path(val.photo_path(index))
        if path in trained:
            yield name, ""
            continue
        for other in by_size.get(_size(path), []) if _size(path) else []:
            if _digest(path, digests) == _digest(other, digests):
                yield name, f", as {other}"
                break


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path, known: dict[Path, bytes]) -> bytes:
    if path not in known:
        known[path] = hashlib.sha256(path.read_bytes()).digest()
    return known[path]


def count_labels(dataset: SegmentationDataset) -> dict[str, int]:
    """Photos of each class."""
    return dict(zip(dataset.class_names, dataset.image_labels.sum(axis=0, dtype=int).tolist(), strict=True))
