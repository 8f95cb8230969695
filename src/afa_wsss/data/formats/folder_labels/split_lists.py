"""Lists of photos for training and validation: ``train.txt`` and ``val.txt`` beside labels that name no split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.files.lists import read_lines
from afa_wsss.data.formats.folder_labels.contents import Contents
from afa_wsss.data.formats.folder_labels.photo_index import PhotoIndex, has_suffix
from afa_wsss.data.formats.folder_labels.places import photo_folders
from afa_wsss.data.formats.folder_labels.reading import as_posix, counted
from afa_wsss.data.formats.folder_labels.splits import split_of


class SplitLists(NamedTuple):
    """What lists say.

    Attributes:
        files: The lists, relative to the folder.
        splits: ``train`` or ``val`` by the photo's path; ``val`` for one that is in lists of both.
        problems: Lines that name no photo, lists that are not used for that, photos in lists of both.
    """

    files: list[str]
    splits: dict[str, str]
    problems: list[Problem]


def read_split_lists(contents: Contents) -> SplitLists:
    """Reads every ``*.txt`` that is named like a split and half of whose lines at least are photos of the folder.

    Where a line as a whole is no photo, its first word is: lists may have a class or a mask behind the photo.

    Args:
        contents: What lies in the folder.
    """
    found = SplitLists([], {}, [])
    files = [file for file in contents.others if file.lower().endswith(".txt") and split_of(Path(file).stem)]
    if not files:
        return found
    index, folders = PhotoIndex(contents.photos), ["", *photo_folders(contents.photos)]
    by_split: dict[str, dict[str, str]] = {"train": {}, "val": {}}
    for file in files:
        path = contents.root / file
        lines = [as_posix(line) for line in read_lines(path)]
        photos = {line: photo for line in lines if (photo := _photo_of(line, index, folders))}
        missing = [line for line in lines if line not in photos]
        if photos and len(missing) <= len(lines) / 2:
            found.files.append(file)
            found.problems.extend(_missing(path, missing))
            by_split[split_of(path.stem) or ""].update(dict.fromkeys(photos.values(), file))
        elif sum(has_suffix(line) or has_suffix(line.split()[0]) for line in lines) > len(lines) / 2:
            found.problems.append(_not_used(path, missing, len(lines)))
    found.splits.update({photo: split for split, photos in by_split.items() for photo in photos})
    found.problems.extend(_in_both(by_split["train"], by_split["val"]))
    return found


def _missing(path: Path, lines: Sequence[str]) -> Iterator[Problem]:
    message = "need one photo of the folder on each line of {}, {} names none, or several; fix the line or take it out"
    return (Problem("list line without photo", line, message.format(path, line), "warning") for line in lines)


def _not_used(path: Path, missing: Sequence[str], lines: int) -> Problem:
    message = (
        f"need photos of the folder in {path}, {len(missing)} of {counted(lines, 'line')} name none, or several, as "
        f"{missing[0]}: the list is not used; write their places in the folder"
    )
    return Problem("list not used", path.name, message, "warning")


def _in_both(train: Mapping[str, str], val: Mapping[str, str]) -> Iterator[Problem]:
    message = "need each photo in one list, {} is in {} and {}: it is held out; take it off one of them"
    both = [photo for photo in train if photo in val]
    return (
        Problem("in two lists", photo, message.format(photo, train[photo], val[photo]), "warning") for photo in both
    )


def _photo_of(line: str, index: PhotoIndex, folders: Sequence[str]) -> str | None:
    """The photo that a line, or its first word, names."""
    return _find(line, index, folders) or _find(line.split()[0], index, folders)


def _find(line: str, index: PhotoIndex, folders: Sequence[str]) -> str | None:
    """The photo of a line: at its place in one of the folders, else by a name that only one photo has."""
    for folder in folders:
        if paths := index.at(folder, line):
            return paths[0] if len(paths) == 1 else None
    named = index.named(line) if "/" not in line else []
    return named[0] if len(named) == 1 else None
