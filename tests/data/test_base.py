from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from afa_wsss.data.checks.problems import Problem, refuse
from afa_wsss.data.files import photos
from afa_wsss.data.files.lists import keep_unique, refuse_missing, stays_inside
from afa_wsss.data.files.photos import (
    check_sizes,
    glance,
    glance_at_jpeg,
    glance_at_mask,
    read_mask,
    read_photo,
    without_ending,
    write_mask,
)
from afa_wsss.data.formats.classes import COCO_CLASSES, VOC_CLASSES, voc_palette
from afa_wsss.errors import UserError

ORIENTATION = 0x0112


@pytest.fixture
def picture() -> Image.Image:
    """60 wide, 40 high: red at the top, blue below."""
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:20, :, 0] = 255
    pixels[20:, :, 2] = 255
    return Image.fromarray(pixels)


def _palette_with_transparency(picture: Image.Image, path: Path) -> None:
    picture.quantize(16).save(path, transparency=bytes(range(16)))


def _sixteen_bits(picture: Image.Image, path: Path) -> None:
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(path)


@pytest.mark.parametrize(
    ("ending", "save", "colour"),
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
    ids=["rgb", "grey", "cmyk", "rgba", "grey-alpha", "bits", "palette", "palette-alpha", "16-bit"],
)
def test_photos_of_any_mode_become_rgb(
    tmp_path: Path, picture: Image.Image, ending: str, save: Callable[[Image.Image, Path], None], colour: bool
) -> None:
    save(picture, tmp_path / f"photo.{ending}")
    photo = read_photo(tmp_path / f"photo.{ending}")
    assert photo.dtype == np.uint8
    grey = np.asarray(picture.convert("L"))
    expected = np.asarray(picture) if colour else np.repeat(grey[..., None], 3, axis=-1)
    # A picture of bits is dithered, so only its mean is near.
    assert np.abs(photo.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 6
    assert photo.shape == expected.shape


@pytest.mark.parametrize(("orientation", "turn"), [(1, None), (2, 0), (3, 3), (4, 1), (5, 5), (6, 2), (7, 6), (8, 4)])
def test_rotated_photos_become_upright(
    tmp_path: Path, picture: Image.Image, orientation: int, turn: int | None
) -> None:
    """``turn`` is what a camera did: the inverse of the rotation that its EXIF orientation asks for."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = picture if turn is None else picture.transpose(Image.Transpose(turn))
    stored.save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(read_photo(tmp_path / "photo.png"), np.asarray(picture))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


HUGE = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(b"0"))
    + _chunk(b"IEND", b"")
)


@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("kept", [0, 4, 30, 100, 0.5, 0.9])
def test_photos_cut_off_anywhere_are_refused_by_name(tmp_path: Path, ending: str, kept: float) -> None:
    path = tmp_path / f"photo.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(UserError, match=rf"need a photo that can be decoded, .*photo\.{ending} cannot .*; replace it"):
        read_photo(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no picture at all", r"need a photo that can be decoded, .*photo\.jpg"),
        (HUGE, r"need photos of at most 80 million pixels, .*photo\.jpg has more; make it smaller"),
    ],
    ids=["text", "decompression-bomb"],
)
def test_what_is_no_photo_is_refused_by_name(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(content)
    for read in (read_photo, glance):
        with pytest.raises(UserError, match=told) as refusal:
            read(tmp_path / "photo.jpg")
        assert "\n" not in str(refusal.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"need a photo at .*a\.jpg, found none"):
        read_photo(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"need a mask at .*a\.png, found none"):
        read_mask(tmp_path / "a.png", 21)


def test_masks_are_read_as_they_were_written(tmp_path: Path) -> None:
    label = np.random.default_rng(0).choice(np.array([0, 1, 20, 255], dtype=np.uint8), size=(7, 9))
    write_mask(tmp_path / "new" / "mask.png", label, voc_palette(21))
    np.testing.assert_array_equal(read_mask(tmp_path / "new" / "mask.png", 21), label)
    with Image.open(tmp_path / "new" / "mask.png") as picture:
        shown = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(shown[label == 20], np.broadcast_to(voc_palette(21)[20], shown[label == 20].shape))
    Image.fromarray(label).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png", 21), label)


@pytest.mark.parametrize("value", [21, 22, 100, 254])
def test_masks_with_other_classes_are_refused(tmp_path: Path, value: int) -> None:
    label = np.zeros((5, 5), dtype=np.uint8)
    label[2, 3], label[0, 0] = value, 255
    write_mask(tmp_path / "mask.png", label, voc_palette(21))
    with pytest.raises(UserError, match=rf"need class ids of 0 to 20 or 255 .*mask\.png holds \[{value}\]; mend"):
        read_mask(tmp_path / "mask.png", 21)


def test_coloured_and_broken_masks_are_refused(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "colour.png")
    with pytest.raises(UserError, match=r"need a palette or greyscale mask .*colour\.png has mode RGB"):
        read_mask(tmp_path / "colour.png", 21)
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=r"need a mask that can be decoded, .*empty\.png"):
        read_mask(tmp_path / "empty.png", 21)


def test_sizes_are_told_as_width_by_height() -> None:
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    check_sizes("a", image, np.zeros((4, 6), dtype=np.uint8))
    with pytest.raises(UserError, match="a has a photo of 6x4 and a mask of 4x6"):
        check_sizes("a", image, np.zeros((6, 4), dtype=np.uint8))


@pytest.mark.parametrize("name", ["../a", "a/../../b", "..", "/etc/passwd", "", ".", "..\\a"])
def test_names_that_leave_their_folder_are_refused(name: str) -> None:
    assert not stays_inside(name)
    found: list[Problem] = []
    assert keep_unique([name, "a"], Path("list.txt"), found.extend) == ["a"]
    assert found[0].told.startswith("need names of photos inside their folder, list.txt holds")
    with pytest.raises(UserError, match="need names of photos inside their folder"):
        keep_unique([name, "a"], Path("list.txt"), refuse)


@pytest.mark.parametrize("name", ["2007_000032", "dog/1", "a..b", "naïve", "犬", "my dog"])
def test_other_names_are_taken(name: str) -> None:
    assert stays_inside(name)


def test_missing_files_are_counted_and_the_first_named() -> None:
    refuse_missing([], 6, kind="photo", source=Path("train.txt"))
    missing = [Path(f"{index}.jpg") for index in range(1, 6)]
    told = r"^need every photo that train\.txt lists, 5 of 6 missing: 1\.jpg, 2\.jpg, 3\.jpg, \.\.\.; add them"
    with pytest.raises(UserError, match=told):
        refuse_missing(missing, 6, kind="photo", source=Path("train.txt"))


def test_class_lists_are_the_public_ones() -> None:
    assert (len(VOC_CLASSES), len(COCO_CLASSES)) == (20, 80)
    assert VOC_CLASSES[14] == "person"
    assert (COCO_CLASSES[0], COCO_CLASSES[79]) == ("person", "toothbrush")
    assert len(set(COCO_CLASSES)) == 80


def test_palette_has_the_colours_of_the_development_kit() -> None:
    """Colours as PASCAL's own description of its masks lists them."""
    palette = voc_palette(256)
    assert palette[[0, 1, 2, 15, 20]].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128]]
    assert palette[255].tolist() == [224, 224, 192]
    assert len(np.unique(palette, axis=0)) == 256


