"""Photos of more than 8 bits: the range of values that becomes 0 to 255."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Num, UInt8

from afa_wsss.data.base import FilePath, Photo
from afa_wsss.data.files.deep_photos import FLOATS, INTEGERS, SIXTEEN, DeepPhoto, Range
from afa_wsss.errors import UserError

RangeSetting = str | Sequence[float] | Mapping[str, Sequence[float]]
"""``auto``, one range, or one for each kind of values, as a checkpoint stores what its data set's files use."""

FLAT = 2
"""Of 255: how far from black or white all pixels of a photo are that shows nothing."""

STORED_BITS = (8, 10, 12, 14, 16)
"""Bits that a photo of 16 bits alone is taken to have: the fewest that hold its values."""


FAR = 10
"""A value is far from all others where the range with it is so many times as wide as without it."""


class Extremes(NamedTuple):
    """The lowest and the highest value of a photo of more than 8 bits.

    Attributes:
        path: Its file.
        kind: As in ``DeepPhoto``.
        declared: As in ``DeepPhoto``.
        low: Lowest value.
        high: Highest value.
        usual: Lowest and highest value without one that is far from all others, see ``usual_values``.
    """

    path: FilePath
    kind: str
    declared: Range | None
    low: float
    high: float
    usual: Range


FindRange = Callable[[DeepPhoto], Range]
"""Gives the range of a photo's values."""


def check_range(setting: object) -> str | Range | dict[str, Range]:
    """A setting as ``RangeSetting``: ``auto``, ``[low, high]``, or ranges by kind.

    Raises:
        UserError: For anything else, and where low < high does not hold.
    """
    if setting == "auto":
        return "auto"
    if isinstance(setting, Mapping) and setting.keys() <= {SIXTEEN, INTEGERS, FLOATS}:
        return {str(kind): _checked(one) for kind, one in setting.items()}
    return _checked(setting)


def _checked(setting: object) -> Range:
    values = list(setting) if isinstance(setting, Sequence) and not isinstance(setting, str) else []
    numbers = [float(one) for one in values if isinstance(one, int | float) and math.isfinite(one)]
    if len(numbers) != 2 or len(values) != 2 or not numbers[0] < numbers[1]:
        raise UserError(
            f"need value_range as auto or [low, high] with low < high, got {setting}", arguments=("value_range",)
        )
    return numbers[0], numbers[1]


def own_range(photo: DeepPhoto) -> Range:
    """The range that a photo declares; else the bits that its values need, so that a dark photo stays dark."""
    return photo.declared or _needed(photo.kind, *usual_values(photo.values))


def extremes_of(path: FilePath, photo: DeepPhoto) -> Extremes:
    """The lowest and the highest value of a photo."""
    low, high = float(photo.values.min()), float(photo.values.max())
    return Extremes(path, photo.kind, photo.declared, low, high, usual_values(photo.values))


def usual_values(values: Num[np.ndarray, "..."]) -> Range:
    """Lowest and highest value, but for a single one that is far from all others, as -9999 for no data is.

    Example:
        >>> usual_values(np.array([-9999.0, 0.2, 0.7, -9999.0])), usual_values(np.array([0, 7, 9]))
        ((0.2, 0.7), (0.0, 9.0))
    """
    low, high = float(values.min()), float(values.max())
    for far in (low, high):
        rest = values[values != far]
        if rest.size and 0 < FAR * (float(rest.max()) - float(rest.min())) < high - low:
            return float(rest.min()), float(rest.max())
    return low, high


def outlying(one: Extremes) -> str:
    """Which value of a photo is far from all others, as a warning; empty where none is."""
    (low, high), far = one.usual, one.low if one.low < one.usual[0] else one.high
    if (low, high) == (one.low, one.high):
        return ""
    return (
        f"need values near each other in photos of more than 8 bits, {one.path} has {far:g} far from its others "
        f"({low:g} to {high:g}), as for no data: it is clipped and sets no range; set data.value_range=[low,high] if "
        "it is a value"
    )


def used_ranges(found: Iterable[Extremes]) -> dict[str, Range]:
    """The range that photos use together, by kind; of a single photo, the bits that its values need."""
    by_kind: dict[str, list[Extremes]] = defaultdict(list)
    for one in found:
        by_kind[one.kind].append(one)
    return {kind: _used(photos) for kind, photos in by_kind.items()}


def _used(photos: Sequence[Extremes]) -> Range:
    """From 0 where the values come near it, up to the highest; floats of 0 to 1 use all of it."""
    low, high = min(one.usual[0] for one in photos), max(one.usual[1] for one in photos)
    if len(photos) == 1 or (photos[0].kind == FLOATS and 0 <= low < high <= 1 < 2 * high):
        return _needed(photos[0].kind, low, high)
    return (low if low < 0 or high / 2 < low < high else 0.0), high


def _needed(kind: str, low: float, high: float) -> Range:
    """0 to the highest number of the bits that the values need; the values' own range where they lie far from 0."""
    if low < 0 or high / 2 < low < high:
        return low, high
    if kind == FLOATS:
        return 0.0, 1.0 if high <= 1 else high
    bits = next((bits for bits in STORED_BITS if high < 2**bits and kind == SIXTEEN), int(high).bit_length())
    return 0.0, float(2**bits - 1)


def scaled(path: FilePath, photo: DeepPhoto, value_range: Range) -> Photo:
    """A photo as 8-bit RGB: the range's low value becomes 0, its high value 255; what is outside is clipped.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: For a photo that comes out black or white all over; its kind is ``flat``.
    """
    pixels = _eight_bits(photo.values, value_range)
    lowest, highest = int(pixels.min()), int(pixels.max())
    if _is_flat(lowest, highest):
        raise flat_error(path, float(photo.values.min()), float(photo.values.max()), value_range)
    return np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else np.ascontiguousarray(pixels)


def _eight_bits(values: Num[np.ndarray, "..."], value_range: Range) -> UInt8[np.ndarray, "..."]:
    low, high = value_range
    share = (values.astype(np.float64) - low) / ((high - low) or 1.0)
    pixels: UInt8[np.ndarray, "..."] = np.rint(share.clip(0, 1) * 255).astype(np.uint8)
    return pixels


def _is_flat(lowest: int, highest: int) -> bool:
    """Whether a photo is black or white all over, as the eye sees it."""
    return highest <= FLAT or lowest >= 255 - FLAT


def flat_photos(found: Iterable[Extremes], range_of: FindRange) -> list[UserError]:
    """What ``scaled`` would raise, from the extremes alone."""
    errors = []
    for one in found:
        photo = DeepPhoto(np.array([[one.low, one.high]]), one.kind, one.declared)
        value_range = range_of(photo)
        lowest, highest = _eight_bits(photo.values, value_range)[0].tolist()
        if _is_flat(lowest, highest):
            errors.append(flat_error(one.path, one.low, one.high, value_range))
    return errors


def flat_error(path: FilePath, low: float, high: float, value_range: Range) -> UserError:
    """For a photo that is black or white all over."""
    white = low > (value_range[0] + value_range[1]) / 2
    return UserError(
        f"need photos that show something, {path} comes out {'white' if white else 'black'} all over: its values are "
        f"{low:g} to {high:g}, the range {value_range[0]:g} to {value_range[1]:g} becomes black to white; set "
        "data.value_range=[low,high] or replace the photo",
        kind="flat",
    )
