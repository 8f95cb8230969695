"""Where the files of a tar lie, and which of them belong to one photo; reads headers alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from afa_wsss.data.files.photos import PHOTO_SUFFIXES
from afa_wsss.errors import UserError

BLOCK = 512
"""Headers have one block; contents are padded to whole ones."""

CACHED = 32
"""Shards whose index a process keeps."""

LABEL_SUFFIXES = ("cls", "json", "txt")
"""Entries that hold the classes of a photo; the first that has some counts."""

_COLUMNS = {suffix[1:]: 0 for suffix in PHOTO_SUFFIXES} | {
    suffix: column for column, suffix in enumerate(LABEL_SUFFIXES, start=1)
}
_FILE = (b"0", b"\0")
_MORE = (b"x", b"L", b"K", b"g")
"""Types of tar entries: files, and headers that say more of the entry that follows."""

_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")


class Member(NamedTuple):
    """A file in a tar.

    Attributes:
        name: With the folders inside the tar.
        offset: First byte of its content.
        size: Bytes.
    """

    name: str
    offset: int
    size: int


class ShardIndex(NamedTuple):
    """The samples of a shard: files in a row with the same name up to its first dot.

    Attributes:
        keys: That name, of each sample.
        spans: Offset and size of photo, ``.cls``, ``.json`` and ``.txt``; -1 where there is none.
    """

    keys: list[str]
    spans: Int64[np.ndarray, "n 4 2"]


def read_index(path: str) -> ShardIndex:
    """The samples of a shard, in their order; kept until the file changes.

    Raises:
        UserError: For a file that is missing, compressed, cut off, or no tar.
    """
    try:
        state = os.stat(path)  # noqa: PTH116  at each sample: a Path costs more than this
    except OSError:
        return scan_index(path)
    return _kept_index(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=CACHED)
def _kept_index(path: str, modified: int, size: int) -> ShardIndex:
    """``scan_index`` of the file of that state."""
    del modified, size
    return scan_index(path)


def scan_index(path: str) -> ShardIndex:
    """``read_index`` from the file, whatever is kept of it."""
    keys: list[str] = []
    spans: list[list[list[int]]] = []
    for member in members(path):
        named = _NAME.fullmatch(member.name)
        if named is None or member.name.startswith("__"):  # hidden files, and webdataset's own notes
            continue
        key, suffix = named[1], named[2].lower()
        if not keys or key != keys[-1]:
            keys.append(key)
            spans.append([[-1, -1] for _ in range(1 + len(LABEL_SUFFIXES))])
        column = _COLUMNS.get(suffix)
        if column is not None and spans[-1][column][0] < 0:
            spans[-1][column] = [member.offset, member.size]
    return ShardIndex(keys, np.array(spans, dtype=np.int64).reshape(-1, 1 + len(LABEL_SUFFIXES), 2))


def members(path: str) -> Iterator[Member]:
    """The files of an uncompressed tar (POSIX, pax or GNU), as ``tarfile`` lists them, in a tenth of its time.

    Raises:
        UserError: As ``read_index``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"need a shard at {path}, it cannot be opened ({error.strerror}); fix root") from error
    try:
        yield from _walk(path, descriptor, os.fstat(descriptor).st_size)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"need whole tar files, a header of {path} is damaged ({error}); copy it again") from error
    finally:
        os.close(descriptor)


def _walk(path: str, descriptor: int, total: int) -> Iterator[Member]:
    position, extra = 0, dict[bytes, bytes]()
    while (head := os.pread(descriptor, BLOCK, position)).strip(b"\0"):
        if head[257:262] != b"ustar":
            raise _no_tar(path, head)
        kind, start, size = head[156:157], position + BLOCK, _number(head[124:136])
        if kind in _FILE:
            size = int(extra.get(b"size", size))
        if not 0 <= size <= total - start:
            raise UserError(f"need whole tar files, {path} is cut off; copy it again")
        position = start + (size + BLOCK - 1) // BLOCK * BLOCK
        if kind in _MORE:
            extra |= _records(os.pread(descriptor, size, start), kind)
            continue
        if kind in _FILE:
            yield Member(extra.get(b"path", _short_name(head)).decode("utf-8", "replace"), start, size)
        extra = {}
    if len(head) < BLOCK:  # the block of zeros behind the last file is missing
        raise UserError(f"need whole tar files, {path} is cut off; copy it again")


def _no_tar(path: str, head: bytes) -> UserError:
    if head[:2] == b"\x1f\x8b" or head[:3] == b"BZh" or head[:4] == b"\x28\xb5\x2f\xfd" or head[:5] == b"\xfd7zXZ":
        return UserError(f"need tar files that are not compressed, {path} is; photos are compressed already: unpack it")
    return UserError(f"need whole tar files, {path} is none, or damaged; copy it again")


def _number(field: bytes) -> int:
    """Octal digits, or base 256 where the first bit is set."""
    if field[:1] and field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def _short_name(head: bytes) -> bytes:
    name, prefix = head[:100].partition(b"\0")[0], head[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix and head[257:263] == b"ustar\0" else name


def _records(data: bytes, kind: bytes) -> dict[bytes, bytes]:
    """What a header in front of another says of it.

    Of pax: ``<length> <name>=<value>`` and a line break for each; of GNU: a long name.
    """
    if kind == b"L":
        return {b"path": data.rstrip(b"\0")}
    found = {}
    while data and kind == b"x":
        digits = data.partition(b" ")[0]
        length = int(digits)
        if length <= len(digits):
            raise ValueError(f"a record of length {length}")
        name, _, value = data[len(digits) + 1 : length - 1].partition(b"=")
        found[name] = value
        data = data[length:]
    return found
