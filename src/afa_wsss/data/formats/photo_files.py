"""What data sets of files share: a photo, perhaps a mask, and a row of image labels for each name."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from afa_wsss.data.base import FilePath, Labels, Mask, Palette, Sample
from afa_wsss.data.checks.problems import Problem, Report, refuse
from afa_wsss.data.files.lists import is_file, refuse_missing
from afa_wsss.data.files.parallel import overlapped
from afa_wsss.data.files.photos import TURNS, Glance, fit_mask, glance, glance_at_mask, read_mask, read_photo
from afa_wsss.errors import UserError

PART = 64
"""Files that are looked at in one go."""


class _Unfit(NamedTuple):
    """Files that training would fail on."""

    missing_photos: list[FilePath]
    missing_masks: list[FilePath]
    problems: list[Problem]


class PhotoFiles(ABC):
    """Photos of one split, on disk. A data set derives from it and says where its files lie.

    Attributes:
        class_names: Foreground classes in the order of their mask values from 1.
        palette: (k + 1, 3) colours, background first.
        names: Of the photos, unique.
        source: The file or folder that lists them, for messages.
        with_masks: Whether samples hold masks, where there are any.
        mask_advice: How masks are made where wanted ones are missing; None where a split may have none.
        report: Is told what is wrong with lists and labels; raises unless told otherwise.
    """

    class_names: tuple[str, ...]
    palette: Palette
    names: Sequence[str]
    source: Path
    with_masks: bool = False
    mask_advice: str | None = None
    report: Report = staticmethod(refuse)

    @property
    @abstractmethod
    def image_labels(self) -> Labels:
        """(N, k) multi-hot, a byte each."""

    @abstractmethod
    def photo_path(self, index: int) -> FilePath:
        """Where a photo lies."""

    def mask_path(self, index: int) -> FilePath | None:
        """Where its mask lies, or would; None where the data set has no place for masks."""
        del index
        return None

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.names)

    @cached_property
    def has_masks(self) -> bool:
        """Whether masks are wanted and any photo has one; a split without any is told of, and served without.

        Raises:
            UserError: Where there are none and it is known how to make them.
        """
        if not self.with_masks:
            return False
        paths = map(self.mask_path, range(len(self)))
        if any(path is not None and is_file(path) for path in paths):
            return True
        if self.mask_advice is not None:
            first = self.mask_path(0)
            raise UserError(f"need masks of the photos of {self.source}, found none as {first}; {self.mask_advice}")
        told = "no photo of %s has a mask: pixels are not scored"
        logging.getLogger(__name__).info(told, self.source)
        return False

    def count_masks(self) -> int:
        """Photos with a mask, wanted or not."""
        paths = (self.mask_path(index) for index in range(len(self)))
        return sum(path is not None and is_file(path) for path in paths)

    @property
    def needs_masks(self) -> bool:
        """Whether every photo must have its mask."""
        return self.has_masks

    def sample(self, index: int) -> Sample:
        """Reads one photo, and its mask where masks are wanted and there.

        Raises:
            UserError: Where a file is missing, cannot be decoded or does not fit the other.
        """
        path = self.photo_path(index)
        image, mask = read_photo(path), self.mask(index) if self.has_masks else None
        if mask is not None:
            mask = fit_mask(self.names[index], image, mask, path)
        return Sample(image, self.image_labels[index].astype(np.float32), mask, self.names[index])

    def mask(self, index: int) -> Mask | None:
        """Reads one mask; None where the data set has no place for masks."""
        path = self.mask_path(index)
        return None if path is None else read_mask(path, len(self.class_names) + 1)

    def check_files(self) -> None:
        """Looks at the beginning and the end of each file, a second for some ten thousand.

        Raises:
            UserError: Where a listed photo is missing, empty, cut off or too large, or a mask that is wanted is missing
                or of another size than its photo.
        """
        indices, found = range(len(self)), _Unfit([], [], [])
        parts = (indices[start : start + PART] for start in indices[::PART])
        for unfit in overlapped(partial(self._look, with_masks=self.needs_masks), parts):
            found.missing_photos.extend(unfit.missing_photos)
            found.missing_masks.extend(unfit.missing_masks)
            found.problems.extend(unfit.problems)
        refuse_missing(found.missing_photos, len(self), kind="photo", source=self.source)
        refuse_missing(found.missing_masks, len(self), kind="mask", source=self.source)
        refuse(found.problems)

    def _look(self, indices: Iterable[int], *, with_masks: bool) -> _Unfit:
        found = _Unfit([], [], [])
        for index in indices:
            photo, mask = self.photo_path(index), self.mask_path(index) if with_masks else None
            if not is_file(photo):
                found.missing_photos.append(photo)
            elif mask is not None and not is_file(mask):
                found.missing_masks.append(mask)
            else:
                try:
                    seen = glance(photo)
                    if mask is not None:
                        _check_mask_size(self.names[index], mask, seen)
                except UserError as error:
                    found.problems.append(Problem("unfit file", self.names[index], str(error)))
        return found


def _check_mask_size(name: str, path: FilePath, photo: Glance) -> None:
    found = glance_at_mask(path)
    size = photo.size
    if found != size and not (found == size[::-1] and photo.orientation in TURNS):
        raise UserError(
            f"need a mask of its photo's size, {name} has a photo of {size[0]}x{size[1]} and a mask of "
            f"{found[0]}x{found[1]}; mend one of them"
        )
