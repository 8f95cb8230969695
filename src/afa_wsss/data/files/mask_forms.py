"""What the stored values or colors of a data set's masks mean, and the class ids that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from afa_wsss.data.base import FilePath, Mask
from afa_wsss.data.files.mask_pixels import IntegerMask, MaskContent, StoredMask, count_values, unpack
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX


@dataclass(frozen=True)
class MaskForm:
    """What the stored values or colors of masks mean.

    Attributes:
        by: Whether ``table`` is looked up by value or by packed color.
        table: Class id of each value or color: background 0, classes from 1, 255 ignored.
        classes: Number of classes with background.
        says: What was understood, in a few words; empty for plain ids.
        doubt: Why masks cannot be read, as the end of an error; empty where they can.
    """

    by: Literal["values", "colors"]
    table: Mapping[int, int] = field(repr=False)
    classes: int
    says: str = ""
    doubt: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether a mask's values are its class ids."""
        return self.by == "values" and all(value == meaning for value, meaning in self.table.items())

    def stored(self, content: MaskContent) -> Mapping[int, int] | None:
        """Pixels of a mask by what the form looks at; None where the mask has nothing of the kind."""
        return content.values if self.by == "values" else content.colors

    def reads(self, content: MaskContent) -> bool:
        """Whether every pixel of a mask has a meaning."""
        stored = self.stored(content)
        return stored is not None and stored.keys() <= self.table.keys()

    def shown(self, content: MaskContent) -> set[int]:
        """Foreground classes that a mask shows."""
        return {self.table.get(value, IGNORE_INDEX) for value in self.stored(content) or {}} - {0, IGNORE_INDEX}


def id_form(classes: int) -> MaskForm:
    """Plain ids: the background is 0, classes count from 1, 255 is ignored.

    Args:
        classes: Number of classes with background.
    """
    return MaskForm("values", {**{value: value for value in range(classes)}, IGNORE_INDEX: IGNORE_INDEX}, classes)


def apply_form(path: FilePath, stored: StoredMask, form: MaskForm) -> Mask:
    """The class ids of a mask.

    Returns:
        (H, W) uint8.

    Raises:
        UserError: For a value or color without a meaning, named with its share of the pixels.
    """
    if form.doubt:
        raise UserError(f"need masks whose values are classes, got {path}: {form.doubt}")
    pixels = stored.values if form.by == "values" else stored.colors
    if pixels is None:
        raise _colored(path, form, stored)
    counts = count_values(pixels)
    unknown = {value: count for value, count in counts.items() if value not in form.table}
    if unknown:
        raise _unknown(path, form, unknown, pixels.size)
    found = np.array(list(counts))
    meanings = np.array([form.table[value] for value in counts], dtype=np.uint8)
    if np.array_equal(found, meanings):
        return pixels.astype(np.uint8, copy=False)
    return _looked_up(pixels, found, meanings)


def _looked_up(pixels: IntegerMask, found: np.ndarray, meanings: np.ndarray) -> Mask:
    """``meanings`` of the pixels, whose sorted values are ``found``."""
    if found[-1] < 256:
        table = np.zeros(256, dtype=np.uint8)
        table[found] = meanings
        return table[pixels]
    return meanings[np.searchsorted(found, pixels)]


def _colored(path: FilePath, form: MaskForm, stored: StoredMask) -> UserError:
    """For colors where ids are read, and for values above 255 where colors are."""
    if stored.packed is None:
        return UserError(f"need a mask in colors, as the others are, {path} has more than 8 bits; save it in colors")
    counts = count_values(stored.packed)
    color = max((color for color in counts if len(set(unpack(color))) > 1), key=counts.__getitem__)
    share = _share(counts[color], stored.packed.size) + _smoothed(len(counts), form)
    return UserError(
        f"need a palette or grayscale mask with one class id per pixel, or colors that classes.txt gives, {path} has "
        f"mode RGB and the color {unpack(color)} ({share}); add the colors to classes.txt, such as: cat 255 0 0"
    )


def _unknown(path: FilePath, form: MaskForm, unknown: Mapping[int, int], size: int) -> UserError:
    """For values or colors without a meaning: the most frequent, and the share of the pixels of all of them."""
    share = _share(sum(unknown.values()), size) + _smoothed(len(unknown), form)
    if form.is_plain:
        shown = ", ".join(map(str, list(unknown)[:10])) + (", ..." if len(unknown) > 10 else "")
        return UserError(
            f"need class ids of 0 to {form.classes - 1} or {IGNORE_INDEX} in masks, {path} holds [{shown}]; "
            f"fix the mask or the list of classes ({share})"
        )
    first = max(unknown, key=unknown.__getitem__)
    what = f"the color {unpack(first)}" if form.by == "colors" else f"the value {first}"
    others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    return UserError(
        f"need masks that fit the others ({form.says}), {path} has {what}{others} ({share}); fix the mask or the list "
        "of classes"
    )


def _share(pixels: int, size: int) -> str:
    share = pixels / size
    return f"{share:.1%} of its pixels" if share >= 0.001 else f"{pixels} of its pixels"


def _smoothed(count: int, form: MaskForm) -> str:
    """A guess at what went wrong where there are more unknown values than forgotten classes would explain."""
    if count < 2 or (form.is_plain and count <= 2 * form.classes + 4):
        return ""
    return ": edges may be smoothed or compressed; save masks as PNG without smoothing, resize them by nearest"
