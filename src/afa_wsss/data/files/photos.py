"""Which files are photos, and reading them as RGB, whatever their format, mode and EXIF orientation."""

from __future__ import annotations

import struct
from pathlib import Path
from posixpath import normpath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from afa_wsss.data.base import FilePath, Photo
from afa_wsss.errors import UserError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of photos, in lower or upper case."""

RUN_FOLDERS = ("outputs", "multirun")
"""Folders that commands write to: pictures in them are results, not photos."""

MAX_PIXELS = 80_000_000
"""Larger photos are refused: a file of a few kilobytes can decompress to gigabytes."""

PILLOW_ERRORS = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for a file that is missing, empty, truncated, of another format, or above its own pixel limit."""


def is_photo(path: Path) -> bool:
    """Whether a relative path has a photo's suffix, and neither the file nor a folder on the way is hidden."""
    return path.suffix.lower() in PHOTO_SUFFIXES and not any(part.startswith(".") for part in path.parts)


def without_suffix(file: str) -> str:
    """A photo's name: its normalized path, ``/`` between folders, without a photo's suffix.

    Example:
        >>> without_suffix("./cats//a.JPEG"), without_suffix("a.v2")
        ('cats/a', 'a.v2')
    """
    file = normpath(file)
    name, dot, suffix = file.rpartition(".")
    return name if name[-1:] not in ("", "/") and f"{dot}{suffix}".lower() in PHOTO_SUFFIXES else file


def read_photo(path: FilePath) -> Photo:
    """Reads a photo as upright 8-bit RGB.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: Where the file is missing, cannot be decoded, or has more than ``MAX_PIXELS`` pixels.
    """
    try:
        with Image.open(path) as image:
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
    return "unknown image format" if isinstance(error, UnidentifiedImageError) else str(error), "unreadable"


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
