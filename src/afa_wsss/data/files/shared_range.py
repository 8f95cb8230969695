"""The range of values that a data set's photos of more than 8 bits share, so that their brightness compares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np

from afa_wsss.data.base import FilePath
from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.files.deep_photos import DeepPhoto, Range
from afa_wsss.data.files.parallel import thread_map
from afa_wsss.data.files.photos import may_be_deep, read_extremes
from afa_wsss.data.files.value_range import (
    Extremes,
    RangeSetting,
    check_range,
    flat_photos,
    outlying,
    own_range,
    used_ranges,
)
from afa_wsss.errors import UserError

MEASURED = 2000
"""Photos of more than 8 bits that are decoded to find their range; with more, some are left out evenly."""


class SharedRange:
    """The ranges of photos: as set, else as a file declares, else as the files together use.

    Example:
        >>> SharedRange((0, 4095), list).setting
        (0.0, 4095.0)
    """

    def __init__(self, setting: RangeSetting, photos: Callable[[], Iterable[FilePath]]) -> None:
        """Reads nothing yet.

        Args:
            setting: ``auto``, one range, or ranges by kind of values.
            photos: Gives the files; called where a range is needed that neither the setting nor the file gives.

        Raises:
            UserError: For another setting.
        """
        self.setting, self._photos = check_range(setting), photos

    def __call__(self, photo: DeepPhoto) -> Range:
        """The range of a photo's values."""
        return self.given(photo) or self.used.get(photo.kind) or own_range(photo)

    def given(self, photo: DeepPhoto) -> Range | None:
        """The range of a photo's values that is set or that its file declares; None for neither."""
        if isinstance(self.setting, tuple):
            return self.setting
        fixed = {} if isinstance(self.setting, str) else self.setting
        return fixed.get(photo.kind) or photo.declared

    @cached_property
    def used(self) -> dict[str, Range]:
        """The ranges that the files use together, by kind of values; empty for photos of 8 bits."""
        return used_ranges(self._measured[0])

    def problems(self) -> list[UserError]:
        """Photos that come out black or white all over, or hold values that are no numbers."""
        found, errors = self._measured
        return [*errors, *flat_photos(found, self)]

    def warnings(self) -> list[Problem]:
        """Photos with a value far from all others, where their values give the range."""
        return [problem for one in self._measured[0] if (problem := self.outlying(one)) is not None]

    def outlying(self, one: Extremes) -> Problem | None:
        """A warning about a photo with a value far from all others; None where a range is set or declared."""
        if self.given(DeepPhoto(np.array([[one.low]]), one.kind, one.declared)) or not (message := outlying(one)):
            return None
        return Problem("value far from the others", str(one.path), message, "warning")

    def stored(self) -> RangeSetting:
        """The setting that gives other photos the same ranges: what a checkpoint keeps."""
        if self.setting != "auto" or not self.used:
            return self.setting
        return next(iter(self.used.values())) if len(self.used) == 1 else self.used

    @cached_property
    def _measured(self) -> tuple[list[Extremes], list[UserError]]:
        """Extremes of the photos of more than 8 bits, and what is wrong with those that cannot be measured."""
        deep = [path for path in self._photos() if may_be_deep(path)]
        found: list[Extremes] = []
        errors: list[UserError] = []
        for one in thread_map(_measure, deep[:: 1 + len(deep) // MEASURED]) if deep else ():
            if isinstance(one, Extremes):
                found.append(one)
            elif one is not None:
                errors.append(one)
        return found, errors


def range_in_use(dataset: object) -> RangeSetting:
    """The setting that gives other photos the ranges of a data set; ``auto`` for photos of 8 bits."""
    shared = getattr(dataset, "shared_range", None)
    return shared.stored() if isinstance(shared, SharedRange) else "auto"


def _measure(path: FilePath) -> Extremes | UserError | None:
    """Lowest and highest value of a photo, or what is wrong with it; None for 8 bits."""
    try:
        return read_extremes(path)
    except UserError as error:
        return error
