"""Decodes every photo and mask of a split and lists all that is wrong or unusual."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from afa_wsss.data.base import FilePath, Photo, SegmentationDataset, Streamed
from afa_wsss.data.checks.mask_labels import Shown, compare_all, compare_with_labels
from afa_wsss.data.checks.problems import Level, Problem, raise_first
from afa_wsss.data.contract import read_sample
from afa_wsss.data.files.deep_photos import DeepPhoto, Range
from afa_wsss.data.files.headers import PhotoHeader, read_header
from afa_wsss.data.files.lists import is_file
from afa_wsss.data.files.mask_turns import read_drawn_on, turn_problem
from afa_wsss.data.files.parallel import Progress, process_map, thread_map
from afa_wsss.data.files.photos import PhotoTraits, read_photo, read_traits
from afa_wsss.data.files.value_range import extremes_of
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
    "LAB": "Lab",
    "YCbCr": "YCbCr",
    "HSV": "HSV",
}
"""Pillow's modes of 8 bits that are converted to RGB, in words."""

TRANSPARENT = ("grayscale with transparency", "RGB with transparency")
"""Modes, in words, that say so themselves."""

PHOTO_PROBLEMS = {
    "missing": "photo missing",
    "empty": "photo empty",
    "too_large": "photo too large",
    "flat": "photo black or white",
}
"""Kinds of problems by the kind of the error; every other error is ``photo unreadable``."""

MASK_PROBLEMS = {"missing": "mask missing", "size_mismatch": "mask of another size"}
"""Kinds of problems by the kind of the error; every other error is ``mask unusable``."""


MOST_MASKS = 32
"""Masks that stand for those of all before training."""


class Checked(NamedTuple):
    """What was found in one photo and its mask.

    Attributes:
        problems: What is wrong or unusual.
        shown: What a mask that fits shows; None where there is none.
    """

    problems: list[Problem]
    shown: Shown | None = None


def check_photos(dataset: SegmentationDataset, *, workers: int, progress: Progress = iter) -> Iterator[Problem]:
    """Decodes every photo, and every mask that exists, and compares masks with labels.

    Args:
        dataset: One split, its lists and labels already read.
        workers: Number of processes that decode.
        progress: Wraps the photos as they are done.

    Yields:
        What is wrong, photo by photo, and then with all masks together.
    """
    if not isinstance(dataset, PhotoFiles):
        yield from _check_samples(dataset, workers=workers, progress=progress)
        return
    _ = dataset.shared_range.used, dataset.mask_form, dataset.masks_drawn_on  # found once, not in each process
    masks = []
    for checked in progress(process_map(partial(check_photo, dataset), range(len(dataset)), workers=workers)):
        yield from checked.problems
        if checked.shown is not None:
            masks.append(checked.shown)
    yield from compare_all(masks, dataset.class_names)


def check_photo(dataset: PhotoFiles, index: int) -> Checked:
    """What is wrong with a photo and its mask, and notes on what is unusual and handled."""
    name, path = dataset.names[index], dataset.photo_path(index)
    deep: list[Problem] = []

    def range_of(photo: DeepPhoto) -> Range:
        value_range = dataset.shared_range(photo)
        deep.extend(_notes_of_values(name, path, photo, value_range))
        outlying = dataset.shared_range.outlying(extremes_of(path, photo))
        deep.extend([] if outlying is None else [outlying._replace(name=name)])
        return value_range

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's on damaged EXIF; the pixels are checked below
            header, traits = read_header(path), read_traits(path)
            image = read_photo(path, range_of)
    except UserError as error:
        return Checked([Problem(PHOTO_PROBLEMS.get(error.kind, "photo unreadable"), name, str(error))])
    problems = [*deep, *_notes(name, path, header, traits, deep=bool(deep))]
    if not deep and image.min() == image.max() and image.flat[0] in (0, 255):
        color = "white" if image.flat[0] else "black"
        message = f"need photos that show something, {path} is {color} all over; replace it or take it off the list"
        problems.append(Problem(f"photo {color}", name, message, "warning"))
    of_mask = _check_mask(dataset, index, image)
    return Checked([*problems, *of_mask.problems], of_mask.shown)


def _notes_of_values(name: str, path: FilePath, photo: DeepPhoto, value_range: Range) -> Iterator[Problem]:
    """How the values of a photo of more than 8 bits are read."""
    low, high = value_range
    message = f"{path} has 16 bits or more; {low:g} becomes black and {high:g} white of 8-bit RGB"
    yield Problem("16 bits or more", name, message, "note")
    if photo.missing:
        message = f"{path} has no data in {photo.missing:.1%} of its values; they are as dark as its darkest"
        yield Problem("no data", name, message, "note")


