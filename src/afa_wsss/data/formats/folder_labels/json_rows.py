"""Labels as JSON of one entry for each photo: lines, a list, LabelMe's files, FiftyOne's and Hugging Face's forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.formats.folder_labels.beside import folders_of
from afa_wsss.data.formats.folder_labels.label_cells import label_cell, label_names
from afa_wsss.data.formats.folder_labels.photo_index import PhotoIndex
from afa_wsss.data.formats.folder_labels.reading import (
    NO_CLASS,
    Reading,
    TaggedPhoto,
    as_posix,
    parsed_json,
    read_labels_text,
    unique,
)
from afa_wsss.data.formats.folder_labels.splits import held_out_split, split_of
from afa_wsss.data.formats.folder_labels.tags import check_names, read_as_no_class, split_tags
from afa_wsss.data.formats.folder_labels.words import FILE_WORDS, IS_VALIDATION_WORDS, LABEL_WORDS, SPLIT_WORDS

LINES = (".jsonl", ".ndjson")
"""Suffixes of files with one JSON object on each line."""

LABELME = "LabelMe JSON beside each photo"
"""Form of LabelMe's files."""

NOT_LABELS = "no labels"
"""Form of a file that has photos, but no member with their classes."""


def read_json_lines(path: Path, root: Path, index: PhotoIndex, known: Sequence[str] = ()) -> Reading:
    """One JSON object on each line: ``file`` or ``file_name``, ``labels`` or ``objects``, perhaps ``split``."""
    rows: list[tuple[str, Any]] = []
    problems = []
    for number, line in enumerate(read_labels_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append((f"line {number}", parsed_json(line)))
        except ValueError as error:
            problems.append(_malformed(path, f"line {number}", str(error)))
    form = "Hugging Face metadata" if path.stem == "metadata" else "JSON lines"
    return _read_rows(form, path, root, rows, problems, index, known)


def read_json_list(
    path: Path, root: Path, content: Sequence[Any], index: PhotoIndex, known: Sequence[str] = ()
) -> Reading:
    """A list of such objects."""
    rows = [(f"entry {number}", row) for number, row in enumerate(content, 1)]
    return _read_rows("JSON list", path, root, rows, [], index, known)


def _read_rows(
    form: str,
    path: Path,
    root: Path,
    rows: Sequence[tuple[str, Any]],
    problems: list[Problem],
    index: PhotoIndex,
    known: Sequence[str],
) -> Reading:
    found: list[tuple[str, str, str | list[object], str, bool]] = []
    file_key, label_key = _photo_member(rows, index), _label_member(rows)
    if label_key is None and rows and file_key is not None and len(rows) > 1:
        return Reading(NOT_LABELS, path, [])
    for place, row in rows:
        try:
            cell = row[label_key or "labels"]
            file = str(row[file_key or "file"])
            found.append((place, file, label_cell(cell), *_split_word(row)))
        except (KeyError, TypeError, AttributeError) as error:
            problems.append(_malformed(path, place, repr(error)))
    cells = [cell for _, _, cell, _, _ in found]
    check_names(path, cells)
    tags, ways = split_tags(cells, known)
    photos, beside = [], folders_of(path, root)
    for (place, file, _, word, by_name), labels in zip(found, tags, strict=True):
        split = split_of(word) if by_name else held_out_split(word)
        if split is None:
            wanted = "train, val or test as split" if by_name else "true or false as is_valid"
            message = f"need {wanted} in {path}, {place} has {word!r}; fix it"
            problems.append(Problem("split unknown", file, message))
        photos.append(TaggedPhoto(as_posix(file), labels, split or "", f"{path.name}, {place}", beside))
    facts = [("members", f"{file_key or 'file'}: photo; {label_key or 'labels'}: classes")]
    facts += [("several tags in a text", f"joined by {' and '.join(ways)}")] if set(ways) - {"list"} else []
    facts += read_as_no_class(cells, known)
    return Reading(form, path, photos, facts, problems)


def _photo_member(rows: Sequence[tuple[str, Any]], index: PhotoIndex) -> str | None:
    """The member that names the photos: of those that are called so, the one whose values do."""
    dicts = [row for _, row in rows if isinstance(row, dict)]
    names = dict.fromkeys(name for row in dicts for name in row if name.lower() in FILE_WORDS)
    texts = {name: [str(row[name]) for row in dicts if isinstance(row.get(name), str | int | float)] for name in names}
    first = [name for name in ("file", "file_name") if name in texts]
    return index.named_most({name: (name.lower(), texts[name]) for name in [*first, *texts]}) if texts else None


def _member(rows: Sequence[tuple[str, Any]], words: frozenset[str], first: Sequence[str]) -> str | None:
    """The member of most rows that is named by one of the words."""
    names = [name for _, row in rows if isinstance(row, dict) for name in row if name.lower() in words]
    return max(dict.fromkeys([*(name for name in first if name in names), *names]), key=names.count, default=None)


def _label_member(rows: Sequence[tuple[str, Any]]) -> str | None:
    return _member(rows, LABEL_WORDS - {"annotations", "annotation"}, ("labels", "label", "objects"))


def _split_word(row: Mapping[str, Any]) -> tuple[str, bool]:
    """What an entry says of its split, and whether by a name such as ``val``; else by ``is_valid`` or its kind."""
    by_name = next((row[name] for name in row if name.lower() in SPLIT_WORDS), None)
    held_out = next((row[name] for name in row if name.lower() in IS_VALIDATION_WORDS), None)
    if by_name is not None or held_out is None:
        return str(by_name or ""), True
    return str(held_out), False


def _malformed(path: Path, place: str, why: str) -> Problem:
    message = (
        f'need {{"file": "a.jpg", "labels": ["cat"]}} on each line of {path}, {place} is different ({why}); fix it'
    )
    return Problem("row malformed", place, message)


def looks_like_fiftyone(content: object) -> bool:
    """Whether parsed JSON is FiftyOne's form of image classes."""
    return isinstance(content, dict) and isinstance(content.get("labels"), dict) and "classes" in content


def read_fiftyone(path: Path, root: Path, content: Mapping[str, Any]) -> Reading:
    """``{"classes": [...], "labels": {"photo": class}}``: a class is a name, an index, a list of them, or null."""
    classes, photos, problems = content["classes"] or [], [], []
    for name, value in content["labels"].items():
        try:
            entries = value if isinstance(value, list) else [] if value is None else [value]
            labels = [
                _class_at(classes, entry) if isinstance(entry, int) else label_names(entry)[0] for entry in entries
            ]
        except (IndexError, TypeError) as error:
            problems.append(_malformed(path, name, repr(error)))
            continue
        beside = path.parent.relative_to(root)
        folders = ((beside / "data").as_posix(), beside.as_posix(), "")
        tags = unique((str(label) for label in labels if label is not None), empty=NO_CLASS)
        photos.append(TaggedPhoto(as_posix(name), tags, "", f"{path.name}, {name}", folders))
    return Reading("FiftyOne's image classes", path, photos, [], problems)


def _class_at(classes: Sequence[Any], index: int) -> Any:
    if not 0 <= index < len(classes):
        raise IndexError(f"class {index} of {len(classes)}, counted from 0")
    return classes[index]


def looks_like_labelme(content: object) -> bool:
    """Whether parsed JSON is LabelMe's of one photo."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def read_labelme(
    path: Path, root: Path, content: Mapping[str, Any], find: Callable[[str, str], Sequence[str]]
) -> Reading:
    """One photo: the labels of the shapes and the flags that are set.

    It lies where ``imagePath`` says, unless a photo beside the file has the file's own name: files are renamed with
    their photos, and ``imagePath`` stays as it was.

    Args:
        path: The file.
        root: The data set's folder.
        content: Its parsed JSON.
        find: The photos at a place relative to a folder.
    """
    flags = content.get("flags")
    try:
        names = [str(shape["label"]) for shape in content["shapes"]]
    except (KeyError, TypeError) as error:
        message = f"need a label for each shape in {path}, got {error!r}; fix the file"
        return Reading(LABELME, path, [], [], [Problem("row malformed", path.name, message)])
    names += [name for name, is_set in flags.items() if is_set] if isinstance(flags, dict) else []
    here = path.parent.relative_to(root).as_posix()
    file, problems = as_posix(str(content["imagePath"])), []
    said, own = find(here, file), find(here, path.stem)
    if own and not set(said) & set(own):
        if said:
            message = (
                f"need the photo of {path}: its imagePath is {file}, but {own[0]} is beside it and is taken; fix "
                "imagePath, or rename the file like its photo"
            )
            problems = [Problem("imagePath of another photo", own[0], message, "warning")]
        file = path.stem
    place = path.relative_to(root).as_posix()
    photo = TaggedPhoto(file, unique(names, empty=NO_CLASS), "", place, (here, ""))
    return Reading(LABELME, path, [photo], [], problems)


def labelme_reading(source: Path, readings: Sequence[Reading]) -> Reading:
    """All photos of a folder of LabelMe's files."""
    photos = [photo for reading in readings for photo in reading.photos]
    problems = [problem for reading in readings for problem in reading.problems]
    empty = sum(not photo.labels for photo in photos)
    facts = [("files", f"{len(readings)} JSON files, {empty} without a shape")]
    return Reading(LABELME, source, photos, facts, problems)


def other_kind(content: object) -> str:
    """What JSON that holds no labels for this package looks like, in a few words."""
    if (
        isinstance(content, list)
        and content
        and isinstance(content[0], dict)
        and {"data", "annotations"} <= set(content[0])
    ):
        return "Label Studio's own JSON: export it as COCO, choices as CSV"
    if isinstance(content, dict):
        missing = [key for key in ("annotations", "categories") if not isinstance(content.get(key), list)]
        if isinstance(content.get("images"), list):
            return f"COCO without {' and '.join(missing)}"
        if "_via_img_metadata" in content:
            return "VGG Image Annotator's own JSON: export it as COCO"
    return "not labels"
