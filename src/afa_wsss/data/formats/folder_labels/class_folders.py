"""Photos in one folder for each class, inside or around folders for train and val."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.formats.folder_labels.beside import PHOTO_FOLDERS
from afa_wsss.data.formats.folder_labels.contents import Contents
from afa_wsss.data.formats.folder_labels.reading import (
    NO_CLASS,
    Reading,
    TaggedPhoto,
    class_name,
    counted,
    listed,
    unique,
)
from afa_wsss.data.formats.folder_labels.splits import split_of
from afa_wsss.data.formats.folder_masks import AFFIX

MASKS_BY_NAME = re.compile(AFFIX, re.I)
"""How a folder of masks may be called: ``labels``, ``gt``, ``SegmentationClass``; those in ``masks`` are left out."""


class _Place(NamedTuple):
    """A photo and the folders that it is in, from the outermost that may be a class."""

    file: str
    folders: tuple[str, ...]


class _Sorted(NamedTuple):
    """A photo's class and split by its folders; ``inner`` is what lies below the folder of the class."""

    file: str
    label: str
    split: str
    inner: tuple[str, ...]


def read_class_folders(contents: Contents) -> Reading:
    """Photos by their folders; files of equal name and content in several classes of one split are one photo.

    Args:
        contents: What lies in the data set's folder.
    """
    places = [_Place(file, tuple(file.split("/")[:-1])) for file in contents.photos]
    wrapper, places = _unwrapped(places)
    loose = [place.file for place in places if not place.folders]
    inside = [place for place in places if place.folders]
    found, way, unsorted = _sort(inside)
    photos = list(_join_copies(contents.root, found))
    loose += unsorted
    facts = [("class folders", way)] if way else []
    facts += [("folder around all photos", wrapper)] if wrapper else []
    problems = [*_nested(found), *_unreadable(found)]
    if loose and photos:
        message = (
            f"need photos in class folders, {listed(loose, 3)} are not ({counted(len(loose), 'photo')}); sort them or "
            "move them away"
        )
        problems.append(Problem("photo without class folder", loose[0], message, "warning"))
    return Reading("class folders", contents.root, photos, facts, problems)


def masks_beside_photos(reading: Reading) -> list[str]:
    """What class folders are that are, by their names, a folder of photos and one of their masks; empty for others."""
    names = list(dict.fromkeys(label for photo in reading.photos for label in photo.labels))
    photos = [name for name in names if name.lower() in PHOTO_FOLDERS]
    masks = [name for name in names if MASKS_BY_NAME.match(name)]
    return [*photos, *masks] if photos and masks else []


def _unwrapped(places: Sequence[_Place]) -> tuple[str, list[_Place]]:
    """Takes off folders that hold everything and are no class: ``images``, or any that holds no photo itself."""
    taken: list[str] = []
    while places:
        outer = {place.folders[:1] for place in places}
        if len(outer) != 1 or outer == {()}:
            break
        (name,) = outer.pop()
        direct = any(len(place.folders) == 1 for place in places)
        if split_of(name) or (direct and name.lower() not in PHOTO_FOLDERS):
            break
        places = [_Place(place.file, place.folders[1:]) for place in places]
        taken.append(name)
    return "/".join(taken), list(places)


def _sort(places: Sequence[_Place]) -> tuple[list[_Sorted], str, list[str]]:
    """Class and split of each photo, how the folders lie, and photos that have no class folder."""
    tops = {place.folders[0] for place in places}
    splits = {top for top in tops if split_of(top)}
    deep = {top for top in splits if any(len(place.folders) > 1 for place in places if place.folders[0] == top)}
    if splits and (deep or splits == tops):
        return _below_splits(places, splits)
    inner = {place.folders[1] for place in places if len(place.folders) > 1}
    if inner and all(split_of(name) for name in inner):
        found = [
            _Sorted(place.file, place.folders[0], split_of(place.folders[1]) or "" if len(place.folders) > 1 else "",
                    place.folders[2:])
            for place in places
        ]  # fmt: skip
        return found, f"classes, in them {listed(sorted(inner))}", []
    return [_Sorted(place.file, place.folders[0], "", place.folders[1:]) for place in places], "", []


def _below_splits(places: Sequence[_Place], splits: set[str]) -> tuple[list[_Sorted], str, list[str]]:
    """Splits outside, classes inside, with ``images`` between them taken off."""
    found, unsorted = [], []
    for top in sorted({place.folders[0] for place in places}):
        below = [_Place(place.file, place.folders[1:]) for place in places if place.folders[0] == top]
        middle = {place.folders[:1] for place in below}
        if len(middle) == 1 and (name := next(iter(middle))) and name[0].lower() in PHOTO_FOLDERS:
            below = [_Place(place.file, place.folders[1:]) for place in below]
        for place in below:
            if place.folders and top in splits:
                found.append(_Sorted(place.file, place.folders[0], split_of(top) or "", place.folders[1:]))
            else:
                unsorted.append(place.file)
    return found, f"{listed(sorted(splits))}, in them classes", unsorted


def _nested(found: Sequence[_Sorted]) -> list[Problem]:
    """A warning where a class has folders of its own: they may be what the user calls classes."""
    inner = Counter(f"{photo.label}/{photo.inner[0]}" for photo in found if photo.inner)
    if not inner:
        return []
    first, count = next(iter(inner.items()))
    message = (
        f"need one folder for each class, folders inside a class count for it: {listed(list(inner), 3)}, so "
        f"{count} photos of {first} are {first.split('/')[0]}; point root at the folder of the classes if that is wrong"
    )
    return [Problem("folders in a class", first, message, "warning")]


def _unreadable(found: Sequence[_Sorted]) -> list[Problem]:
    """A warning for each class whose folder's name is not UTF-8, with the name that it has instead."""
    message = "need names of folders in UTF-8, that of class {} is not; rename the folder"
    labels = dict.fromkeys(photo.label for photo in found)
    names = [name for label in labels for name in unique([label], empty=NO_CLASS) if name != class_name(label)]
    return [Problem("folder not in UTF-8", name, message.format(name), "warning") for name in names]


def _join_copies(root: Path, found: Iterable[_Sorted]) -> Iterable[TaggedPhoto]:
    by_name: dict[tuple[str, str], list[_Sorted]] = defaultdict(list)
    for photo in found:
        by_name[photo.split, photo.file.rpartition("/")[2]].append(photo)
    for places in by_name.values():
        by_content: dict[bytes, list[_Sorted]] = defaultdict(list)
        for photo in places:
            several = len({class_name(place.label) for place in places}) > 1
            by_content[_digest(root / photo.file) if several else photo.file.encode("utf-8", "surrogateescape")].append(
                photo
            )
        for copies in by_content.values():
            labels = unique((photo.label for photo in copies), empty=NO_CLASS)
            yield TaggedPhoto(copies[0].file, labels, copies[0].split, f"folder {copies[0].file.rpartition('/')[0]}")


def _digest(path: Path) -> bytes:
    """Hash of a file's content; of its path where there is no file, such as behind a broken link."""
    return hashlib.sha256(path.read_bytes() if path.is_file() else bytes(path)).digest()
