"""Finds photos by the names that labels give them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from posixpath import join, normpath
from typing import TypeVar
from urllib.parse import unquote

from afa_wsss.data.files.photos import without_suffix
from afa_wsss.data.formats.folder_labels.reading import as_posix, plain
from afa_wsss.data.formats.folder_labels.words import ID_WORDS

Key = TypeVar("Key")

PROBED = 1000
"""Cells of a column that decide whether it names the photos."""

_UPLOADED = re.compile(r"(?:^|/)upload/\d+/[0-9a-f]{8}-(?=[^/]+$)")
"""What Label Studio writes before the name of a photo that was uploaded."""


class PhotoIndex:
    """Finds photos by the names that labels give them."""

    def __init__(self, photos: list[str]) -> None:
        """Indexes relative paths."""
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_path: list[dict[str, list[str]]] = [defaultdict(list) for _ in range(4)]
        for photo in photos:
            path = plain(photo)
            for by_path, key in zip(self._by_path, _keys(path), strict=True):
                by_path[key].append(photo)
            name = path.casefold().rpartition("/")[2]
            for spelling in {name, without_suffix(name)}:
                self._by_name[spelling].append(photo)

    def at(self, folder: str, file: str) -> list[str]:
        """Photos at a place relative to a folder: as written, else without a suffix, else in another case."""
        path = normpath(join(folder, file))
        keys = (path, path, path.casefold(), path.casefold())
        found = (by_path.get(key) for by_path, key in zip(self._by_path, keys, strict=True))
        return next(filter(None, found), [])

    def named(self, file: str) -> list[str]:
        """All photos with the file's own name, in whatever folder; else with the name that it was uploaded with."""
        uploaded = _UPLOADED.search(file)
        names = (file.rpartition("/")[2], file[uploaded.end() :] if uploaded else "")
        return next(filter(None, (self._by_name.get(name.casefold()) for name in names)), [])

    def holds(self, cell: str) -> bool:
        """Whether a cell names a photo that is there."""
        name = as_posix(cell)
        return bool(name) and any(self.named(spelling) for spelling in spellings(name))

    def is_named(self, cell: str) -> bool:
        """Whether a cell names a photo that is there, or looks as if it did."""
        return has_suffix(cell) or self.holds(cell)

    def named_most(self, columns: Mapping[Key, tuple[str, Sequence[str]]]) -> Key:
        """The column that names the photos.

        Of those that name about as many photos as any other, it is the one with the suffixes of pictures, else one that
        is not called an id: an id may count the rows, and photos be named by numbers.

        Args:
            columns: Word and cells of each that may be it, the likeliest first.
        """
        there = {key: sum(map(self.holds, cells[:PROBED])) for key, (_, cells) in columns.items()}
        if 2 * max(there.values()) < max(len(cells[:PROBED]) for _, cells in columns.values()):
            there = {key: sum(map(has_suffix, cells[:PROBED])) for key, (_, cells) in columns.items()}
        most = max(there.values())

        def rank(key: Key) -> tuple[int, bool, int]:
            word, cells = columns[key]
            return sum(map(has_suffix, cells[:PROBED])), word not in ID_WORDS, there[key]

        return max((key for key in columns if 2 * there[key] >= most), key=rank)


def _keys(path: str) -> tuple[str, str, str, str]:
    """What a photo's path may be written as, the likeliest first."""
    return path, without_suffix(path), path.casefold(), without_suffix(path.casefold())


def has_suffix(cell: str) -> bool:
    """Whether a cell is a name with the suffix of a picture."""
    name = as_posix(cell)
    return bool(name) and without_suffix(name) != normpath(name)


def spellings(file: str) -> Iterator[str]:
    """The file as written, and as it may be meant where it is an address."""
    yield file
    if "?d=" in file:
        file = file.partition("?d=")[2]
        yield file
    if file.startswith("file://"):
        file = file.removeprefix("file://")
    if "://" in file and "?" in file:
        file = file.partition("?")[0]
        yield file
    if "%" in file:
        yield unquote(file)