def _notes(name: str, path: FilePath, header: PhotoHeader, traits: PhotoTraits, *, deep: bool) -> list[Problem]:
    """What is unusual in a photo and handled."""
    found = {}
    mode = None if deep else MODES.get(header.mode)
    if mode is not None:
        found[mode] = f"is {mode}; it is read as 8-bit RGB"
    if traits.transparent and mode not in TRANSPARENT:
        found["transparency"] = "has transparency; it is left out"
    if traits.frames > 1:
        found["several frames"] = f"has {traits.frames} pages or frames; the first is read"
    if header.orientation != 1:
        found["rotated by EXIF"] = "is rotated by its EXIF; it is read upright"
    return [Problem(kind, name, f"{path} {what}", "note") for kind, what in found.items()]


def _check_mask(dataset: PhotoFiles, index: int, image: Photo) -> Checked:
    """What is wrong with a mask: an error where masks are needed, a warning where one exists all the same."""
    name, path = dataset.names[index], dataset.mask_path(index)
    level: Level = "error" if dataset.needs_masks else "warning"
    if path is None or (level == "warning" and not is_file(path)):
        return Checked([])
    try:
        mask = dataset.upright_mask(index, image)
        if mask is None:
            return Checked([])
        either = read_drawn_on((dataset.photo_path(index), path)) == "either"
    except UserError as error:
        return Checked([Problem(MASK_PROBLEMS.get(error.kind, "mask unusable"), name, str(error), level)])
    labels = frozenset((np.flatnonzero(dataset.image_labels[index]) + 1).tolist())
    shown = Shown(name, frozenset(np.flatnonzero(np.bincount(mask.ravel())).tolist()), labels)
    problems = compare_with_labels(shown, path, dataset.class_names)
    if either:
        problems.append(turn_problem(name, (dataset.photo_path(index), path), dataset.masks_drawn_on))
    if (frames := read_traits(path).frames) > 1:
        message = f"{path} has {frames} pages or frames; the first is read"
        problems.append(Problem("several frames", name, message, "note"))
    return Checked(problems, shown)


def check_some_masks(dataset: SegmentationDataset, most: int = MOST_MASKS) -> list[Problem]:
    """Compares some masks with the labels of their photos, before a training that scores with all of them.

    Args:
        dataset: One split with its masks.
        most: How many are read, evenly spread.

    Returns:
        Warnings.

    Raises:
        UserError: Where a photo or a mask cannot be read that every photo must have.
    """
    if not isinstance(dataset, PhotoFiles) or not dataset.has_masks:
        return []
    everyone = range(len(dataset))
    masked = everyone if dataset.needs_masks else [*filter(dataset.mask_is_there, everyone)]
    chosen = [masked[place] for place in np.unique(np.linspace(0, len(masked) - 1, min(most, len(masked))).astype(int))]
    found = list(thread_map(partial(_read_mask, dataset), chosen))
    problems = [problem for checked in found for problem in checked.problems if problem.level != "note"]
    raise_first(problems)
    return [
        *problems,
        *compare_all([checked.shown for checked in found if checked.shown is not None], dataset.class_names),
    ]


def _read_mask(dataset: PhotoFiles, index: int) -> Checked:
    return _check_mask(dataset, index, read_photo(dataset.photo_path(index), dataset.shared_range))


def _check_samples(dataset: SegmentationDataset, *, workers: int, progress: Progress) -> Iterator[Problem]:
    """What is wrong with a data set that has no files of photos; training leaves streamed samples out while it can."""
    streamed = isinstance(dataset, Streamed)
    try:
        dataset.check_files()
        yield from getattr(dataset, "warnings", ()) if streamed else ()
    except UserError as error:
        yield Problem("files unusable", str(getattr(dataset, "root", "all")), str(error))
    goes_on = True
    reasons = process_map(partial(_why_unusable, dataset), range(len(dataset)), workers=workers)
    for index, reason in enumerate(progress(reasons)):
        if reason is None:
            continue
        name = dataset.names[index] if dataset.names else str(index)
        yield Problem("photo unusable", name, reason, "warning" if streamed else "error")
        if isinstance(dataset, Streamed) and goes_on:
            try:
                dataset.usable(index)
            except UserError as error:
                goes_on = False
                yield Problem("no photo usable", name, str(error))


def _why_unusable(dataset: SegmentationDataset, index: int) -> str | None:
    try:
        read_sample(dataset, index)
    except UserError as error:
        return str(error)
    return None
