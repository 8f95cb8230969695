"""``PhotoFiles``: what data sets of files share. Each photo has a name, a path, a row of labels, perhaps a mask."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from afa_wsss.data.base import FilePath, Labels, Mask, Palette, Photo, Sample
from afa_wsss.data.checks.problems import Problem, Report, raise_first
from afa_wsss.data.files.headers import read_header
from afa_wsss.data.files.lists import is_file, raise_missing
from afa_wsss.data.files.mask_forms import MaskForm
from afa_wsss.data.files.mask_turns import Drawn, Pair, read_drawn_on, turn_problem, usually_drawn_on
from afa_wsss.data.files.masks import check_mask_size, fit_mask, read_mask
from afa_wsss.data.files.parallel import thread_map
from afa_wsss.data.files.photos import read_photo
from afa_wsss.data.files.shared_range import SharedRange
from afa_wsss.data.files.value_range import RangeSetting
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.errors import UserError

CHUNK = 64
"""Photos that the file check looks at in one go."""


class _Unusable(NamedTuple):
    """Files that training would fail on, and photos whose masks fit in both ways."""

    missing_photos: list[FilePath]
    missing_masks: list[FilePath]
    problems: list[Problem]
    either: list[int]


class PhotoFiles(ABC):
    """One split of a data set of photo files. A subclass says where the files are and which labels they have.

    Attributes:
        class_names: Foreground classes, in the order of their mask values from 1.
        palette: (k + 1, 3) RGB colors, background first; VOC's unless the subclass sets another.
        names: Names of the photos, unique.
        source: The file or folder that lists the photos, for messages.
        with_masks: Whether samples hold masks, where there are any.
        value_range: The values that become black and white in photos of more than 8 bits: (low, high), or ``auto`` for
            what each file declares, or else all files together use.
        mask_advice: What to do where masks are requested and none is there; None where a split may have none.
        report: Called with what is wrong with lists and labels; raises by default.
        file_warnings: What is doubtful in the files, once ``check_files`` has looked at them.
    """

    class_names: tuple[str, ...]
    names: Sequence[str]
    source: Path
    with_masks: bool = False
    value_range: RangeSetting = "auto"
    mask_advice: str | None = None
    report: Report = staticmethod(raise_first)
    file_warnings: Sequence[Problem] = ()

    @cached_property
    def palette(self) -> Palette:
        """(k + 1, 3) RGB colors, background first."""
        return voc_palette(len(self.class_names) + 1)

    @property
    def facts(self) -> Sequence[tuple[str, str]]:
        """What was understood of the data, and how, for people: what and value."""
        return ()

    @property
    def warnings(self) -> Sequence[Problem]:
        """What is doubtful in lists and labels."""
        return ()

    @property
    @abstractmethod
    def image_labels(self) -> Labels:
        """(N, k) multi-hot, one byte per label."""

    @abstractmethod
    def photo_path(self, index: int) -> FilePath:
        """Path of a photo."""

    def mask_path(self, index: int) -> FilePath | None:
        """Path of the photo's mask, whether or not it exists; None where the data set has no place for masks."""
        del index
        return None

    def mask_is_there(self, index: int) -> bool:
        """Whether a photo has a mask, whether or not masks are requested."""
        path = self.mask_path(index)
        return path is not None and is_file(path)

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.names)

    @cached_property
    def has_masks(self) -> bool:
        """Whether masks are requested and at least one photo has one. A split without any is logged.

        Raises:
            UserError: Where there is none and ``mask_advice`` says how to make them.
        """
        if not self.with_masks:
            return False
        if any(map(self.mask_is_there, range(len(self)))):
            return True
        if self.mask_advice is not None:
            first = self.mask_path(0)
            raise UserError(f"need masks for the photos of {self.source}, found none at {first}; {self.mask_advice}")
        logging.getLogger(__name__).info("no photo of %s has a mask: pixels are not scored", self.source)
        return False

    def count_masks(self) -> int:
        """Number of photos with a mask, whether or not masks are requested."""
        return sum(map(self.mask_is_there, range(len(self))))

    @cached_property
    def mask_form(self) -> MaskForm | None:
        """What the values or colors of masks mean; None for ids from 0 to k, and 255."""
        return None

    @property
    def needs_masks(self) -> bool:
        """Whether every photo must have a mask."""
        return self.has_masks

    def sample(self, index: int) -> Sample:
        """Reads one photo, and its mask where masks are requested and available.

        Raises:
            UserError: Where a file is missing, cannot be decoded, or photo and mask differ in size.
        """
        image = read_photo(self.photo_path(index), self.shared_range)
        mask = self.upright_mask(index, image) if self.has_masks else None
        return Sample(image, self.image_labels[index].astype(np.float32), mask, self.names[index])

    @cached_property
    def shared_range(self) -> SharedRange:
        """Gives the range of values of photos of more than 8 bits."""
        return SharedRange(self.value_range, self.all_photos)

    def all_photos(self) -> Iterator[FilePath]:
        """The photos that share a range of values: those of this split, unless a subclass knows the others too."""
        return map(self.photo_path, range(len(self)))

    def upright_mask(self, index: int, image: Photo) -> Mask | None:
        """Reads the mask of an upright photo, turned where it is drawn on the photo as stored; None as for ``mask``.

        Raises:
            UserError: As ``sample``.
        """
        mask, photo, path = self.mask(index), self.photo_path(index), self.mask_path(index)
        if mask is None:
            return None
        either = path is not None and read_drawn_on((photo, path)) == "either"
        return fit_mask(self.names[index], image, mask, photo, stored=either and self.masks_drawn_on == "stored")

    @cached_property
    def masks_drawn_on(self) -> Drawn:
        """What the masks of photos that EXIF turns are drawn on, by those whose sizes tell."""
        return usually_drawn_on(self.all_pairs())

    def all_pairs(self) -> Iterator[Pair]:
        """Photos that have a mask, and their masks: those of this split, unless a subclass knows the others too."""
        pairs = ((self.photo_path(index), self.mask_path(index)) for index in range(len(self)))
        return ((photo, mask) for photo, mask in pairs if mask is not None and is_file(mask))

    def mask(self, index: int) -> Mask | None:
        """Reads one mask as it is stored; None where the data set has no place for masks."""
        path = self.mask_path(index)
        return None if path is None else read_mask(path, len(self.class_names) + 1, form=self.mask_form)

    def check_files(self) -> None:
        """Checks the first and last bytes of every file: about a second for ten thousand.

        Raises:
            UserError: Where a listed photo is missing, empty, truncated or too large, or a mask that is needed is
                missing or of another size than its photo; for photos of more than 8 bits that come out black or white,
                and masks of a form that does not tell classes apart.
        """
        indices, found = range(len(self)), _Unusable([], [], [], [])
        chunks = (indices[start : start + CHUNK] for start in indices[::CHUNK])
        for unusable in thread_map(partial(self._check_chunk, with_masks=self.needs_masks), chunks):
            found.missing_photos.extend(unusable.missing_photos)
            found.missing_masks.extend(unusable.missing_masks)
            found.problems.extend(unusable.problems)
            found.either.extend(unusable.either)
        raise_missing(found.missing_photos, len(self), what="photo", source=self.source)
        raise_missing(found.missing_masks, len(self), what="mask", source=self.source)
        if self.needs_masks and self.mask_form is not None and self.mask_form.doubt:
            raise UserError(f"need masks whose values are classes for {self.source}: {self.mask_form.doubt}")
        if not found.problems:
            errors = self.shared_range.problems()
            found.problems.extend(Problem("file unusable", str(self.source), str(error)) for error in errors)
        raise_first(found.problems)
        turned = [one for one in map(self._turn_problem, found.either) if one.level == "warning"]
        self.file_warnings = [*turned, *self.shared_range.warnings()]

    def _turn_problem(self, index: int) -> Problem:
        pair = self.photo_path(index), self.mask_path(index) or ""
        return turn_problem(self.names[index], pair, self.masks_drawn_on)

    def _check_chunk(self, indices: Iterable[int], *, with_masks: bool) -> _Unusable:
        found = _Unusable([], [], [], [])
        for index in indices:
            photo, mask = self.photo_path(index), self.mask_path(index) if with_masks else None
            if not is_file(photo):
                found.missing_photos.append(photo)
            elif mask is not None and not is_file(mask):
                found.missing_masks.append(mask)
            else:
                try:
                    header = read_header(photo)
                    if mask is not None:
                        check_mask_size(self.names[index], mask, header, form=self.mask_form)
                        found.either.extend([index] * (read_drawn_on((photo, mask), header) == "either"))
                except UserError as error:
                    found.problems.append(Problem("file unusable", self.names[index], str(error)))
        return found
