"""Finds the labels in a folder: which files hold them, in which form, and what they say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.formats.folder_labels.beside import subset_of
from afa_wsss.data.formats.folder_labels.class_folders import masks_beside_photos, read_class_folders
from afa_wsss.data.formats.folder_labels.coco import looks_like_coco, read_coco
from afa_wsss.data.formats.folder_labels.columns import SIDE_TABLE, UNCLEAR
from afa_wsss.data.formats.folder_labels.contents import Contents
from afa_wsss.data.formats.folder_labels.json_rows import (
    LABELME,
    LINES,
    NOT_LABELS,
    labelme_reading,
    looks_like_fiftyone,
    looks_like_labelme,
    other_kind,
    read_fiftyone,
    read_json_lines,
    read_json_list,
    read_labelme,
)
from afa_wsss.data.formats.folder_labels.onehot import read_onehot
from afa_wsss.data.formats.folder_labels.photo_index import PhotoIndex
from afa_wsss.data.formats.folder_labels.reading import Reading, listed, parsed_json, read_labels_text
from afa_wsss.data.formats.folder_labels.splits import split_of
from afa_wsss.data.formats.folder_labels.tables import SUFFIXES as TABLE_SUFFIXES
from afa_wsss.data.formats.folder_labels.tables import read_table
from afa_wsss.data.formats.folder_labels.unread import FOREIGN, NotRead, nothing_understood
from afa_wsss.errors import UserError

CANONICAL = ("labels.csv", "labels.tsv", "labels.jsonl", "metadata.jsonl", "metadata.csv", "cls_labels_onehot.npy")
"""Names of files that must hold labels: where they do not, that is an error."""

CANDIDATES = (".json", ".npy", *LINES, *TABLE_SUFFIXES)
"""Suffixes of files that may hold labels."""


class Found(NamedTuple):
    """A file that holds labels, and what was read from it."""

    file: str
    reading: Reading


class Search(NamedTuple):
    """What a reader needs of the data set's folder."""

    contents: Contents
    photos: PhotoIndex
    known: Sequence[str]


def read_labels(contents: Contents, *, labels: str | None = None, known: Sequence[str] = ()) -> list[Reading]:
    """Labels of a folder of photos: of one form, perhaps in one file for each split.

    Args:
        contents: What lies in the folder.
        labels: The file that holds them, relative to the folder; None to look for it.
        known: Classes of ``classes.txt``.

    Raises:
        UserError: Where nothing is understood, or several forms are there.
    """
    search = Search(contents, PhotoIndex(contents.photos), known)
    if labels is not None:
        return [_asked_for(search, labels)]
    found, not_read = _found(search)
    if found:
        return _one_form(contents.root, found, not_read)
    reading = read_class_folders(contents)
    unclear = _unclear(not_read)
    if unclear:
        raise next(iter(unclear.values()))
    no_classes = masks_beside_photos(reading)
    if no_classes or not reading.photos:
        raise nothing_understood(contents, not_read, no_classes)
    return [_with_note(reading, not_read)]


def _asked_for(search: Search, labels: str) -> Reading:
    root = search.contents.root
    if Path(labels).expanduser().is_absolute():  # readers look for photos by the way from the folder to the file
        labels = os.path.relpath(Path(labels).expanduser().resolve(), root.resolve())
    path = root / labels
    if not path.is_file():
        raise UserError(
            f"need labels to be a file in {root}, got {labels}, which is not there",
            kind="missing",
            arguments=("labels",),
        )
    reading = _read(search, labels)
    if isinstance(reading, UserError):
        raise reading
    if not isinstance(reading, Reading):
        why = reading or f"its suffix is none of {', '.join(CANDIDATES)}; save it as CSV"
        raise UserError(f"need a file of labels, got {path}: {why}", arguments=("labels",))
    return reading


def _found(search: Search) -> tuple[list[Found], NotRead]:
    """Files with labels, and what the other files look like that might hold some; LabelMe's files are one reading."""
    found: list[Found] = []
    not_read: NotRead = {}
    for file in search.contents.others:
        reading = _read(search, file)
        if isinstance(reading, Reading):
            found.append(Found(file, reading))
        elif reading is not None:
            not_read[file] = reading
    labelme = [entry for entry in found if entry.reading.form == LABELME]
    others = [entry for entry in found if entry.reading.form != LABELME]
    if labelme:
        reading = labelme_reading(search.contents.root, [entry.reading for entry in labelme])
        others.append(Found(listed([entry.file for entry in labelme], 1), reading))
    return others, not_read


def _read(search: Search, file: str) -> Reading | str | UserError | None:
    """Labels of a file; in words what else it looks like; None for a file that cannot hold labels."""
    path, root = search.contents.root / file, search.contents.root
    suffix, canonical = path.suffix.lower(), path.name.lower() in CANONICAL
    try:
        if suffix in TABLE_SUFFIXES:
            return _if_of_photos(search, read_table(path, root, search.photos, search.known), canonical)
        if suffix in LINES:
            reading = read_json_lines(path, root, search.photos, search.known)
            if reading.form == NOT_LABELS:
                return "photos without a member for their classes"
            return _if_of_photos(search, reading, canonical)
        if suffix == ".npy":
            return read_onehot(path, root, search.known)
        if suffix == ".json":
            return _of_json(search, path, _parsed(path))
    except UserError as error:
        beside = error.kind in (SIDE_TABLE, UNCLEAR)  # of the photos, but not their labels, as it seems
        if canonical or (not beside and _mentions_photos(search, path)):
            raise
        return error
    return FOREIGN.get(suffix)


