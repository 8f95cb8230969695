"""What each column of a table holds: the photo, tags, a class with 0 and 1, the split, or none of these."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from afa_wsss.data.formats.folder_labels.cells import Cells, Row
from afa_wsss.data.formats.folder_labels.photo_index import PhotoIndex
from afa_wsss.data.formats.folder_labels.reading import EMPTY_WORDS, class_name, listed
from afa_wsss.data.formats.folder_labels.splits import split_of
from afa_wsss.data.formats.folder_labels.words import (
    FILE_WORDS,
    FLAG_WORDS,
    ID_WORDS,
    INDEX_WORDS,
    IS_VALIDATION_WORDS,
    LABEL_WORDS,
    NO,
    NUMBERED_LABEL,
    OTHER_WORDS,
    PRESENT_WORDS,
    SPLIT_WORDS,
    YES,
    column_word,
)
from afa_wsss.errors import UserError

SIDE_TABLE, UNCLEAR = "side table", "unclear columns"
"""Kinds of errors about a table that names photos: no column can hold their classes, or none is known to."""


class Columns(NamedTuple):
    """Columns of a table by what they hold; numbers from 0.

    Attributes:
        header: Names as written; numbers where the table has no header.
        first: First row with a photo, as an index into the rows.
        file: The photo.
        tags: Tags.
        classes: One class each, with 0 and 1.
        split: ``train`` or ``val``, or None.
        is_validation: 1 for photos that are held out, or None.
        present: 0 where a row says that its class is absent, or None.
        unread: All others that have a name and hold something.
        counts: Columns that count the rows.
    """

    header: list[str]
    first: int
    file: int
    tags: list[int]
    classes: list[int]
    split: int | None
    is_validation: int | None
    present: int | None
    unread: list[int]
    counts: list[int]


def find_columns(path: Path, cells: Cells, index: PhotoIndex) -> Columns:
    """Finds out what the columns hold, by their names and by what is in them.

    Raises:
        UserError: Where no column names photos, or none holds classes.
    """
    rows = cells.rows
    if not rows:
        raise UserError(f"need a row for each photo in {path}, it is empty; fill it or move it away")
    head = rows[0].cells
    words = [column_word(cell) for cell in head]
    if not _is_header(words, rows, index):
        return _without_header(path, rows, index)
    return _with_header(path, head, words, rows[1:], index, separator=cells.separator)


def _without_header(path: Path, rows: Sequence[Row], index: PhotoIndex) -> Columns:
    width = max(len(row.cells) for row in rows)
    words = [str(number + 1) for number in range(width)]
    file = _photo_column(range(width), words, rows, index)
    rest = [number for number in range(width) if number != file and _used(rows, number)]
    split = _split_column(rest, rows)
    tags = [number for number in rest if number != split]
    if not rest:
        raise UserError(
            f"need a photo and its classes in each row of {path}, row {rows[0].number} has one cell; add a column",
            kind=SIDE_TABLE,
        )
    if all(set(_lower(rows, number)) <= YES | NO for number in tags):
        raise UserError(
            f"need names of classes in {path}, it has 0 and 1 in columns without a name; add a header row with the "
            "names of the classes"
        )
    return Columns(words, 0, file, tags, [], split, None, None, [], [])


def _with_header(
    path: Path,
    head: list[str],
    words: list[str],
    rows: Sequence[Row],
    index: PhotoIndex,
    *,
    separator: str,
) -> Columns:
    titled = len(head)
    width = max([titled, *(len(row.cells) for row in rows)])
    head, words = head + [""] * (width - titled), words + [""] * (width - titled)
    candidates = [number for number, word in enumerate(words) if word in FILE_WORDS]
    file = _photo_column(candidates or range(width), words, rows, index)
    rest = [number for number in range(width) if number != file and _used(rows, number)]
    by_word = {words[number]: number for number in reversed(rest)}
    split = next((by_word[word] for word in by_word if word in SPLIT_WORDS), None)
    is_validation = next((by_word[word] for word in by_word if word in IS_VALIDATION_WORDS), None)
    counts = [number for number in rest if _is_index(words[number], rows, number)]
    rest = [number for number in rest if number not in (split, is_validation, *counts)]
    tags = [number for number in rest if words[number] in LABEL_WORDS or NUMBERED_LABEL.match(words[number])]
    named = [number for number in rest if words[number] and number not in tags]
    unnamed = [number for number in rest if not words[number]]
    classes: list[int] = []
    if not tags or (_multi_hot(tags, rows) and any(_multi_hot([number], rows) for number in named)):
        named, tags = sorted([*named, *tags]), []  # a class may be called "object"
        classes = [number for number in named if _may_be_class(words[number], rows, number)]
        _check_multi_hot(path, head, classes, rows)
    elif unnamed and (separator != "," or max(unnamed) < titled):
        tags += unnamed  # one more tag in each further cell of a row
    if not tags and not classes and not _only_negatives(words, rest):
        raise _no_classes(path, head, SIDE_TABLE)
    _check_names(path, head, tags, classes, rows)
    present = _presence(named, words, rows) if tags else None
    unread = [number for number in named if number not in (*classes, present)]
    return Columns(head, 1, file, tags, classes, split, is_validation, present, unread, counts)


def _check_names(
    path: Path, head: Sequence[str], tags: Sequence[int], classes: Sequence[int], rows: Sequence[Row]
) -> None:
    """Checks that no two columns stand for one class, and that tags are more than 0 and 1."""
    names = [class_name(head[number]) for number in classes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"need one column for each class in {path}, {twice!r} is above several; rename or remove one")
    filled = {cell for number in tags for cell in _lower(rows, number)} - EMPTY_WORDS
    if filled and filled <= YES | NO:
        column = head[tags[0]]
        raise UserError(
            f"need names of classes in column {column} of {path}, it holds {listed(sorted(filled))} alone; name the "
            "column after the class that 1 stands for, or write its name into the cells"
        )


def _may_be_class(word: str, rows: Sequence[Row], number: int) -> bool:
    """Whether a column may stand for a class: it holds 0 and 1, or has no name that usually means something else."""
    if word in FLAG_WORDS:
        return False
    return word not in FILE_WORDS | OTHER_WORDS | PRESENT_WORDS or _multi_hot([number], rows)


def _presence(named: Sequence[int], words: Sequence[str], rows: Sequence[Row]) -> int | None:
    """A column that says with 0 and 1 whether the row's class is there, as in Open Images."""
    binary = {"0", "1", "0.0", "1.0"}
    columns = (number for number in named if words[number] in PRESENT_WORDS)
    return next((number for number in columns if set(_lower(rows, number)) <= binary), None)


