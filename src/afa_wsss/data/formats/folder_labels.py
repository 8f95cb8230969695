"""Image labels of your own photos: from a table, a COCO file, or the folders that the photos are in."""

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
"""Folders that are not classes: masks, results of commands, and what operating systems leave behind."""

VALIDATION_WORDS = ("val", "valid", "validation", "test")
"""Names of the validation split; every other split is trained on."""

FILE_WORDS = ("file", "image", "photo", "path", "filename", "file_name", "filepath", "file_path", "image_path")
LABEL_WORDS = ("labels", "label", "classes", "class", "tags", "tag", "categories", "category")
"""Names of the columns of a table that are recognized."""

FORMS = "labels.csv (file,labels), labels.jsonl, a COCO *.json, or a folder of photos for each class"


class TaggedPhoto(NamedTuple):
    """A photo and the names of its classes.

    Attributes:
        file: Relative to the data set's folder.
        labels: Names of the classes in it.
        split: ``train`` or ``val``; empty where the labels have no split.
    """

    file: str
    labels: tuple[str, ...]
    split: str = ""


def find_table(root: Path) -> Path | None:
    """The file with the labels; None where the labels are the folders.

    Raises:
        UserError: Where there are several.
    """
    found = [path for path in (root / "labels.csv", root / "labels.jsonl") if path.is_file()]
    found += [path for path in sorted(root.glob("*.json")) if _is_coco(path)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"need one file of labels in {root}, got {names}; move the others away")
    return found[0] if found else None


def _is_coco(path: Path) -> bool:
    """Whether a JSON file looks like COCO's: one of its keys is in the first megabyte."""
    with path.open("rb") as file:
        head = file.read(1 << 20)
    return any(key in head for key in (b'"images"', b'"annotations"', b'"categories"'))


def read_table(path: Path, report: Report) -> list[TaggedPhoto]:
    """Labels of ``labels.csv``, ``labels.jsonl`` or a COCO file; malformed rows are reported."""
    readers: dict[str, Callable[[Path, Report], list[TaggedPhoto]]] = {".csv": read_csv, ".jsonl": read_json_lines}
    return readers.get(path.suffix, read_coco)(path, report)


def read_csv(path: Path, report: Report) -> list[TaggedPhoto]:
    """Rows of a file and its classes, separated by ``;``; the first row may name the columns.

    Where ``;`` separates the columns, as some spreadsheets write them, all cells after the file are classes.
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
        raise UserError(f"need columns file, labels and optionally split in {path}, got {', '.join(header)}; fix them")
    if delimiter == ";" and "split" not in header:
        rows = [[row[0], ";".join(row[1:])] if len(row) > 1 else row for row in rows]
    tagged = []
    for number, row in enumerate(rows, first):
        cells = {
            ("split" if name == "split" else "labels"): cell for name, cell in zip(header[1:], row[1:], strict=False)
        }
        if "labels" not in cells or len(row) > len(header):
            message = (
                f"need a file and its classes in each row of {path}, row {number} has {len(row)} cells; put ; between "
                "classes"
            )
            report([Problem("row malformed", row[0], message)])
            continue
        tagged.append(TaggedPhoto(_posix(row[0]), _unique(cells["labels"].split(";")), _split(cells.get("split", ""))))
    return tagged


def read_json_lines(path: Path, report: Report) -> list[TaggedPhoto]:
    """One JSON object per line, with ``file``, ``labels`` and optionally ``split``."""
    tagged = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            row = json.loads(line)
            labels = (
                [str(label) for label in row["labels"]] if isinstance(row["labels"], list) else [row["labels"] + ""]
            )
            tagged.append(TaggedPhoto(_posix(str(row["file"])), _unique(labels), _split(str(row.get("split") or ""))))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = (
                f'need {{"file": "a.jpg", "labels": ["cat"]}} on each line of {path}, line {number} is different '
                f"({error!r}); fix it"
            )
            report([Problem("row malformed", f"line {number}", message)])
    return tagged


def read_coco(path: Path, report: Report) -> list[TaggedPhoto]:
    """Photos of a COCO file with the categories of their objects; photos without objects have no labels."""
    del report
    try:
        content: dict[str, Any] = json.loads(read_text(path))
        categories = {category["id"]: str(category["name"]) for category in content["categories"]}
        labels: dict[Any, set[str]] = defaultdict(set)
        for thing in content["annotations"]:
            labels[thing["image_id"]].add(categories[thing["category_id"]])
        return [
            TaggedPhoto(_posix(str(photo["file_name"])), _unique(labels[photo["id"]])) for photo in content["images"]
        ]
    except UserError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"need COCO's images, annotations and categories in {path}, got {error!r}; fix the file or move it away"
        ) from error


def read_tree(root: Path) -> list[TaggedPhoto]:
    """Photos in one folder per class; files of equal name and content in several folders are one photo.

    Raises:
        UserError: Where there are no such folders.
    """
    top = root / "images" if (root / "images").is_dir() else root
    splits = [folder for folder in _folders(top) if folder.name.lower() in (*SPLITS, *VALIDATION_WORDS)]
    if not all(_folders(folder) for folder in splits):
        splits = []  # a class may be called train
    tagged: list[TaggedPhoto] = []
    for split, folder in [(_split(folder.name), folder) for folder in splits] or [("", top)]:
        tagged += _read_class_folders(folder, split, top)
    if not tagged:
        raise UserError(f"need labels for the photos of {root}, found none; add {FORMS}")
    return tagged


def _read_class_folders(parent: Path, split: str, top: Path) -> Iterable[TaggedPhoto]:
    by_file_name: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for folder in _folders(parent):
        for path in sorted(folder.rglob("*")):
            if is_photo(path.relative_to(folder)) and not path.is_dir():
                by_file_name[path.name].append((path, folder.name))
    for places in by_file_name.values():
        by_content: dict[bytes, list[tuple[Path, str]]] = defaultdict(list)
        for path, label in places:
            by_content[_digest(path) if len(places) > 1 else b""].append((path, label))
        for copies in by_content.values():
            file = copies[0][0].relative_to(top).as_posix()
            yield TaggedPhoto(file, _unique(label for _, label in copies), split)


def _folders(top: Path) -> list[Path]:
    """Folders that may be classes or splits."""
    folders = (path for path in top.iterdir() if path.is_dir())
    return sorted(path for path in folders if path.name not in NO_CLASSES and not path.name.startswith((".", "@")))


def _digest(path: Path) -> bytes:
    """Hash of a file's content; of its path where there is no file, such as behind a broken link."""
    return hashlib.sha256(path.read_bytes() if path.is_file() else bytes(path)).digest()


def _posix(file: str) -> str:
    """A file's name with ``/``, also where the table was written on Windows."""
    return file.strip().replace("\\", "/")


def _unique(labels: Iterable[str]) -> tuple[str, ...]:
    """Class names, stripped, each once, without empty ones."""
    return tuple(dict.fromkeys(label.strip() for label in labels if label.strip()))


def _split(word: str) -> str:
    """``val`` or ``train``; empty for an empty word."""
    word = word.strip().lower()
    return ("val" if word in VALIDATION_WORDS else "train") if word else ""
