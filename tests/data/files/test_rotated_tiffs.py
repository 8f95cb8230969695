"""TIFFs of every orientation and form of pixels come out upright, by the decoders of Pillow and of OpenCV."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.samples import exif_with

from afa_wsss.data.files.headers import ORIENTATION, read_header
from afa_wsss.data.files.masks import check_mask_size, fit_mask, read_mask_size, read_stored
from afa_wsss.data.files.photos import read_photo

HEIGHT, WIDTH = 6, 10

FORMS = {
    "gray": ((HEIGHT, WIDTH), np.uint8),
    "RGB": ((HEIGHT, WIDTH, 3), np.uint8),
    "RGBA": ((HEIGHT, WIDTH, 4), np.uint8),
    "16-bit gray": ((HEIGHT, WIDTH), np.uint16),
    "16-bit RGB": ((HEIGHT, WIDTH, 3), np.uint16),
    "16-bit RGBA": ((HEIGHT, WIDTH, 4), np.uint16),
    "float": ((HEIGHT, WIDTH), np.float32),
}


def write_tiff(path: Path, pixels: np.ndarray, orientation: int) -> None:
    """An uncompressed TIFF, whose pixels Pillow may map into memory."""
    height, width, channels = (*pixels.shape, 1)[:3]
    size = pixels.dtype.itemsize
    kind = 3 if pixels.dtype.kind == "f" else 1
    start = 8 + pixels.nbytes
    bits, kinds = (struct.pack("<4H", *[value] * 4) for value in (8 * size, kind))
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, start if channels > 2 else 8 * size)]
    tags += [(259, 3, 1, 1), (262, 3, 1, 2 if channels > 1 else 1), (273, 4, 1, 8), (ORIENTATION, 3, 1, orientation)]
    tags += [(277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, pixels.nbytes)]
    tags += [(338, 3, 1, 2)] * (channels == 4)
    tags += [(339, 3, channels, start + 8 if channels > 2 else kind)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    header = struct.pack("<2sHI", b"II", 42, start + 16)
    path.write_bytes(header + pixels.tobytes() + bits + kinds + directory)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What EXIF says: 2 to 4 mirrored or upside down, 5 to 8 the transposed and turned ones."""
    ways = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: np.rot90,
    }
    return ways[orientation](pixels)


def random_pixels(form: str) -> np.ndarray:
    shape, kind = FORMS[form]
    highest = np.iinfo(kind).max if kind != np.float32 else 1
    pixels = (np.random.default_rng(0).random(shape) * highest).astype(kind)
    pixels.flat[:2] = 0, highest
    pixels[..., 3:] = highest
    return pixels


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", FORMS)
def test_a_photo_is_upright_and_its_header_has_its_size(tmp_path: Path, form: str, orientation: int) -> None:
    pixels = random_pixels(form)
    write_tiff(tmp_path / "a.tif", pixels, orientation)
    scale = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
    shown = upright(pixels, orientation) / scale * 255
    photo = read_photo(tmp_path / "a.tif")
    np.testing.assert_allclose(photo, shown[..., :3] if shown.ndim == 3 else shown[..., None].repeat(3, -1), atol=1)
    header = read_header(tmp_path / "a.tif")
    assert (header.size, header.orientation) == (photo.shape[1::-1], orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "png"])
def test_a_mask_with_an_orientation_of_its_own_is_upright(tmp_path: Path, compression: str, orientation: int) -> None:
    label, path = random_pixels("gray") % 3, tmp_path / f"a.{'png' if compression == 'png' else 'tif'}"
    if compression == "raw":
        write_tiff(path, label, orientation)
    else:
        options = {} if compression == "png" else {"compression": compression}
        Image.fromarray(label).save(path, exif=exif_with(orientation), **options)
    mask = read_stored(path).values
    np.testing.assert_array_equal(mask, upright(label, orientation))
    assert read_mask_size(path) == mask.shape[1::-1]


def test_the_mask_of_a_tiff_on_its_side_may_be_drawn_upright_or_as_stored(tmp_path: Path) -> None:
    pixels = random_pixels("RGB")
    write_tiff(tmp_path / "a.tif", pixels, 6)
    photo, header = read_photo(tmp_path / "a.tif"), read_header(tmp_path / "a.tif")
    label = (pixels[..., 0] > 99).astype(np.uint8)
    for number, mask in enumerate((label, upright(label, 6))):
        Image.fromarray(mask).save(tmp_path / f"{number}.png")
        check_mask_size("a", tmp_path / f"{number}.png", header)
        np.testing.assert_array_equal(fit_mask("a", photo, mask, tmp_path / "a.tif"), photo[..., 0] > 99)