def _only_negatives(words: Sequence[str], rest: Sequence[int]) -> bool:
    """Whether a column of labels stands there, but all its cells are empty."""
    return not rest and any(word in LABEL_WORDS for word in words)


def _used(rows: Sequence[Row], number: int) -> bool:
    """Whether any cell of a column is filled."""
    return any(len(row.cells) > number and row.cells[number] for row in rows)


def _lower(rows: Sequence[Row], number: int) -> list[str]:
    return [row.cells[number].lower() if len(row.cells) > number else "" for row in rows]


def _is_header(words: Sequence[str], rows: Sequence[Row], index: PhotoIndex) -> bool:
    """Whether the first row names the columns: a usual word stands there, or no photo where the rows below have one."""
    head, below = rows[0].cells, rows[1:]
    known = [number for number, word in enumerate(words) if word in FILE_WORDS]
    if known and not any(
        index.is_named(cell) for cell, word in zip(head, words, strict=True) if word not in FILE_WORDS
    ):
        return True
    if any(not index.is_named(head[number]) and _names_photos(below, number, index) for number in known):
        return True
    if not below:
        return False
    photo = _photo_column(range(len(head)), words, below, index)
    later = {cell for row in below for cell in row.cells}
    begun = any(map(index.is_named, below[0].cells)) and not index.is_named(head[photo])
    return begun and not later.intersection(filter(None, head))


def _names_photos(rows: Sequence[Row], number: int, index: PhotoIndex) -> bool:
    """Whether most cells of a column name a photo."""
    cells = _cells(rows, number)
    return 2 * sum(map(index.is_named, cells)) > len(cells)


def _cells(rows: Sequence[Row], number: int) -> list[str]:
    return [row.cells[number] for row in rows if len(row.cells) > number]


def _photo_column(candidates: Sequence[int], words: Sequence[str], rows: Sequence[Row], index: PhotoIndex) -> int:
    """The column that names the photos; the first of the candidates where none does."""
    return index.named_most({number: (words[number], _cells(rows, number)) for number in candidates})


def _split_column(candidates: Sequence[int], rows: Sequence[Row]) -> int | None:
    """A column without a name that holds words for splits alone."""
    last = candidates[-1:] if len(candidates) > 1 else []
    return next((number for number in last if all(split_of(cell) is not None for cell in _lower(rows, number))), None)


def _is_index(word: str, rows: Sequence[Row], number: int) -> bool:
    """Whether a column counts the rows."""
    if word and word not in INDEX_WORDS | ID_WORDS:
        return False
    cells = _cells(rows, number)
    return cells in ([str(index + start) for index in range(len(cells))] for start in (0, 1))


def _multi_hot(columns: Sequence[int], rows: Sequence[Row]) -> bool:
    return bool(columns) and all(set(_lower(rows, number)) <= YES | NO for number in columns)


def _check_multi_hot(path: Path, head: Sequence[str], classes: Sequence[int], rows: Sequence[Row]) -> None:
    """Checks that columns of classes hold 0 and 1 alone; where none does, they are no columns of classes."""
    wrong = {
        head[number]: bad
        for number in classes
        if (bad := next(((row, cell) for row, cell in zip(rows, _lower(rows, number), strict=True)
                         if cell not in YES | NO), None))
    }  # fmt: skip
    if not wrong:
        return
    if len(wrong) == len(classes):
        measures = all(_fractions(_lower(rows, number)) for number in classes)
        raise _no_classes(path, head, SIDE_TABLE if measures else UNCLEAR)
    name, (row, cell) = next(iter(wrong.items()))
    raise UserError(
        f"need 0 or 1 in each column of a class in {path}, row {row.number} has {cell!r} in column {name} "
        f"({len(wrong)} of {len(classes)} columns hold other values); fix the cell or take the column out"
    )


def _fractions(cells: Sequence[str]) -> bool:
    """Whether all filled cells are numbers, and some no integers: a measure, not a class."""
    try:
        values = [float(cell) for cell in cells if cell not in EMPTY_WORDS]
    except ValueError:
        return False
    return any(value != round(value) for value in values if isfinite(value))


def _no_classes(path: Path, head: Sequence[str], kind: str) -> UserError:
    return UserError(
        f"need a column with the classes of each photo in {path}, such as labels, got "
        f"{', '.join(filter(None, head))}; name it labels, or have one column of 0 and 1 for each class",
        kind=kind,
    )
