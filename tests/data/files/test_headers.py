from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.samples import exif_with, png_chunk

from afa_wsss.data.files import headers
from afa_wsss.data.files.headers import parse_jpeg_header, read_header
from afa_wsss.data.files.photos import read_photo
from afa_wsss.errors import UserError


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "MPO"])
def test_a_header_is_read_without_decoding_and_a_truncated_photo_is_found(
    tmp_path: Path, kind: str, picture: Image.Image, monkeypatch
) -> None:
    path, more = tmp_path / "photo.jpg", {"save_all": True, "append_images": [picture]} if kind == "MPO" else {}
    picture.save(path, kind, exif=exif_with(6), **more)
    with monkeypatch.context() as patched:
        patched.setattr(headers, "read_photo", None)
        header = read_header(path)
    assert header.orientation != 1
    assert header.size == read_photo(path).shape[1::-1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(UserError, match="need a photo that can be decoded"):
        read_header(path)


def test_bytes_after_the_end_of_a_photo_are_accepted(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "photo.jpg")
    with (tmp_path / "photo.jpg").open("ab") as file:
        file.write(b"appended by a camera")
    assert read_header(tmp_path / "photo.jpg").size == picture.size


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_header_of_a_plain_jpeg_is_what_pillow_says(tmp_path: Path, mode: str, progressive: bool) -> None:
    picture = Image.effect_noise((31, 17), 50).convert(mode)
    picture.save(tmp_path / "a.jpg", progressive=progressive, comment="a comment")
    content = (tmp_path / "a.jpg").read_bytes()
    assert parse_jpeg_header(content) == ((31, 17), mode, 1) == read_header(tmp_path / "a.jpg")
    assert all(parse_jpeg_header(content[:length]) is None for length in range(20)), "the header is not complete"
    picture.save(tmp_path / "b.jpg", exif=exif_with(6))
    assert parse_jpeg_header((tmp_path / "b.jpg").read_bytes()) is None
    assert read_header(tmp_path / "b.jpg") == ((17, 31), mode, 6)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64))
def test_bytes_that_only_begin_like_a_jpeg_raise_nothing(content: bytes) -> None:
    header = parse_jpeg_header(b"\xff\xd8\xff" + content)
    assert header is None or min(header.size) > 0


XMP = b"http://ns.adobe.com/xap/1.0/\0" + (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def test_a_photo_rotated_by_xmp_has_the_size_that_is_read(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    segment = b"\xff\xe1" + (2 + len(XMP)).to_bytes(2, "big") + XMP
    (tmp_path / "a.jpg").write_bytes(content[:2] + segment + content[2:])
    assert read_photo(tmp_path / "a.jpg").shape == (60, 40, 3)
    assert read_header(tmp_path / "a.jpg") == ((40, 60), "RGB", 6)


def test_the_header_of_a_png_is_read_without_decoding_unless_it_may_be_rotated(
    tmp_path: Path, picture: Image.Image
) -> None:
    picture.save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[content.index(b"IDAT") + 4] ^= 255  # first byte of the pixels
    (tmp_path / "a.png").write_bytes(bytes(content))
    assert read_header(tmp_path / "a.png") == ((60, 40), "RGB", 1)
    with pytest.raises(UserError, match="need a photo that can be decoded"):
        read_photo(tmp_path / "a.png")
    exif = exif_with(8).tobytes()
    picture.save(tmp_path / "b.png")
    content = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[:-12] + png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")) + content[-12:])
    assert read_header(tmp_path / "b.png") == ((40, 60), "RGB", 8), "EXIF may come after the pixels"