def test_photos_beyond_the_limit_are_refused_with_the_limit_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(photos, "MAX_PIXELS", 2_000_000)
    Image.new("L", (2001, 1000)).save(tmp_path / "large.png")
    for read in (read_photo, glance, lambda path: read_mask(path, 21)):
        with pytest.raises(
            UserError, match=r"need photos of at most 2 million pixels, .*large\.png has 2001x1000; make it"
        ):
            read(tmp_path / "large.png")
    Image.new("L", (2000, 1000)).save(tmp_path / "small.png")
    assert glance(tmp_path / "small.png") == ((2000, 1000), "L", 1)


def test_a_header_that_promises_too_much_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (1, 1)).save(tmp_path / "bomb.png")
    content = bytearray((tmp_path / "bomb.png").read_bytes())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    (tmp_path / "bomb.png").write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"need photos of at most 80 million pixels, .*bomb\.png has"):
        read_photo(tmp_path / "bomb.png")


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_glance_decodes_nothing_and_finds_a_photo_cut_off(
    tmp_path: Path, ending: str, picture: Image.Image, monkeypatch
) -> None:
    path = tmp_path / f"photo.{ending}"
    picture.save(path, exif=_turned(6))
    with monkeypatch.context() as patched:
        patched.setattr(photos, "read_photo", None)
        seen = glance(path)
    assert seen.orientation != 1
    assert seen.size == read_photo(path).shape[1::-1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="need a photo that can be decoded"):
        glance(path)


