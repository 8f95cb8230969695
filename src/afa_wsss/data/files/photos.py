"""Reading and writing of photos and masks, in whatever form they come."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from posixpath import normpath
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from afa_wsss.data.base import FilePath, Mask, Palette, Photo
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX

PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""What photos end in; capitals are taken too."""

RUN_FOLDERS = ("outputs", "multirun")
"""Where commands write what they make: pictures there are no photos to work on."""

MAX_PIXELS = 80_000_000
"""Photos with more are refused: a file of some kilobytes can ask for gigabytes of memory."""

UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for a file that is empty, cut off, of another format, or larger than its limit of pixels."""

ORIENTATION = 0x0112
"""Of EXIF."""

TURNS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a photo upright, for the orientations that exchange width and height."""

HEAD = 4096
"""Bytes that hold the header of most photos."""

SKIPPED = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}
"""Segments of a JPEG that say nothing of its size: tables, comments, and what applications leave."""

TURNING = (b"Exif", b"http://ns.adobe.com/xap/")
"""How segments of a JPEG begin that may turn the photo: EXIF, and XMP, which Pillow heeds as well."""

TURNING_CHUNKS = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
"""Chunks of a PNG that may: EXIF itself, and text that may hold it."""

LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
"""What ends a whole file."""


class Glance(NamedTuple):
    """What the first bytes of a photo say.

    Attributes:
        size: Width and height of the upright photo.
        mode: Pillow's, as ``RGB`` or ``CMYK``.
        orientation: Of EXIF: 1 upright, 2 to 4 mirrored or on its head, 5 to 8 on its side.
    """

    size: tuple[int, int]
    mode: str
    orientation: int


def is_photo(place: Path) -> bool:
    """Whether a file ends as photos do and neither it nor a folder of ``place`` is hidden."""
    return place.suffix.lower() in PHOTO_ENDINGS and not any(part.startswith(".") for part in place.parts)


def without_ending(file: str) -> str:
    """Name of a photo, ``/`` between folders: without what photos end in, and the same however the file is spelt."""
    file = normpath(file)
    name, dot, ending = file.rpartition(".")
    return name if name[-1:] not in ("", "/") and f"{dot}{ending}".lower() in PHOTO_ENDINGS else file


def read_photo(path: FilePath) -> Photo:
    """Reads a photo as upright RGB, whatever its mode and EXIF rotation.

    Raises:
        UserError: Where the file is missing, cannot be decoded, or has more than ``MAX_PIXELS`` pixels.
    """
    try:
        with Image.open(path) as image:
            check_pixels(path, *image.size)
            return np.asarray(as_rgb(ImageOps.exif_transpose(image)))
    except FileNotFoundError as error:
        raise UserError(f"need a photo at {path}, found none; mend the list or the folder") from error
    except UserError:
        raise
    except UNREADABLE as error:
        raise _undecodable(path, error) from error


def _undecodable(path: FilePath, error: BaseException) -> UserError:
    if isinstance(error, Image.DecompressionBombError):
        return UserError(
            f"need photos of at most {MAX_PIXELS // 10**6} million pixels, {path} has more; make it smaller"
        )
    return UserError(
        f"need a photo that can be decoded, {path} cannot ({_reason(path, error)}); replace it or take it off the list"
    )


def _reason(path: FilePath, error: BaseException) -> str:
    if Path(path).stat().st_size == 0:
        return "the file is empty"
    return "no form of picture that is known" if isinstance(error, UnidentifiedImageError) else str(error)


def check_pixels(path: FilePath, width: int, height: int) -> None:
    """Raises UserError for more than ``MAX_PIXELS`` pixels."""
    if width * height > MAX_PIXELS:
        raise UserError(
            f"need photos of at most {MAX_PIXELS // 10**6} million pixels, {path} has {width}x{height}; make it smaller"
        )


