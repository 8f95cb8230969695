"""What data sets of files share: a photo, perhaps a mask, and a row of image labels for each name."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from afa_wsss.data.base import Labels, Mask, Palette, Sample
from afa_wsss.data.lists import list_missing
from afa_wsss.data.photos import TURNS, Glance, fit_mask, glance, read_mask, read_photo
from afa_wsss.data.problems import Problem, Report, refuse
from afa_wsss.types import UserError

THREADS, PART = 4, 256
"""What hides the waiting for slow disks, and files that a thread takes at a time: more of either costs more than it
gains, as most of a glance is Python."""


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
    def photo_path(self, index: int) -> Path:
        """Where a photo lies."""

    def mask_path(self, index: int) -> Path | None:
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
        if any(path is not None and path.is_file() for path in paths):
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
        return sum(path is not None and path.is_file() for path in paths)

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
        """Looks at the beginning and the end of each file, a second or two for ten thousand.

        Raises:
            UserError: Where a listed photo is missing, empty, cut off or too large, or a mask that is wanted is missing
                or of another size than its photo.
        """
        indices = range(len(self))
        list_missing(map(self.photo_path, indices), kind="photo", source=self.source)
        if self.needs_masks:
            masks = (path for path in map(self.mask_path, indices) if path is not None)
            list_missing(masks, kind="mask", source=self.source)
        parts = [indices[start : start + PART] for start in range(0, len(self), PART)]
        with ThreadPoolExecutor(THREADS) as pool:
            refuse([problem for problems in pool.map(self._glanced_all, parts) for problem in problems])

    def _glanced_all(self, indices: Iterable[int]) -> list[Problem]:
        return [problem for index in indices if (problem := self._glanced(index)) is not None]

    def _glanced(self, index: int) -> Problem | None:
        name = self.names[index]
        try:
            photo, path = glance(self.photo_path(index)), self.mask_path(index)
            if self.needs_masks and path is not None:
                _check_mask_size(name, path, photo)
        except UserError as error:
            return Problem("unfit file", name, str(error))
        return None


def _check_mask_size(name: str, path: Path, photo: Glance) -> None:
    try:
        with Image.open(path) as mask:
            found = mask.size
    except (OSError, ValueError) as error:
        raise UserError(f"need a mask that can be decoded, {path} cannot ({error}); replace it") from error
    size = photo.size
    if found != size and not (found == size[::-1] and photo.orientation in TURNS):
        raise UserError(
            f"need a mask of its photo's size, {name} has a photo of {size[0]}x{size[1]} and a mask of "
            f"{found[0]}x{found[1]}; mend one of them"
        )
