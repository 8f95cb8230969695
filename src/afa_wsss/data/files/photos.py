"""Which files are photos, and reading them as RGB, whatever their format, mode and EXIF orientation."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from posixpath import normpath
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from afa_wsss.data.base import FilePath, Photo
from afa_wsss.data.files.deep_photos import deep_photo, is_deep
from afa_wsss.data.files.orientation import upright
from afa_wsss.data.files.picture_types import (
    ADVICE,
    HEAD,
    is_readable,
    kind_of_bytes,
    kind_of_file,
    picture_suffixes,
    reads_heic,
)
from afa_wsss.data.files.value_range import Extremes, FindRange, extremes_of, own_range, scaled
from afa_wsss.errors import UserError

PHOTO_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".gif",
    ".jp2",
    ".ppm",
    ".pgm",
)
"""Usual suffixes of photos, in lower or upper case: such a file is a photo, or is refused by name."""

PNG_BIT_DEPTH = 24
"""Place of the bits per value in a PNG."""

RUN_FOLDERS = ("outputs", "multirun")
"""Folders that commands write to: pictures in them are results, not photos."""

MAX_PIXELS = 80_000_000
"""Larger photos are refused: a file of a few kilobytes can decompress to gigabytes."""

PILLOW_ERRORS = (
    *(OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError),
    *(EOFError, LookupError, TypeError),  # of its parsers, for values of another type or length than a format has
)
"""What Pillow raises for a file that is missing, empty, truncated, of another format, or above its own pixel limit."""


def is_hidden(path: Path) -> bool:
    """Whether a file, by its path relative to the data, or a folder on the way to it is hidden."""
    return any(part.startswith(".") for part in path.parts)


def is_photo(path: Path) -> bool:
    """Whether a relative path has a usual photo's suffix, and neither the file nor a folder on the way is hidden."""
    return path.suffix.lower() in PHOTO_SUFFIXES and not is_hidden(path)


def is_photo_file(path: FilePath) -> bool:
    """Whether a file is a photo: by its usual suffix, else by its first bytes.

    A broken file with a usual suffix counts, so that reading it names it instead of skipping it in silence.
    """
    if str(path).lower().endswith(PHOTO_SUFFIXES):
        return True
    try:
        return is_readable(kind_of_file(path))
    except OSError:
        return False


def without_suffix(file: str) -> str:
    """A photo's name: its normalized path, ``/`` between folders, without a suffix of a picture.

    Example:
        >>> without_suffix("./cats//a.JPEG"), without_suffix("b.heic"), without_suffix("a.v2")
        ('cats/a', 'b', 'a.v2')
    """
    file = normpath(file)
    name, dot, suffix = file.rpartition(".")
    return name if name[-1:] not in ("", "/") and f"{dot}{suffix}".lower() in picture_suffixes() else file


@contextmanager
def open_picture(path: FilePath) -> Iterator[Image.Image]:
    """An open picture of any format that Pillow reads, and of HEIC where pillow-heif is installed.

    Pillow gets an open file: of a path it maps uncompressed pixels into memory, and those of a TIFF on its side by the
    wrong width (11.0 to 13.0).

    Raises:
        OSError: As ``open`` and ``PIL.Image.open``.
    """
    with open(path, "rb") as file, _identified(path, file) as image:  # noqa: PTH123  # see FilePath
        yield image


