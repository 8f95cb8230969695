from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from afa_wsss.data.files import picture_types
from afa_wsss.data.files.headers import read_header
from afa_wsss.data.files.photos import is_photo_file, read_photo, without_suffix
from afa_wsss.data.files.picture_types import kind_of_bytes, kind_of_file, report_skipped
from afa_wsss.errors import UserError

FORMATS = [
    "JPEG",
    "PNG",
    "GIF",
    "TIFF",
    "WEBP",
    "BMP",
    "JPEG2000",
    "PPM",
    "TGA",
    "PCX",
    "ICO",
    "SGI",
    "DDS",
    "QOI",
]


@pytest.mark.parametrize("image_format", FORMATS)
def test_pictures_are_known_by_their_content_whatever_their_suffix(tmp_path: Path, image_format: str) -> None:
    Image.new("RGB", (16, 16), (200, 30, 40)).save(tmp_path / "photo", format=image_format)
    for name in ("photo", "photo.dat", "photo.jpg"):
        path = (tmp_path / "photo").rename(tmp_path / name) if name != "photo" else tmp_path / name
        assert is_photo_file(path)
        assert read_photo(path).shape[2] == 3
        path.rename(tmp_path / "photo")


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("notes.txt", b"some words about the photos\n", "text"),
        ("labels.csv", b"a.jpg,cat\n", "text"),
        ("page.html", b"<!DOCTYPE html><html></html>", "HTML"),
        ("logo.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        ("scan.pdf", b"%PDF-1.7\n", "PDF"),
        ("clip.mp4", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "video"),
        ("clip.mov", b"\0\0\0\x14ftypqt  \0\0\2\0qt  ", "video"),
        ("clip.avi", b"RIFF\0\0\0\0AVI LIST", "video"),
        ("raw.cr2", b"II*\0\x10\0\0\0CR\2\0", "camera RAW"),
        ("raw.nef", b"MM\0*\0\0\0\x08", "camera RAW"),
        *((f"raw.{suffix}", b"II*\0\x08\0\0\0", "camera RAW") for suffix in ("gpr", "RWL", "3fr", "iiq")),
        ("raw.cr3", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera RAW"),
        ("photos.zip", b"PK\3\4\0\0\0\0", "archive"),
        ("array.npy", b"\x93NUMPY\1\0", "NumPy array"),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "other"),
        ("empty", b"", "empty"),
    ],
)
def test_other_files_are_no_photos_and_are_named(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert kind_of_file(path) == kind
    assert not is_photo_file(path)
    (only,) = report_skipped([path], tmp_path)
    assert only.message.startswith("1 ")
    assert only.level == ("note" if kind in ("text", "HTML", "SVG", "other", "empty") else "warning")


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"%PDF-1.7", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"]
)
def test_what_is_named_like_a_photo_and_is_none_is_refused_when_it_is_read(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_types, "find_spec", lambda name: None)
    picture_types.reads_heic.cache_clear()
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert is_photo_file(path)
    reason = picture_types.ADVICE[kind_of_file(path)].partition(";")[0]
    with pytest.raises(UserError, match="need a photo that can be decoded, got ") as refusal:
        read_photo(path)
    assert reason in str(refusal.value)
    picture_types.reads_heic.cache_clear()


def test_skipped_files_are_counted_by_suffix_and_heic_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_types, "find_spec", lambda name: None)
    picture_types.reads_heic.cache_clear()
    for number in range(3):
        (tmp_path / f"{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "notes.txt").write_text("words")
    heic, text = report_skipped(sorted(tmp_path.iterdir()), tmp_path)
    assert heic.message == (
        f"3 .heic files of {tmp_path} are skipped, {tmp_path}/0.HEIC first: HEIC needs pillow-heif: pip install "
        '"afa-wsss[heic]"'
    )
    assert (heic.level, text.level) == ("warning", "note")
    picture_types.reads_heic.cache_clear()


def test_brands_tell_heic_avif_and_video_apart() -> None:
    assert kind_of_bytes(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic") == "HEIC"
    assert kind_of_bytes(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif") == "AVIF"
    assert kind_of_bytes(b"\0\0\0\x1cftypmp42\0\0\0\0mp42isom") == "video"


def test_random_bytes_and_texts_are_no_photos(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(300):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(rng.bytes(int(rng.integers(1, 400))))
        assert not is_photo_file(path), path.read_bytes()[:20]


@pytest.mark.parametrize("suffix", ["jpg", "JFIF", "heic", "HEIF", "avif", "gif", "jp2", "tif", "bmp"])
def test_names_lose_any_suffix_of_a_picture(suffix: str) -> None:
    assert without_suffix(f"cats/a.b.{suffix}") == "cats/a.b"


def test_heic_is_read_and_upright_where_pillow_heif_is_installed(tmp_path: Path, picture: Image.Image) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason='HEIC needs pip install "afa-wsss[heic]"')
    path = tmp_path / "IMG_1"
    pillow_heif.from_pillow(picture).save(path, quality=95)
    assert kind_of_file(path) == "HEIC"
    assert is_photo_file(path)
    assert np.abs(read_photo(path).astype(int) - np.asarray(picture)).mean() < 12
    assert read_header(path).size == picture.size


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.bin", format="AVIF", quality=95)
    assert is_photo_file(tmp_path / "a.bin")
    assert np.abs(read_photo(tmp_path / "a.bin").astype(int) - np.asarray(picture)).mean() < 12