def glance(path: FilePath) -> Glance:
    """Looks at a photo without decoding it, unless it does not end as a whole file or is a PNG with EXIF or text.

    Raises:
        UserError: As ``read_photo``, but for damage in the middle of a file.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # see FilePath
            seen, form = glance_at_jpeg(file.read(HEAD)), "JPEG"
            if seen is None:
                with Image.open(path) as image:
                    check_pixels(path, *image.size)
                    form = image.format or ""
                    upright = form == "PNG" and not may_turn(file)
                    turn = 1 if upright else image.getexif().get(ORIENTATION, 1)  # decodes a PNG
                    size = image.size[::-1] if turn in TURNS else image.size
                    seen = Glance(size, image.mode, turn if turn in range(2, 9) else 1)
            check_pixels(path, *seen.size)
            end = LAST_BYTES.get(form)
            if end is not None:
                file.seek(-len(end), 2)
                if file.read(len(end)) == end:
                    return seen
        read_photo(path)
    except FileNotFoundError as error:
        raise UserError(f"need a photo at {path}, found none; mend the list or the folder") from error
    except UserError:
        raise
    except UNREADABLE as error:
        raise _undecodable(path, error) from error
    return seen


def may_turn(png: RawIOBase) -> bool:
    """Whether a chunk of a PNG may say that the photo lies on its side; the pixels are jumped over."""
    place = png.seek(8)
    while len(head := png.read(8)) == 8 and head[4:] != b"IEND":
        if head[4:] in TURNING_CHUNKS:
            return True
        place = png.seek(place + 12 + int.from_bytes(head[:4], "big"))
    return False


def glance_at_jpeg(head: bytes) -> Glance | None:
    """Size and mode of a plain JPEG from its first bytes, five times as fast as Pillow, which counts for 10,000 photos.

    Returns:
        None where Pillow has to look: another format, EXIF, an unusual kind of JPEG, or a header that goes on.
    """
    place = 2
    while head[:2] == b"\xff\xd8" and place + 10 <= len(head) and head[place] == 0xFF:
        marker, length = head[place + 1], int.from_bytes(head[place + 2 : place + 4], "big")
        if marker in (0xC0, 0xC1, 0xC2):  # a frame: precision, height, width, components
            bits, height, width, parts = struct.unpack(">BHHB", head[place + 4 : place + 10])
            mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(parts)
            return Glance((width, height), mode, 1) if mode and bits == 8 and width and height else None
        if marker not in SKIPPED or length < 2 or head[place + 4 : place + 64].startswith(TURNING):
            return None
        place += 2 + length
    return None


def as_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB of 8 bits; transparency is dropped."""
    if image.mode.startswith("I"):
        # Pillow would cut 16 bits off at 255, which makes nearly every pixel white.
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode == "P":
        # Pillow warns where transparency of a palette is dropped on the straight way to RGB.
        image = image.convert("RGBA")
    return image.convert("RGB")


def read_mask(path: FilePath, classes: int) -> Mask:
    """Reads the class of every pixel from a palette or greyscale PNG.

    Args:
        path: The file.
        classes: Number of classes with background; other values than these and 255 are refused.

    Raises:
        UserError: Where the file is missing, cannot be decoded, is a colour picture or holds another value.
    """
    with _opened_mask(path) as image:
        mask = np.asarray(ImageOps.exif_transpose(image))
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    wrong = [int(value) for value in values if value >= classes and value != IGNORE_INDEX]
    if wrong:
        raise UserError(
            f"need class ids of 0 to {classes - 1} or {IGNORE_INDEX} in masks, {path} holds {wrong}; "
            "mend the mask or the list of classes"
        )
    return mask.astype(np.uint8, copy=False)


def glance_at_mask(path: FilePath) -> tuple[int, int]:
    """Width and height of a mask, which is not decoded unless its end is not that of a whole file.

    Raises:
        UserError: As ``read_mask``, but for damage in the middle of a file and for its values.
    """
    with _opened_mask(path) as image, open(path, "rb", buffering=0) as file:  # noqa: PTH123  # see FilePath
        end = LAST_BYTES.get(image.format or "", b"")
        file.seek(-len(end), 2)
        if not end or file.read() != end:
            image.load()
        return image.size


@contextmanager
def _opened_mask(path: FilePath) -> Iterator[Image.Image]:
    """A mask of a form that is known; what goes wrong while it is read is told of."""
    try:
        with Image.open(path) as image:
            check_pixels(path, *image.size)
            if image.mode not in ("P", "L"):
                raise UserError(
                    f"need a palette or greyscale mask with one class id a pixel, {path} has mode {image.mode}; save "
                    "it as such"
                )
            yield image
    except FileNotFoundError as error:
        raise UserError(f"need a mask at {path}, found none; mend the list or the folder") from error
    except UserError:
        raise
    except UNREADABLE as error:
        told = f"need a mask that can be decoded, {path} cannot ({_reason(path, error)}); replace it"
        raise UserError(told) from error


def write_mask(path: Path, label: Mask, palette: Palette) -> None:
    """Writes classes as a palette PNG, as VOC's masks are: values are class ids, colours are for looking at."""
    picture = Image.fromarray(label, mode="P")
    colours = np.full((256, 3), 255, dtype=np.uint8)
    colours[: len(palette)] = palette
    picture.putpalette(colours.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, format="PNG")


def fit_mask(name: str, image: Photo, mask: UInt8[np.ndarray, "h w"], photo: FilePath) -> Mask:
    """The mask as it fits the upright photo: one drawn on a photo that lies on its side is turned with it.

    Args:
        name: For the message.
        image: The photo, upright.
        mask: Its classes.
        photo: The photo's file; its EXIF is looked at where the sizes differ.

    Raises:
        UserError: Where the mask has another size than the photo.
    """
    if image.shape[:2] == mask.shape[::-1] != mask.shape and (turn := TURNS.get(glance(photo).orientation)):
        mask = np.asarray(Image.fromarray(mask).transpose(turn))
    check_sizes(name, image, mask)
    return mask


def check_sizes(name: str, image: Photo, mask: UInt8[np.ndarray, "h w"]) -> None:
    """Raises UserError unless the mask has the photo's height and width."""
    if image.shape[:2] != mask.shape:
        photo, labels = (f"{shape[1]}x{shape[0]}" for shape in (image.shape, mask.shape))
        raise UserError(
            f"need a mask of its photo's size, {name} has a photo of {photo} and a mask of {labels}; mend one of them"
        )
