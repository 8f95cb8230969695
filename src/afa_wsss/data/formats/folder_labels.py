"""Image labels of one's own photos: from a table, a COCO file, or the folders that the photos lie in."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from afa_wsss.data.checks.problems import Problem, Report
from afa_wsss.data.files.lists import read_lines, read_text
from afa_wsss.data.files.photos import RUN_FOLDERS, is_photo
from afa_wsss.errors import UserError

SPLITS = ("train", "val")
NO_CLASSES = ("masks", "wandb", "__MACOSX", *RUN_FOLDERS)
"""Folders beside those of classes: masks, runs of these commands, and what systems leave."""

VALIDATION_WORDS = ("val", "valid", "validation", "test")
"""What the held-out part is called; everything else is trained with."""

FILE_WORDS = ("file", "image", "photo", "path", "filename", "file_name", "filepath", "file_path", "image_path")
LABEL_WORDS = ("labels", "label", "classes", "class", "tags", "tag", "categories", "category")
"""What the columns of a table may be called."""

FORMS = "labels.csv (file,labels), labels.jsonl, a COCO *.json, or a folder of photos for each class"


class Tagged(NamedTuple):
    """A photo and the names of its classes.

    Attributes:
        file: Relative to the data set's folder.
        labels: Names of the classes in it.
        split: ``train`` or ``val``; empty where nothing is said.
    """

    file: str
    labels: tuple[str, ...]
    split: str = ""


def find_table(root: Path) -> Path | None:
    """The file with the labels, or None where folders have to tell.

    Raises:
        UserError: Where there are several.
    """
    found = [path for path in (root / "labels.csv", root / "labels.jsonl") if path.is_file()]
    found += [path for path in sorted(root.glob("*.json")) if _is_coco(path)]
    if len(found) > 1:
        named = ", ".join(path.name for path in found)
        raise UserError(f"need one file of labels in {root}, got {named}; move the others away")
    return found[0] if found else None


def _is_coco(path: Path) -> bool:
    """Whether a JSON file seems to be one of COCO's, by the words that it begins with or holds."""
    with path.open("rb") as file:
        beginning = file.read(1 << 20)
    return any(word in beginning for word in (b'"images"', b'"annotations"', b'"categories"'))


def read_table(path: Path, report: Report) -> list[Tagged]:
    """Labels of ``labels.csv``, ``labels.jsonl`` or a COCO file; rows that cannot be understood are reported."""
    readers: dict[str, Callable[[Path, Report], list[Tagged]]] = {".csv": read_csv, ".jsonl": read_json_lines}
    return readers.get(path.suffix, read_coco)(path, report)


def read_csv(path: Path, report: Report) -> list[Tagged]:
    """Rows of a file and its classes, these with ``;`` between them; the first row may name the columns.

    Where columns have ``;`` between them, as some spreadsheets write them, all cells after the file are classes.
    """
    lines = read_lines(path)
    delimiter = ";" if lines and ";" in lines[0] and "," not in lines[0] else ","
    rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    header, first = [cell.strip().lower() for cell in rows[0]] if rows else [], 2
    if header and header[0] in FILE_WORDS:
        rows = rows[1:]
    else:
        first, header = 1, ["file", "labels"] + ["split"] * (delimiter == ",")
    unknown = sorted(set(header[1:]) - {"split", *LABEL_WORDS})
    if unknown or len(header) < 2:
        raise UserError(f"need columns file, labels and perhaps split in {path}, got {', '.join(header)}; mend them")
    if delimiter == ";" and "split" not in header:
        rows = [[row[0], ";".join(row[1:])] if len(row) > 1 else row for row in rows]
    tagged = []
    for number, row in enumerate(rows, first):
        cells = {
            ("split" if name == "split" else "labels"): cell for name, cell in zip(header[1:], row[1:], strict=False)
        }
        if "labels" not in cells or len(row) > len(header):
            told = (
                f"need a file and its classes in each row of {path}, row {number} has {len(row)} cells; put ; between "
                "classes"
            )
            report([Problem("row unfit", row[0], told)])
            continue
        tagged.append(Tagged(_slashes(row[0]), _names(cells["labels"].split(";")), _split(cells.get("split", ""))))
    return tagged


