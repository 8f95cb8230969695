"""What a mask stores, before anything says which class a value or a color stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from afa_wsss.data.base import FilePath
from afa_wsss.errors import UserError

IntegerMask = Int[np.ndarray, "H W"] | UInt8[np.ndarray, "H W"]

Color = tuple[int, int, int]


def pack(color: Color) -> int:
    """One number for an RGB color.

    Example:
        >>> pack((1, 0, 2)), unpack(65538)
        (65538, (1, 0, 2))
    """
    red, green, blue = color
    return red << 16 | green << 8 | blue


def unpack(color: int) -> Color:
    """The RGB color of a number made by ``pack``."""
    return color >> 16, color >> 8 & 255, color & 255


GRAYS = np.arange(256, dtype=np.int32) * pack((1, 1, 1))
"""(256,) packed colors of gray values."""


class StoredMask(NamedTuple):
    """A mask as stored.

    Attributes:
        values: (H, W) gray values or indices of a palette, at least 0; None where pixels have real colors.
        packed: (H, W) packed RGB colors; None where the mask has none, or only grays.
        palette: (256,) packed color of each value; None where values may exceed 255.
        bits: Whether a pixel has one bit.
    """

    values: IntegerMask | None
    packed: Int[np.ndarray, "H W"] | None
    palette: Int[np.ndarray, "256"] | None
    bits: bool = False

    @property
    def colors(self) -> IntegerMask | None:
        """(H, W) packed RGB colors; None where values may exceed 255."""
        if self.packed is not None or self.values is None or self.palette is None:
            return self.packed
        return self.palette[self.values]


class MaskContent(NamedTuple):
    """Which values and colors a mask holds, and how many pixels of each.

    Attributes:
        values: Pixels by value; None where pixels have real colors.
        colors: Pixels by packed color; None where values may exceed 255.
        index_of: For a palette with real colors, the index of each used color; empty otherwise.
        bits: Whether a pixel has one bit.
    """

    values: Mapping[int, int] | None
    colors: Mapping[int, int] | None
    index_of: Mapping[int, int]
    bits: bool


def stored_mask(path: FilePath, image: Image.Image) -> StoredMask:
    """The values and colors of an open mask; where alpha is 0, a pixel is black.

    Raises:
        UserError: For a mode that has neither ids nor colors, such as CMYK, and for numbers that are no ids.
    """
    mode = image.mode
    if mode in ("RGB", "RGBA", "RGBX"):
        return _of_colors(np.asarray(image))
    if mode in ("P", "PA"):
        pixels = np.asarray(image)
        return StoredMask(pixels if pixels.ndim == 2 else pixels[..., 0], None, _palette_of(image))
    if mode == "1":
        return StoredMask(np.asarray(image).astype(np.uint8), None, GRAYS * 255, bits=True)
    if mode == "L":
        return StoredMask(np.asarray(image), None, GRAYS)
    if mode == "LA":
        pixels = np.asarray(image)
        return StoredMask(np.where(pixels[..., 1] == 0, np.uint8(0), pixels[..., 0]), None, GRAYS)
    if mode == "F" or mode.startswith("I"):
        return StoredMask(_whole_numbers(path, np.asarray(image)), None, None)
    raise UserError(
        f"need a mask with a class id or a color for each pixel, {path} has mode {mode}; save it as grayscale, palette "
        "or RGB"
    )


def content_of(stored: StoredMask) -> MaskContent:
    """Counts the pixels of each value and color."""
    if stored.values is None:
        return MaskContent(None, None if stored.packed is None else count_values(stored.packed), {}, stored.bits)
    values = count_values(stored.values)
    if stored.palette is None:
        return MaskContent(values, None, {}, stored.bits)
    colors: dict[int, int] = {}
    index_of: dict[int, int] = {}
    for value, pixels in values.items():
        color = int(stored.palette[value])
        colors[color] = colors.get(color, 0) + pixels
        index_of.setdefault(color, value)
    grayscale = stored.bits or all(color == GRAYS[value] for color, value in index_of.items())
    return MaskContent(values, colors, {} if grayscale else index_of, stored.bits)


def count_values(pixels: IntegerMask) -> dict[int, int]:
    """Number of pixels by value."""
    if pixels.dtype == np.uint8:
        counts = np.bincount(pixels.ravel(), minlength=256)
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, counts = np.unique(pixels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _of_colors(pixels: UInt8[np.ndarray, "H W c"]) -> StoredMask:
    if pixels.shape[2] == 4:
        pixels = np.where(pixels[..., 3:] == 0, np.uint8(0), pixels)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if (red == green).all() and (green == blue).all():
        return StoredMask(red, None, GRAYS)
    red, green, blue = (channel.astype(np.int32) for channel in (red, green, blue))
    return StoredMask(None, red << 16 | green << 8 | blue, None)


def _palette_of(image: Image.Image) -> Int[np.ndarray, "256"]:
    colors = np.zeros((256, 3), dtype=np.int32)
    listed = np.asarray(image.getpalette() or [], dtype=np.int32).reshape(-1, 3)[:256]
    colors[: len(listed)] = listed
    return colors[:, 0] << 16 | colors[:, 1] << 8 | colors[:, 2]


def _whole_numbers(path: FilePath, values: np.ndarray) -> Int[np.ndarray, "H W"]:
    """Values of more than 8 bits as integers; the highest of 16 bits stands for 255.

    Raises:
        UserError: For fractions and numbers below 0.
    """
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise UserError(f"need whole numbers as class ids in masks, {path} has fractions; save it with 8 bits")
    if values.size and values.min() < 0:
        raise UserError(f"need class ids of at least 0 in masks, {path} has {int(values.min())}; fix the mask")
    whole = values.astype(np.int64)
    return np.where(whole == 65535, 255, whole)
