"""Decodes every photo and mask of a split and lists all that is wrong or unusual."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial

import numpy as np

from afa_wsss.data.base import Photo, SegmentationDataset
from afa_wsss.data.checks.problems import Level, Problem
from afa_wsss.data.files.headers import read_header
from afa_wsss.data.files.lists import is_file
from afa_wsss.data.files.masks import fit_mask
from afa_wsss.data.files.parallel import Progress, process_map
from afa_wsss.data.files.photos import read_photo
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.errors import UserError

MODES = {
    "L": "grayscale",
    "LA": "grayscale with transparency",
    "1": "black and white",
    "P": "palette",
    "CMYK": "CMYK",
    "YCCK": "CMYK",
    "RGBA": "RGB with transparency",
    "F": "floating point",
}
"""Pillow's modes that are converted to RGB, in words; modes that begin with I have 16 or 32 bits."""

PHOTO_PROBLEMS = {"missing": "photo missing", "empty": "photo empty", "too_large": "photo too large"}
"""Kinds of problems by the kind of the error; every other error is ``photo unreadable``."""

MASK_PROBLEMS = {"missing": "mask missing", "size_mismatch": "mask of another size"}
"""Kinds of problems by the kind of the error; every other error is ``mask unusable``."""


def check_photos(dataset: SegmentationDataset, *, workers: int, progress: Progress = iter) -> Iterator[Problem]:
    """Decodes every photo, and every mask that exists.

    Args:
        dataset: One split, its lists and labels already read.
        workers: Number of processes that decode.
        progress: Wraps the photos as they are done.

    Yields:
        What is wrong, photo by photo.
    """
    check = partial(check_photo, dataset) if isinstance(dataset, PhotoFiles) else partial(_check_sample, dataset)
    for problems in progress(process_map(check, range(len(dataset)), workers=workers)):
        yield from problems


def check_photo(dataset: PhotoFiles, index: int) -> list[Problem]:
    """What is wrong with a photo and its mask, and notes on what is unusual and handled."""
    name, path = dataset.names[index], dataset.photo_path(index)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's on damaged EXIF; the pixels are checked below
            header = read_header(path)
            image = read_photo(path)
    except UserError as error:
        return [Problem(PHOTO_PROBLEMS.get(error.kind, "photo unreadable"), name, str(error))]
    problems = []
    mode = "16 bits or more" if header.mode.startswith("I") else MODES.get(header.mode)
    if mode is not None:
        problems.append(Problem(mode, name, f"{path} is {mode}; it is read as 8-bit RGB", "note"))
    if header.orientation != 1:
        problems.append(Problem("rotated by EXIF", name, f"{path} is rotated by its EXIF; it is read upright", "note"))
    return problems + _check_mask(dataset, index, image)


def _check_mask(dataset: PhotoFiles, index: int, image: Photo) -> list[Problem]:
    """What is wrong with a mask: an error where masks are needed, a warning where one exists all the same."""
    name, path = dataset.names[index], dataset.mask_path(index)
    level: Level = "error" if dataset.needs_masks else "warning"
    if path is None or (level == "warning" and not is_file(path)):
        return []
    try:
        mask = dataset.mask(index)
        if mask is None:
            return []
        mask = fit_mask(name, image, mask, dataset.photo_path(index))
    except UserError as error:
        return [Problem(MASK_PROBLEMS.get(error.kind, "mask unusable"), name, str(error), level)]
    classes = np.flatnonzero(dataset.image_labels[index]) + 1
    if len(classes) and not np.isin(mask, classes).any():
        message = f"need a mask that shows a class of its photo, {path} shows none; fix the mask or the labels"
        return [Problem("mask without classes", name, message, "warning")]
    return []


def _check_sample(dataset: SegmentationDataset, index: int) -> list[Problem]:
    """What is wrong with a photo of a data set that has no files."""
    try:
        dataset.sample(index)
    except UserError as error:
        return [Problem("photo unusable", dataset.names[index], str(error))]
    return []