def _identified(path: FilePath, file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        if kind_of_file(path) == "HEIC" and reads_heic():
            return Image.open(file)
        raise


def read_photo(path: FilePath, range_of: FindRange = own_range) -> Photo:
    """Reads a photo as upright 8-bit RGB; of several pages or frames, the first.

    Args:
        path: The file.
        range_of: Gives the range that becomes 0 to 255 where a photo has more than 8 bits; its own by default.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: Where the file is missing, cannot be decoded, has more than ``MAX_PIXELS`` pixels or values that are
            no numbers, or comes out black or white all over.
    """
    with _opened(path) as image:
        return upright_rgb(path, image, range_of)


def upright_rgb(name: FilePath, image: Image.Image, range_of: FindRange) -> Photo:
    """An open photo as upright 8-bit RGB.

    Args:
        name: The file, for messages.
        image: As it was opened.
        range_of: As for ``read_photo``.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: For values that are no numbers, and a photo that comes out black or white all over.
    """
    if not is_deep(image):
        return np.asarray(as_rgb(upright(image)))
    photo = deep_photo(name, image)
    return scaled(name, photo, range_of(photo))


def may_be_deep(path: FilePath) -> bool:
    """Whether a file may have more than 8 bits per value, by its first bytes: not for JPEG, GIF, WebP and most PNGs."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # see FilePath
            head = file.read(HEAD)
    except OSError:
        return False
    kind = kind_of_bytes(head)
    if kind == "PNG":
        return head[PNG_BIT_DEPTH : PNG_BIT_DEPTH + 1] == b"\x10"
    return kind in ("TIFF", "JPEG 2000", None) and head[:2] != b"BM"


def read_extremes(path: FilePath) -> Extremes | None:
    """The lowest and highest value of a photo of more than 8 bits; None for other photos, which are not decoded.

    Raises:
        UserError: As ``read_photo``, but for what depends on the range.
    """
    with _opened(path) as image:
        if not is_deep(image):
            return None
        return extremes_of(path, deep_photo(path, image))


class PhotoTraits(NamedTuple):
    """What is unusual in a photo's file.

    Attributes:
        transparent: Whether pixels may be transparent.
        frames: Number of pages or frames.
    """

    transparent: bool
    frames: int


def read_traits(path: FilePath) -> PhotoTraits:
    """What is unusual in a photo's file; decodes no pixels but those of animations.

    Raises:
        UserError: As ``read_photo``, but not for damaged pixels.
    """
    with _opened(path) as image:
        transparent = "A" in image.getbands() or "transparency" in image.info
        return PhotoTraits(transparent, int(getattr(image, "n_frames", 1)))


@contextmanager
def _opened(path: FilePath) -> Iterator[Image.Image]:
    """An open photo of a size that is accepted; what goes wrong while it is read is raised as ``UserError``."""
    try:
        with open_picture(path) as image:
            check_pixels(path, *image.size)
            yield image
    except UserError:
        raise
    except PILLOW_ERRORS as error:
        raise photo_error(path, error) from error


def photo_error(path: FilePath, error: BaseException) -> UserError:
    """What went wrong while a photo was read; the kind is ``missing``, ``empty``, ``too_large`` or ``unreadable``."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"need a photo at {path}, found none; fix the list or the folder", kind="missing")
    if isinstance(error, Image.DecompressionBombError):
        return UserError(
            f"need photos of at most {MAX_PIXELS // 10**6} million pixels, {path} has more; scale it down",
            kind="too_large",
        )
    reason, kind = why_unreadable(path, error)
    return UserError(
        f"need a photo that can be decoded, got {path} ({reason}); replace it or take it off the list", kind=kind
    )


def why_unreadable(path: FilePath, error: BaseException) -> tuple[str, str]:
    """Why Pillow cannot read a file, in words for a message and as the kind of a ``UserError``."""
    if Path(path).stat().st_size == 0:
        return "the file is empty", "empty"
    if not isinstance(error, UnidentifiedImageError):
        return str(error) if isinstance(error, OSError | SyntaxError | ValueError) else repr(error), "unreadable"
    kind = kind_of_file(path)
    return ADVICE.get(kind, f"a {kind} of a kind that Pillow cannot read; save it again"), "unreadable"


def check_pixels(path: FilePath, width: int, height: int) -> None:
    """Checks the size of a photo or mask before it is decoded.

    Raises:
        UserError: For more than ``MAX_PIXELS`` pixels; its kind is ``too_large``.
    """
    if width * height > MAX_PIXELS:
        raise UserError(
            f"need photos of at most {MAX_PIXELS // 10**6} million pixels, {path} has {width}x{height}; scale it down",
            kind="too_large",
        )


def as_rgb(image: Image.Image, range_of: FindRange = own_range) -> Image.Image:
    """An image of any mode as 8-bit RGB; transparency is dropped.

    Args:
        image: Of any mode.
        range_of: As for ``read_photo``.

    Raises:
        UserError: For an image of more than 8 bits that holds one value, or values that are no numbers.
    """
    if is_deep(image):
        photo = deep_photo("the image", image)
        return Image.fromarray(scaled("the image", photo, range_of(photo)))
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB") or image
    # Converted straight to RGB, a palette with transparency makes Pillow warn; the others have no way straight to it.
    between = {"P": "RGBA", "PA": "RGBA", "RGBa": "RGBA", "La": "LA"}.get(image.mode)
    return (image.convert(between) if between else image).convert("RGB")
