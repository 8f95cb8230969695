"""The index of a tar holds what ``tarfile`` lists, whatever wrote it, and damaged files are refused."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, strategies
from tests.data.shards.shards import PHOTO, write_shard

from afa_wsss.data.shards.tar_index import members, read_index, scan_index
from afa_wsss.errors import UserError

NAMES = ["a.jpg", "a.txt", "folder/b.jpg", "ü/é.png", "x" * 99 + ".jpg", "d/" * 60 + "deep.jpg", "y" * 300 + ".json"]


def write_names(path: Path, form: int) -> Path:
    """Files with all kinds of names, folders and links between them, and times that are no whole seconds."""
    with tarfile.open(path, "w", format=form) as tar:
        for size, name in enumerate(NAMES):
            if form == tarfile.USTAR_FORMAT and len(name.rpartition("/")[2]) > 100:
                continue
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 300 * size, 1.5
            tar.addfile(info, io.BytesIO(bytes(info.size)))
            link = tarfile.TarInfo(f"link{size}.jpg")
            link.type, link.linkname = (tarfile.SYMTYPE, "z" * 120) if form != tarfile.USTAR_FORMAT else (b"5", "")
            tar.addfile(link)
    return path


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_are_those_that_tarfile_finds(tmp_path, form):
    path = write_names(tmp_path / "a.tar", form)
    with tarfile.open(path) as tar:
        expected = [(info.name, info.offset_data, info.size) for info in tar if info.isreg()]
    assert list(members(str(path))) == expected
    assert len(expected) >= len(NAMES) - 2


def test_samples_are_files_in_a_row_with_one_name_up_to_the_first_dot(tmp_path):
    path = write_shard(
        tmp_path / "a.tar",
        {
            "a": {"seg.png": b"mask", "JPG": PHOTO, "txt": b"cat"},
            "b/c": {"json": b"[]"},
            "__meta__": {"json": b"{}"},
            "b/._c": {"jpg": b"of macOS"},
            "b/d": {"webp": PHOTO, "cls": b"1"},
        },
    )
    found = read_index(str(path))
    assert found.keys == ["a", "b/c", "b/d"]
    present = [[offset >= 0 for offset in sample[:, 0]] for sample in found.spans]
    assert present == [[True, False, False, True], [False, False, True, False], [True, True, False, False]]
    content, (offset, size) = path.read_bytes(), found.spans[0, 0]
    assert content[offset : offset + size] == PHOTO


def test_a_shard_that_is_cut_off_anywhere_is_refused(tmp_path):
    whole = write_shard(tmp_path / "whole.tar", [{"png": PHOTO, "txt": b"cat"}] * 2).read_bytes()
    end = whole.rstrip(b"\0")
    for size in range(0, len(end), 100):
        path = tmp_path / f"{size}.tar"
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="need whole tar files"):
            list(members(str(path)))


@pytest.mark.parametrize("size", [b"-00000001130", b"77777777777\0", b"twelve bytes"])
def test_a_header_with_another_size_is_refused(tmp_path, size):
    path = write_shard(tmp_path / "a.tar", [{"png": PHOTO, "txt": b"cat"}])
    content = bytearray(path.read_bytes())
    content[124:136] = size
    path.write_bytes(content)
    with pytest.raises(UserError, match="need whole tar files"):
        read_index(str(path))


@given(strategies.integers(0, 2**30), strategies.binary(min_size=1, max_size=30))
def test_a_damaged_shard_is_read_or_refused(place, damage):
    with tempfile.TemporaryDirectory() as folder:
        path = write_names(Path(folder) / "a.tar", tarfile.PAX_FORMAT)
        content = bytearray(path.read_bytes())
        place %= len(content)
        content[place : place + len(damage)] = damage
        path.write_bytes(content)
        with suppress(UserError):
            scan_index(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [(gzip.compress(bytes(999), mtime=0), "not compressed"), (b"<html>" * 200, "damaged"), (b"", "cut off")],
    ids=["not compressed", "damaged", "cut off"],  # the same in every process of a test run
)
def test_what_is_no_tar_is_refused(tmp_path, content, message):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_index(str(tmp_path / "a.tar"))


def test_a_shard_that_is_missing_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be opened"):
        read_index(str(tmp_path / "none.tar"))


def test_shards_of_the_webdataset_package_are_read(tmp_path):
    webdataset = pytest.importorskip("webdataset", reason='writes these shards: pip install "afa-wsss[webdataset]"')
    with webdataset.ShardWriter(f"{tmp_path}/train-%06d.tar", maxcount=2, verbose=0) as shards:
        for key in range(3):
            shards.write({"__key__": f"photos/{key:09}", "jpg": PHOTO, "json": {"labels": ["cat"]}, "cls": key})
    found = [read_index(str(path)) for path in sorted(tmp_path.iterdir())]
    assert [index.keys for index in found] == [["photos/000000000", "photos/000000001"], ["photos/000000002"]]
    assert all((index.spans[:, :3, 0] > 0).all() for index in found)


def test_a_shard_that_is_written_again_is_read_again(tmp_path):
    path = write_shard(tmp_path / "a.tar", [{"png": PHOTO, "cls": b"0"}])
    assert len(read_index(str(path)).keys) == 1
    assert read_index(str(path)) is read_index(str(path))
    write_shard(path, [{"png": PHOTO, "cls": b"0"}] * 2)
    assert len(read_index(str(path)).keys) == 2
