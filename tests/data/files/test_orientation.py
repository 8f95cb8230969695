"""Pictures that are upright by their EXIF, also where other tags of it are broken."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from afa_wsss.data.files.headers import read_header
from afa_wsss.data.files.orientation import TURNS, upright
from afa_wsss.data.files.photos import read_photo

ASCII, SHORT = 2, 3
X_RESOLUTION, ORIENTATION = 0x011A, 0x0112


def exif_of(orientation: int) -> bytes:
    """EXIF with an orientation and a resolution that is text in place of a fraction."""
    entries = struct.pack("<HHII", ORIENTATION, SHORT, 1, orientation)
    entries += struct.pack("<HHI4s", X_RESOLUTION, ASCII, 3, b"72\0")
    return b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 2) + entries + b"\0\0\0\0"


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_a_resolution_that_is_text_does_not_keep_a_photo_from_being_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (64, 32), (10, 200, 30)).save(path, exif=exif_of(6))
    assert read_photo(path).shape == (64, 32, 3)
    assert read_header(path).size == (32, 64)


@pytest.mark.parametrize("orientation", [1, *TURNS])
def test_pictures_are_turned_as_pillow_turns_them(orientation: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    image.getexif()[ORIENTATION] = orientation
    np.testing.assert_array_equal(upright(image), ImageOps.exif_transpose(image))
