"""Lists of photos for training and validation: ``train.txt`` and ``val.txt`` beside labels that name no split."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from afa_wsss.data.files.lists import read_lines
from afa_wsss.data.formats.folder_labels.contents import Contents
from afa_wsss.data.formats.folder_labels.photo_index import PhotoIndex
from afa_wsss.data.formats.folder_labels.places import photo_folders
from afa_wsss.data.formats.folder_labels.reading import as_posix
from afa_wsss.data.formats.folder_labels.splits import split_of


class SplitLists(NamedTuple):
    """What lists say.

    Attributes:
        files: The lists, relative to the folder.
        splits: ``train`` or ``val`` by the photo's path.
    """

    files: list[str]
    splits: dict[str, str]


def read_split_lists(contents: Contents) -> SplitLists:
    """Reads every ``*.txt`` that is named like a split and whose lines are all photos of the folder.

    Args:
        contents: What lies in the folder.
    """
    found = SplitLists([], {})
    lists = [file for file in contents.others if file.lower().endswith(".txt") and split_of(Path(file).stem)]
    if not lists:
        return found
    index, folders = PhotoIndex(contents.photos), photo_folders(contents.photos)
    for file in lists:
        lines = [as_posix(line) for line in read_lines(contents.root / file)]
        paths = [_find(line, index, ["", *folders]) for line in lines]
        if paths and None not in paths:
            found.files.append(file)
            found.splits.update(dict.fromkeys((path for path in paths if path), split_of(Path(file).stem) or ""))
    return found


def _find(line: str, index: PhotoIndex, folders: list[str]) -> str | None:
    """The photo of a line: at its place in one of the folders, else by a name that only one photo has."""
    for folder in folders:
        if paths := index.at(folder, line):
            return paths[0] if len(paths) == 1 else None
    named = index.named(line) if "/" not in line else []
    return named[0] if len(named) == 1 else None
