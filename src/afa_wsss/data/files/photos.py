"""Which files are photos, and reading them as RGB, whatever their format, mode and EXIF orientation."""

from __future__ import annotations

import struct
from pathlib import Path
from posixpath import normpath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from afa_wsss.data.base import FilePath, Photo
from afa_wsss.data.files.picture_types import ADVICE, is_readable, kind_of_file, picture_suffixes, reads_heic
from afa_wsss.errors import UserError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Usual suffixes of photos, in lower or upper case: such a file is a photo, or is refused by name."""

RUN_FOLDERS = ("outputs", "multirun")
"""Folders that commands write to: pictures in them are results, not photos."""

MAX_PIXELS = 80_000_000
"""Larger photos are refused: a file of a few kilobytes can decompress to gigabytes."""

PILLOW_ERRORS = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
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


def open_picture(path: FilePath) -> Image.Image:
    """Opens a picture of any format that Pillow reads, and HEIC where pillow-heif is installed.

    Raises:
        OSError: As ``PIL.Image.open``.
    """
    try:
        return Image.open(path)
    except UnidentifiedImageError:
        if kind_of_file(path) == "HEIC" and reads_heic():
            return Image.open(path)
        raise


def read_photo(path: FilePath) -> Photo:
    """Reads a photo as upright 8-bit RGB.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: Where the file is missing, cannot be decoded, or has more than ``MAX_PIXELS`` pixels.
    """
    try:
        with open_picture(path) as image:
            check_pixels(path, *image.size)
            return np.asarray(as_rgb(ImageOps.exif_transpose(image)))
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
        return str(error), "unreadable"
    return ADVICE.get(kind_of_file(path), "unknown image format"), "unreadable"


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


def as_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as 8-bit RGB; transparency is dropped."""
    if image.mode.startswith("I"):
        # Pillow would clip 16-bit values at 255, which makes nearly every pixel white.
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode == "P":
        # Converted straight to RGB, a palette with transparency makes Pillow warn.
        image = image.convert("RGBA")
    return image.convert("RGB")