def _if_of_photos(search: Search, reading: Reading, canonical: bool) -> Reading | str:
    """A reading that names at least one photo of the folder, or that has the usual name."""
    if canonical or any(search.photos.is_named(photo.file) for photo in reading.photos) or reading.problems:
        return reading
    return "names no photo"


def _mentions_photos(search: Search, path: Path) -> bool:
    """Whether a file that is not understood names photos of the folder: then it was meant as labels."""
    try:
        text = path.read_bytes()[: 1 << 20].decode("utf-8", "replace")
    except OSError:
        return False
    return any(Path(photo).name in text for photo in search.contents.photos[:100])


def _of_json(search: Search, path: Path, content: object) -> Reading | str:
    root = search.contents.root
    if looks_like_coco(content):
        return read_coco(path, root, content)  # type: ignore[arg-type]  # it was just looked at
    if looks_like_labelme(content):
        return read_labelme(path, root, content, search.photos.at)  # type: ignore[arg-type]
    if looks_like_fiftyone(content):
        return read_fiftyone(path, root, content)  # type: ignore[arg-type]
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        reading = read_json_list(path, root, content, search.photos, search.known)
        if reading.form != NOT_LABELS and any(search.photos.is_named(photo.file) for photo in reading.photos):
            return reading
    if isinstance(content, dict) and 2 * sum(map(search.photos.is_named, content)) > len(content):
        rows = [{"file": file, "labels": labels} for file, labels in content.items()]
        return read_json_list(path, root, rows, search.photos, search.known)
    return other_kind(content)


def _parsed(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: For another encoding, for what is no JSON, such as a file that is cut off, and for a member twice.
    """
    text = read_labels_text(path)
    try:
        return parsed_json(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"need JSON in {path}, got {error}; fix it, export it again or move it away") from error


def _one_form(root: Path, found: Sequence[Found], not_read: NotRead) -> list[Reading]:
    """Readings of one form: several files only where each is a split, or in folders of its own.

    Raises:
        UserError: For labels in several forms, or in several files that say the same photos.
    """
    kinds = {_kind(entry.reading) for entry in found}
    files = [entry.file for entry in found]
    if len(kinds) > 1:
        raise _several(root, files)
    if (
        len(found) > 1
        and _kind(found[0].reading) == "table"
        and len({Path(file).parent for file in files}) < len(files)
    ):
        subsets = [subset_of(Path(file)) for file in files]
        if "" in subsets or len(set(subsets)) < len(subsets):
            raise _several(root, files)
    readings = _with_splits([entry.reading for entry in found])
    return [_with_note(readings[0], not_read), *readings[1:]]


def _with_splits(readings: Sequence[Reading]) -> list[Reading]:
    """Gives photos without a split that of their file's name or folder, where one of these stands for validation."""
    splits = [split_of(subset_of(reading.source)) or "" for reading in readings]
    if "val" not in splits:
        return list(readings)
    return [
        reading._replace(photos=[photo._replace(split=photo.split or split) for photo in reading.photos])
        for reading, split in zip(readings, splits, strict=True)
    ]


def _several(root: Path, files: Sequence[str]) -> UserError:
    return UserError(
        f"need one file of labels in {root}, got {listed(files)}; move the others away or name one",
        arguments=("labels",),
    )


def _kind(reading: Reading) -> str:
    words = {"COCO": "coco", "CSV": "table", "TSV": "table", "JSON": "json", "Hugging": "json"}
    return words.get(reading.form.split()[0], reading.form)


def _unclear(not_read: NotRead) -> dict[str, UserError]:
    """Tables of photos that have columns, of which none is known to hold classes, although one may."""
    return {file: why for file, why in not_read.items() if isinstance(why, UserError) and why.kind == UNCLEAR}


def _with_note(reading: Reading, not_read: NotRead) -> Reading:
    """A reading that names the files that were not read; those that may have been meant as labels in a warning."""
    if not not_read:
        return reading
    short = {SIDE_TABLE: "a table of photos without classes", UNCLEAR: "a table of photos without known classes"}
    said = [
        f"{file}: {short.get(why.kind, why) if isinstance(why, UserError) else why}" for file, why in not_read.items()
    ]
    unclear = _unclear(not_read).items()
    problems = [Problem("table not read", file, f"{why}; it is not read", "warning") for file, why in unclear]
    return reading._replace(
        facts=[
            *reading.facts,
            ("other files", "; ".join(said[:5]) + (f"; {len(said) - 5} more" if len(said) > 5 else "")),
        ],
        problems=[*reading.problems, *problems],
    )
