from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.samples import DECOMPRESSION_BOMB, exif_with

from afa_wsss.data.files import photos
from afa_wsss.data.files.headers import read_header
from afa_wsss.data.files.masks import read_mask
from afa_wsss.data.files.photos import read_photo, without_suffix
from afa_wsss.errors import UserError


def _palette_with_transparency(picture: Image.Image, path: Path) -> None:
    picture.quantize(16).save(path, transparency=bytes(range(16)))


def _sixteen_bits(picture: Image.Image, path: Path) -> None:
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(path)


@pytest.mark.parametrize(
    ("suffix", "save", "color"),
    [
        ("jpg", lambda picture, path: picture.save(path, quality=95), True),
        ("jpg", lambda picture, path: picture.convert("L").save(path), False),
        ("jpg", lambda picture, path: picture.convert("CMYK").save(path, quality=95), True),
        ("png", lambda picture, path: picture.convert("RGBA").save(path), True),
        ("png", lambda picture, path: picture.convert("LA").save(path), False),
        ("png", lambda picture, path: picture.convert("1").save(path), False),
        ("png", lambda picture, path: picture.quantize(16).save(path), True),
        ("png", _palette_with_transparency, True),
        ("png", _sixteen_bits, False),
    ],
    ids=["rgb", "gray", "cmyk", "rgba", "gray-alpha", "bits", "palette", "palette-alpha", "16-bit"],
)
def test_photos_of_any_mode_become_rgb(
    tmp_path: Path, picture: Image.Image, suffix: str, save: Callable[[Image.Image, Path], None], color: bool
) -> None:
    save(picture, tmp_path / f"photo.{suffix}")
    photo = read_photo(tmp_path / f"photo.{suffix}")
    assert photo.dtype == np.uint8
    gray = np.asarray(picture.convert("L"))
    expected = np.asarray(picture) if color else np.repeat(gray[..., None], 3, axis=-1)
    # Black and white is dithered, so only the mean color is close.
    assert np.abs(photo.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 6
    assert photo.shape == expected.shape


@pytest.mark.parametrize(("orientation", "turn"), [(1, None), (2, 0), (3, 3), (4, 1), (5, 5), (6, 2), (7, 6), (8, 4)])
def test_photos_rotated_by_exif_become_upright(
    tmp_path: Path, picture: Image.Image, orientation: int, turn: int | None
) -> None:
    """``turn`` is what a camera did: the inverse of the transpose that its EXIF orientation calls for."""
    stored = picture if turn is None else picture.transpose(Image.Transpose(turn))
    stored.save(tmp_path / "photo.png", exif=exif_with(orientation))
    np.testing.assert_array_equal(read_photo(tmp_path / "photo.png"), np.asarray(picture))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("kept", [0, 4, 30, 100, 0.5, 0.9])
def test_truncated_photos_are_refused_by_name(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(
        UserError, match=rf"need a photo that can be decoded, got .*photo\.{suffix} \(.*\); replace it"
    ) as refusal:
        read_photo(path)
    assert refusal.value.kind == ("unreadable" if kept else "empty")


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"no image at all", "unreadable", r"need a photo that can be decoded, got .*photo\.jpg"),
        (DECOMPRESSION_BOMB, "too_large", r"need photos of at most 80 million pixels, .*photo\.jpg has more; scale it"),
    ],
    ids=["text", "decompression-bomb"],
)
def test_files_that_are_no_photos_are_refused_by_name(tmp_path: Path, content: bytes, kind: str, message: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(content)
    for read in (read_photo, read_header):
        with pytest.raises(UserError, match=message) as refusal:
            read(tmp_path / "photo.jpg")
        assert "\n" not in str(refusal.value)
        assert refusal.value.kind == kind


def test_a_missing_photo_is_named(tmp_path: Path) -> None:
    for read in (read_photo, read_header):
        with pytest.raises(UserError, match=r"need a photo at .*a\.jpg, found none") as refusal:
            read(tmp_path / "a.jpg")
        assert refusal.value.kind == "missing"


def test_photos_above_the_pixel_limit_are_refused_with_the_limit_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(photos, "MAX_PIXELS", 2_000_000)
    Image.new("L", (2001, 1000)).save(tmp_path / "large.png")
    for read in (read_photo, read_header, lambda path: read_mask(path, 21)):
        with pytest.raises(
            UserError, match=r"need photos of at most 2 million pixels, .*large\.png has 2001x1000; scale it"
        ):
            read(tmp_path / "large.png")
    Image.new("L", (2000, 1000)).save(tmp_path / "small.png")
    assert read_header(tmp_path / "small.png") == ((2000, 1000), "L", 1)


def test_a_header_that_claims_too_many_pixels_is_refused_before_decoding(tmp_path: Path) -> None:
    Image.new("1", (1, 1)).save(tmp_path / "bomb.png")
    content = bytearray((tmp_path / "bomb.png").read_bytes())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    (tmp_path / "bomb.png").write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"need photos of at most 80 million pixels, .*bomb\.png has"):
        read_photo(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a.jpg", "a"),
        ("./cats//a.JPEG", "cats/a"),
        ("a.b.png", "a.b"),
        ("a.v2", "a.v2"),
        ("cats.jpg/a", "cats.jpg/a"),
        ("cats/.png", "cats/.png"),
        ("../a.jpg", "../a"),
        ("", "."),
    ],
)
def test_names_are_normalized_and_have_no_suffix(file: str, name: str) -> None:
    assert without_suffix(file) == name
