"""Photos of more than 8 bits: which they are, their values, and the range that a file declares."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Num
from PIL import Image

from afa_wsss.data.base import FilePath
from afa_wsss.data.files.orientation import upright
from afa_wsss.errors import UserError

Range = tuple[float, float]
"""The values that become black and white."""

SIXTEEN, INTEGERS, FLOATS = "16 bits", "32-bit integers", "floats"
"""Kinds of values; files of one kind share a range."""

USUAL_BITS = (10, 11, 12, 13, 14, 15)
"""Bits of cameras that store their values in 16."""

BITS_PER_SAMPLE, PHOTOMETRIC, MAX_SAMPLE_VALUE = 258, 262, 281
"""Tags of a TIFF."""

GDAL_NO_DATA = 42113
"""Tag of a TIFF: the value, as text, that stands for none."""

WHITE_IS_ZERO = 0
"""Value of ``PHOTOMETRIC``."""

PNG_HEAD = 33
"""Bytes of a PNG's signature and first chunk."""

CODESTREAM = b"\xff\x4f\xff\x51"
"""First bytes of JPEG 2000's pixels and their sizes."""

COMPONENTS = 40
"""Place of the number of components after the start of ``CODESTREAM``; three bytes for each follow, first its bits."""


class DeepPhoto(NamedTuple):
    """A photo of more than 8 bits.

    Attributes:
        values: (H, W) or (H, W, 3), upright.
        kind: ``16 bits``, ``32-bit integers`` or ``floats``.
        declared: The range that the file itself declares; None where it only says how wide its numbers are.
        missing: Share of the values that the file itself calls no data; they have the lowest of the others.
    """

    values: Num[np.ndarray, "H W ..."]
    kind: str
    declared: Range | None
    missing: float = 0.0


def is_deep(image: Image.Image) -> bool:
    """Whether an open picture has more than 8 bits per value; its pixels are not decoded."""
    return image.mode.startswith("I") or image.mode == "F" or has_deep_colors(image)


def has_deep_colors(image: Image.Image) -> bool:
    """Whether Pillow would keep only 8 of 16 bits: its modes of several channels have no more."""
    if image.mode not in ("RGB", "RGBA", "RGBX", "LA"):
        return False
    tiles = getattr(image, "tile", None) or ()
    if image.format == "JPEG2000":
        return bool(tiles) and _jpeg_2000_bits(image) > 8
    raw = next((tile[3] for tile in tiles), "")
    raw = raw[0] if isinstance(raw, tuple) and raw else raw
    return isinstance(raw, str) and ";16" in raw and image.format in ("PNG", "TIFF")


def deep_photo(name: FilePath, image: Image.Image) -> DeepPhoto:
    """The values of an open picture of more than 8 bits.

    Args:
        name: The file, for messages.
        image: As it was opened: a copy, also a rotated one, has lost what its file declares.

    Raises:
        UserError: For values that are no numbers (NaN) or infinite, colors that cannot be decoded, and no data at all.
    """
    declared_bits, colored = _declared_bits(image), has_deep_colors(image)
    # Pillow scales these to 16 bits by what the file declares.
    whole = image.format == "PPM" or (image.format == "JPEG2000" and declared_bits > 0 and not colored)
    values = _deep_colors(name, image) if colored else np.asarray(upright(image))
    values, missing = _filled(name, values, getattr(image, "tag_v2", {}).get(GDAL_NO_DATA))
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            share = f"{1 - np.isfinite(values).mean():.1%} of its values"
            raise UserError(f"need finite values in photos, {name} has NaN or infinity ({share}); replace them")
        return DeepPhoto(values, FLOATS, None, missing)
    highest = 65535 if whole else 2**declared_bits - 1 if declared_bits else 0
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = (highest or np.iinfo(values.dtype).max) - values
    declared = (0.0, float(highest)) if highest and values.min() >= 0 and values.max() <= highest else None
    sixteen = values.dtype.itemsize == 2 or whole
    return DeepPhoto(values, SIXTEEN if sixteen else INTEGERS, declared, missing)


def _filled(name: FilePath, values: Num[np.ndarray, "*s"], no_data: object) -> tuple[Num[np.ndarray, "*s"], float]:
    """The values with the lowest of the others in place of ``no_data``, and the share of those that had it."""
    try:
        number = float(str(no_data).strip(" \0"))
    except ValueError:
        return values, 0.0
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            number = float(values.dtype.type(number))
    missing = np.isnan(values) if np.isnan(number) else values == number
    if missing.all():
        message = f"need photos that show something, {name} has no data alone ({no_data}); replace it"
        raise UserError(message, kind="flat")
    if not missing.any():
        return values, 0.0
    return np.where(missing, values[~missing].min(), values), float(missing.mean())


def _declared_bits(image: Image.Image) -> int:
    """Bits that a file says its values have, where these are fewer than it stores; 0 where it says nothing."""
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        bits, highest = (int(np.max(tags.get(tag, 0))) for tag in (BITS_PER_SAMPLE, MAX_SAMPLE_VALUE))
        by_highest = next((usual for usual in USUAL_BITS if highest == 2**usual - 1), 0)
        return bits if 8 < bits < 16 else by_highest
    if image.format in ("PNG", "JPEG2000"):
        bits = _significant_bits(image) if image.format == "PNG" else _jpeg_2000_bits(image)
        return bits if 8 < bits < 16 else 0
    return 0


def _significant_bits(image: Image.Image) -> int:
    """The highest number of PNG's chunk ``sBIT``; 0 where there is none."""
    with _file_of(image) as png:
        png.seek(PNG_HEAD)
        while len(head := png.read(8)) == 8 and head[4:] != b"IDAT":
            length = int.from_bytes(head[:4], "big")
            if head[4:] == b"sBIT":
                return max(png.read(length), default=0)
            png.seek(length + 4, 1)
    return 0


def _jpeg_2000_bits(image: Image.Image) -> int:
    """The most bits of a component; 0 where the file does not say."""
    with _file_of(image) as file:
        _, found, sizes = file.read().partition(CODESTREAM)
    start = COMPONENTS - len(CODESTREAM)
    count = int.from_bytes(sizes[start : start + 2], "big") if found else 0
    return max(((byte & 127) + 1 for byte in sizes[start + 2 : start + 2 + 3 * count : 3]), default=0)


@contextmanager
def _file_of(image: Image.Image) -> Iterator[BinaryIO]:
    """The file of an open picture, from its start, left at the place where it was; an empty one for other images."""
    file = getattr(image, "fp", None)
    if file is None or file.closed:
        yield io.BytesIO()
        return
    place = file.tell()
    file.seek(0)
    try:
        yield file
    finally:
        file.seek(place)


def _deep_colors(name: FilePath, image: Image.Image) -> Num[np.ndarray, "H W 3"]:
    """16-bit colors by OpenCV, in the order of RGB, upright, without transparency; it makes TIFFs upright itself."""
    import cv2  # only here: checking other data must not import it

    with _file_of(image) as file:
        content = np.frombuffer(file.read(), dtype=np.uint8)
    pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise UserError(f"need a photo of 16 bits that can be decoded, got {name}; save it again as PNG")
    if pixels.ndim == 3:
        pixels = pixels[..., 2::-1] if pixels.shape[2] > 2 else pixels[..., 0]
    return pixels if image.format == "TIFF" else _upright(pixels, image.getexif().get(0x0112, 1))


def _upright(pixels: Num[np.ndarray, "h w ..."], orientation: int) -> Num[np.ndarray, "H W ..."]:
    """Pixels as EXIF's orientation, 1 to 8, says they are meant."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
