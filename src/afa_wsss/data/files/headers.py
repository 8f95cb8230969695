"""Size, mode and orientation of a photo from its header, and whether the file is complete, without decoding it."""

from __future__ import annotations

import struct
from io import RawIOBase
from typing import NamedTuple

from PIL import Image

from afa_wsss.data.base import FilePath
from afa_wsss.data.files.orientation import ORIENTATION, ROTATIONS
from afa_wsss.data.files.photos import PILLOW_ERRORS, check_pixels, open_picture, photo_error, read_photo
from afa_wsss.errors import UserError

TIFF_WIDTH, TIFF_HEIGHT = 256, 257
"""Tags of a TIFF: width and height as stored."""

HEADER_BYTES = 4096
"""Enough for the headers of most photos."""

SKIPPED_SEGMENTS = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}
"""JPEG segments that do not hold the size: tables, comments, application data."""

ROTATING_SEGMENTS = (b"Exif", b"http://ns.adobe.com/xap/")
"""First bytes of JPEG segments that may hold an orientation: EXIF, and XMP, which Pillow respects too."""

ROTATING_CHUNKS = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
"""PNG chunks that may hold an orientation: EXIF, and text that may contain EXIF."""

LAST_BYTES = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
"""Last bytes of a complete file; an MPO is several JPEGs in a row, as phones write for HDR and depth."""


class PhotoHeader(NamedTuple):
    """What a photo's header says.

    Attributes:
        size: Width and height of the upright photo.
        mode: Pillow's mode, such as ``RGB`` or ``CMYK``.
        orientation: EXIF orientation: 1 upright, 2 to 4 mirrored or upside down, 5 to 8 on its side.
    """

    size: tuple[int, int]
    mode: str
    orientation: int


def read_header(path: FilePath) -> PhotoHeader:
    """Reads the first and last bytes. Decodes only a file that looks incomplete, and a PNG with EXIF or text.

    Raises:
        UserError: As ``read_photo``, but not for damage in the middle of a file.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # see FilePath
            header, image_format = parse_jpeg_header(file.read(HEADER_BYTES)), "JPEG"
            if header is None:
                with open_picture(path) as image:
                    check_pixels(path, *image.size)
                    image_format = image.format or ""
                    header = header_of(image, file)
            check_pixels(path, *header.size)
            end = LAST_BYTES.get(image_format)
            if end is not None:
                file.seek(-len(end), 2)
                if file.read(len(end)) == end:
                    return header
        read_photo(path)
    except UserError:
        raise
    except PILLOW_ERRORS as error:
        raise photo_error(path, error) from error
    return header


def header_of(image: Image.Image, file: RawIOBase) -> PhotoHeader:
    """The header of an open picture that is not decoded yet; decodes a PNG that may be rotated.

    Args:
        image: The picture.
        file: The same file, opened once more.
    """
    upright = image.format == "PNG" and not _may_be_rotated(file)
    orientation = 1 if upright else image.getexif().get(ORIENTATION, 1)
    size = image.size
    if image.format == "TIFF":  # since 11.0 Pillow says the size of the upright picture
        tags = image.tag_v2  # type: ignore[attr-defined]  # of a TIFF
        size = int(tags[TIFF_WIDTH]), int(tags[TIFF_HEIGHT])
    orientation = orientation if orientation in range(2, 9) else 1
    return PhotoHeader(size[::-1] if orientation in ROTATIONS else size, image.mode, orientation)


def _may_be_rotated(png: RawIOBase) -> bool:
    """Whether a PNG has a chunk that may hold an orientation; seeks over the pixels."""
    position = png.seek(8)
    while len(head := png.read(8)) == 8 and head[4:] != b"IEND":
        if head[4:] in ROTATING_CHUNKS:
            return True
        position = png.seek(position + 12 + int.from_bytes(head[:4], "big"))
    return False


def parse_jpeg_header(head: bytes) -> PhotoHeader | None:
    """Size and mode of a plain JPEG from its first bytes; five times as fast as Pillow.

    Returns:
        None where Pillow is needed: another format, EXIF, an unusual JPEG, or a header longer than ``head``.
    """
    position = 2
    while head[:2] == b"\xff\xd8" and position + 10 <= len(head) and head[position] == 0xFF:
        marker, length = head[position + 1], int.from_bytes(head[position + 2 : position + 4], "big")
        if marker in (0xC0, 0xC1, 0xC2):  # start of frame: precision, height, width, components
            bits, height, width, components = struct.unpack(">BHHB", head[position + 4 : position + 10])
            mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(components)
            return PhotoHeader((width, height), mode, 1) if mode and bits == 8 and width and height else None
        if marker not in SKIPPED_SEGMENTS or length < 2:
            return None
        if head[position + 4 : position + 64].startswith(ROTATING_SEGMENTS):
            return None
        position += 2 + length
    return None