def test_bytes_after_the_end_of_a_photo_do_no_harm(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "photo.jpg")
    with (tmp_path / "photo.jpg").open("ab") as file:
        file.write(b"appended by a camera")
    assert glance(tmp_path / "photo.jpg").size == picture.size


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[photos.ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_plain_jpeg_is_glanced_at_as_pillow_sees_it(tmp_path: Path, mode: str, progressive: bool) -> None:
    picture = Image.effect_noise((31, 17), 50).convert(mode)
    picture.save(tmp_path / "a.jpg", progressive=progressive, comment="a comment")
    content = (tmp_path / "a.jpg").read_bytes()
    assert glance_at_jpeg(content) == ((31, 17), mode, 1) == glance(tmp_path / "a.jpg")
    assert all(glance_at_jpeg(content[:length]) is None for length in range(20)), "the header goes on"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture.save(tmp_path / "b.jpg", exif=exif)
    assert glance_at_jpeg((tmp_path / "b.jpg").read_bytes()) is None
    assert glance(tmp_path / "b.jpg") == ((17, 31), mode, 6)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64))
def test_bytes_that_only_begin_like_a_jpeg_break_nothing(content: bytes) -> None:
    seen = glance_at_jpeg(b"\xff\xd8\xff" + content)
    assert seen is None or min(seen.size) > 0


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
def test_names_are_spelt_one_way_and_without_what_photos_end_in(file: str, name: str) -> None:
    assert without_ending(file) == name


XMP = b"http://ns.adobe.com/xap/1.0/\0" + (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def test_a_photo_that_xmp_turns_is_glanced_at_as_it_is_read(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    segment = b"\xff\xe1" + (2 + len(XMP)).to_bytes(2, "big") + XMP
    (tmp_path / "a.jpg").write_bytes(content[:2] + segment + content[2:])
    assert read_photo(tmp_path / "a.jpg").shape == (60, 40, 3)
    assert glance(tmp_path / "a.jpg") == ((40, 60), "RGB", 6)


def test_a_glance_at_a_png_decodes_nothing_unless_it_may_be_turned(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[content.index(b"IDAT") + 4] ^= 255  # where the pixels begin
    (tmp_path / "a.png").write_bytes(bytes(content))
    assert glance(tmp_path / "a.png") == ((60, 40), "RGB", 1)
    with pytest.raises(UserError, match="need a photo that can be decoded"):
        read_photo(tmp_path / "a.png")
    exif = _turned(8).tobytes()
    picture.save(tmp_path / "b.png")
    content = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[:-12] + _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")) + content[-12:])
    assert glance(tmp_path / "b.png") == ((40, 60), "RGB", 8), "also where EXIF comes after the pixels"


def test_a_glance_at_a_mask_finds_what_reading_would_refuse(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    write_mask(path, np.eye(40, dtype=np.uint8), voc_palette(2))
    assert glance_at_mask(path) == (40, 40)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"need a mask that can be decoded, .*mask\.png cannot"):
        glance_at_mask(path)
    path.write_bytes(HUGE)
    with pytest.raises(UserError, match=r"need a mask that can be decoded, .*mask\.png cannot .*pixels"):
        glance_at_mask(path)
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(UserError, match=r"need a palette or greyscale mask .*mask\.png has mode RGB"):
        glance_at_mask(path)