def read_json_lines(path: Path, report: Report) -> list[Tagged]:
    """One object a line, with ``file``, ``labels`` and perhaps ``split``."""
    tagged = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            row = json.loads(line)
            labels = (
                [str(label) for label in row["labels"]] if isinstance(row["labels"], list) else [row["labels"] + ""]
            )
            tagged.append(Tagged(_slashes(str(row["file"])), _names(labels), _split(str(row.get("split") or ""))))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            told = (
                f'need {{"file": "a.jpg", "labels": ["cat"]}} in each line of {path}, line {number} is not such a line '
                f"({error!r}); mend it"
            )
            report([Problem("row unfit", f"line {number}", told)])
    return tagged


def read_coco(path: Path, report: Report) -> list[Tagged]:
    """Photos of a COCO file with the categories of their objects; photos without objects have no labels."""
    del report
    try:
        content: dict[str, Any] = json.loads(read_text(path))
        categories = {kind["id"]: str(kind["name"]) for kind in content["categories"]}
        labels: dict[Any, set[str]] = defaultdict(set)
        for thing in content["annotations"]:
            labels[thing["image_id"]].add(categories[thing["category_id"]])
        return [Tagged(_slashes(str(photo["file_name"])), _names(labels[photo["id"]])) for photo in content["images"]]
    except UserError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"need images, annotations and categories as COCO has them in {path}, got {error!r}; mend the file or move "
            "it away"
        ) from error


def read_tree(root: Path) -> list[Tagged]:
    """Photos in a folder for each class; a file of one name and content in several folders is one photo.

    Raises:
        UserError: Where there are no such folders.
    """
    top = root / "images" if (root / "images").is_dir() else root
    splits = [folder for folder in _folders(top) if folder.name.lower() in (*SPLITS, *VALIDATION_WORDS)]
    if not all(_folders(folder) for folder in splits):
        splits = []  # a class may be called train
    tagged: list[Tagged] = []
    for split, folder in [(_split(folder.name), folder) for folder in splits] or [("", top)]:
        tagged += _read_class_folders(folder, split, top)
    if not tagged:
        raise UserError(f"need labels for the photos of {root}, found none; add {FORMS}")
    return tagged


def _read_class_folders(parent: Path, split: str, top: Path) -> Iterable[Tagged]:
    groups: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for folder in _folders(parent):
        for path in sorted(folder.rglob("*")):
            if is_photo(path.relative_to(folder)) and not path.is_dir():
                groups[path.name].append((path, folder.name))
    for places in groups.values():
        copies: dict[bytes, list[tuple[Path, str]]] = defaultdict(list)
        for path, label in places:
            copies[_digest(path) if len(places) > 1 else b""].append((path, label))
        for same in copies.values():
            yield Tagged(same[0][0].relative_to(top).as_posix(), _names(label for _, label in same), split)


def _folders(top: Path) -> list[Path]:
    """Folders that may be classes or splits."""
    folders = (path for path in top.iterdir() if path.is_dir())
    return sorted(path for path in folders if path.name not in NO_CLASSES and not path.name.startswith((".", "@")))


def _digest(path: Path) -> bytes:
    """Of a file's content; of its place where there is no file, as behind a broken link."""
    return hashlib.sha256(path.read_bytes() if path.is_file() else bytes(path)).digest()


def _slashes(file: str) -> str:
    """A file's name as it is written on other systems than Windows too."""
    return file.strip().replace("\\", "/")


def _names(labels: Iterable[str]) -> tuple[str, ...]:
    """Class names without spaces around them, each once; an empty one is none."""
    return tuple(dict.fromkeys(label.strip() for label in labels if label.strip()))


def _split(word: str) -> str:
    """``val`` or ``train``; empty where nothing is said."""
    word = word.strip().lower()
    return ("val" if word in VALIDATION_WORDS else "train") if word else ""
