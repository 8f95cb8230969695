"""Finds the photo that each entry of the labels means."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from posixpath import join
from typing import NamedTuple

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.formats.folder_labels.beside import PHOTO_FOLDERS
from afa_wsss.data.formats.folder_labels.photo_index import PhotoIndex, spellings
from afa_wsss.data.formats.folder_labels.reading import Reading, TaggedPhoto, listed
from afa_wsss.data.formats.folder_labels.splits import split_of

FOREIGN = re.compile(r"^(/|[A-Za-z]:/|[a-z0-9]+://|\.\./)|\?d=")
"""How a file begins that is named by its place on another machine, or by a server's address."""

COCO_PARTS = ("instances_", "person_keypoints_", "stuff_", "panoptic_")
"""How COCO's own files begin: their labels of a photo are joined."""


class Placed(NamedTuple):
    """An entry of the labels and its photo.

    Attributes:
        photo: The entry.
        path: Relative to the data set's folder; where nothing is found, where the photo should be.
        found: Whether there is a photo.
    """

    photo: TaggedPhoto
    path: str
    found: bool


class Places(NamedTuple):
    """All entries with their photos, what was understood, and what is wrong."""

    placed: list[Placed]
    facts: list[tuple[str, str]]
    problems: list[Problem]


def place_photos(readings: Sequence[Reading], photos: Sequence[str]) -> Places:
    """Finds the photo of each entry: as the labels write it, else by its own name where that leaves one.

    A photo's own name decides only where the labels name places that do not exist here: a server's address, another
    machine's folder.

    Args:
        readings: What was read.
        photos: Paths of all photos, relative to the data set's folder.
    """
    index, folders = PhotoIndex(list(photos)), photo_folders(photos)
    placed: list[list[Placed]] = []
    facts: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for reading in readings:
        found = [_as_written(photo, index, folders) for photo in reading.photos]
        none_found = not any(paths for paths in found)
        elsewhere = 0
        for at, (photo, paths) in enumerate(zip(reading.photos, found, strict=True)):
            if not paths and (none_found or FOREIGN.search(photo.file)):
                found[at] = _by_name(photo, index)
                elsewhere += len(found[at]) == 1
        if elsewhere:
            facts.append(("photos found by their names alone", f"{elsewhere}, as {_example(reading.photos, found)}"))
        base = _usual_base(reading.photos, found)
        pairs = list(zip(reading.photos, found, strict=True))
        problems += [_ambiguous(reading, photo, paths) for photo, paths in pairs if len(paths) > 1]
        placed.append(
            [Placed(photo, paths[0] if paths else join(base, photo.file), bool(paths)) for photo, paths in pairs]
        )
    problems += _claimed_twice(placed)
    return Places([entry for entries in placed for entry in entries], facts, problems)


def photo_folders(photos: Sequence[str]) -> list[str]:
    """Folders that labels may leave out: ``images``, ``train``, ``images/train``, ``train/images``, ..."""
    folders = dict.fromkeys(photo.rpartition("/")[0] for photo in photos)
    chosen: dict[str, None] = {}
    for folder in folders:
        parts = folder.split("/")
        for depth in range(1, len(parts) + 1):
            if all(part.lower() in PHOTO_FOLDERS or split_of(part) for part in parts[:depth]):
                chosen["/".join(parts[:depth])] = None
    return list(chosen)


def _as_written(photo: TaggedPhoto, index: PhotoIndex, folders: Sequence[str]) -> list[str]:
    """Photos at the file's place in one of the folders that it may be relative to; one, none or several."""
    for file in spellings(photo.file):
        if FOREIGN.search(file) and not file.startswith("../"):
            continue
        for folder in photo.beside:
            if paths := index.at(folder, file):
                return paths
        several = dict.fromkeys(path for folder in folders for path in index.at(folder, file))
        if several:
            of_split = [path for path in several if _split_in(path) == photo.split]
            return of_split if photo.split and len(of_split) == 1 else list(several)
    return []


def _split_in(path: str) -> str:
    return next((split for part in path.split("/")[:-1] if (split := split_of(part))), "")


def _by_name(photo: TaggedPhoto, index: PhotoIndex) -> list[str]:
    """Photos of the file's own name whose folders agree best with those in the labels."""
    best: list[str] = []
    most = 0
    for file in spellings(photo.file):
        for path in index.named(file):
            common = _common_end(path, file)
            if common > most:
                best, most = [path], common
            elif common == most and path not in best:
                best.append(path)
    if len(best) > 1 and photo.split:
        best = [path for path in best if _split_in(path) == photo.split] or best
    return best


def _common_end(path: str, file: str) -> int:
    """Number of parts, from the last, in which two paths agree; the last may lack a suffix."""
    count = 1
    for one, other in zip(path.lower().split("/")[-2::-1], file.lower().split("/")[-2::-1], strict=False):
        if one != other:
            break
        count += 1
    return count


def _usual_base(photos: Sequence[TaggedPhoto], found: Sequence[list[str]]) -> str:
    """The folder that most files are relative to, to name a missing photo's place."""
    bases = Counter(
        path[: -len(photo.file)].rstrip("/")
        for photo, paths in zip(photos, found, strict=True)
        for path in paths[:1]
        if path.endswith(photo.file)
    )
    bases += Counter(
        path.rpartition("/")[0]
        for photo, paths in zip(photos, found, strict=True)
        for path in paths[:1]
        if "/" not in photo.file and not path.endswith(photo.file)
    )
    return bases.most_common(1)[0][0] if bases else ""


def _example(photos: Sequence[TaggedPhoto], found: Sequence[list[str]]) -> str:
    pairs = [(photo.file, paths[0]) for photo, paths in zip(photos, found, strict=True) if len(paths) == 1]
    return " -> ".join(next((pair for pair in pairs if pair[0] != pair[1]), pairs[0]))


def _ambiguous(reading: Reading, photo: TaggedPhoto, paths: Sequence[str]) -> Problem:
    message = (
        f"need one photo for each file in {reading.source}, {photo.file} ({photo.place}) may be "
        f"{listed(list(paths), 3)}; write its folder and its suffix into the labels"
    )
    return Problem("photo ambiguous", photo.file, message)


def _of_one_set(source: str) -> bool:
    """Whether a file is one of several of COCO, which have other objects of the same photos."""
    return source.startswith(COCO_PARTS)


def _claimed_twice(placed: Sequence[Sequence[Placed]]) -> Iterator[Problem]:
    """Entries of one reading or file of labels, or of different splits, that mean the same photo."""
    by_path: dict[str, list[tuple[int, TaggedPhoto]]] = defaultdict(list)
    for number, entries in enumerate(placed):
        for entry in entries:
            if entry.found:
                by_path[entry.path].append((number, entry.photo))
    for path, claims in by_path.items():
        photos = [photo for _, photo in claims]
        sources = {photo.place.partition(",")[0] for photo in photos}
        if len({photo.split for photo in photos}) > 1:
            kind, what = "in train and val", "need one split for a photo"
        elif len(photos) > min(len(sources), len({number for number, _ in claims})):
            kind, what = "listed twice", "need each photo once"
        elif len({frozenset(photo.labels) for photo in photos}) > 1 and not all(map(_of_one_set, sources)):
            kind, what = "labels differ", "need files of labels that agree"
        else:
            continue
        message = f"{what}, {path} is listed by {listed([photo.place for photo in photos])}; remove all but one"
        yield Problem(kind, path, message)
