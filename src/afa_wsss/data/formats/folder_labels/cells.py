"""Rows of a CSV or TSV file: its separator, its quotes, and what is malformed in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from afa_wsss.data.formats.folder_labels.reading import read_labels_text
from afa_wsss.errors import UserError

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
"""What may stand between columns, the likeliest first."""

PROBED = 200
"""Rows that decide on the separator."""

LONGEST_CELL = 2**31 - 1
"""Characters, the most that ``csv`` takes; a cell may hold the outline of an object, or a photo as text."""


class Row(NamedTuple):
    """Cells of a row, stripped.

    Attributes:
        number: Its line in the file, from 1.
        cells: At least one of them is not empty.
    """

    number: int
    cells: list[str]


class Cells(NamedTuple):
    """All rows of a file.

    Attributes:
        rows: In their order, empty ones left out.
        separator: One of ``SEPARATORS``.
    """

    rows: list[Row]
    separator: str


def read_cells(path: Path, names_photo: Callable[[str], bool]) -> Cells:
    """Reads a table whose separator is not known.

    Args:
        path: A CSV or TSV file.
        names_photo: Whether a cell names a photo: the separator that leaves whole names of photos is the right one.

    Raises:
        UserError: For a quote that is never closed, a line break in a cell, and an encoding that is not read.
    """
    csv.field_size_limit(LONGEST_CELL)
    text = read_labels_text(path)
    first, _, rest = text.partition("\n")
    if first.strip().strip('"').lower().startswith("sep=") and len(first.strip().strip('"')) == len("sep=") + 1:
        separator = first.strip().strip('"')[-1]
        return Cells(list(_rows(path, rest, separator, first=2)), separator)
    separator = find_separator(text, names_photo)
    return Cells(list(_rows(path, text, separator, first=1)), separator)


def find_separator(text: str, names_photo: Callable[[str], bool]) -> str:
    """The separator that gives most rows of two or more cells with a photo; a comma where none gives any."""
    lines = [line for line in text.splitlines() if line.strip()][:PROBED]

    def score(separator: str) -> tuple[int, int]:
        rows = [row for row in csv.reader(lines, delimiter=separator, skipinitialspace=True) if len(row) > 1]
        return sum(any(names_photo(cell.strip()) for cell in row) for row in rows), len(rows)

    scores = {separator: score(separator) for separator in SEPARATORS}
    best = max(scores, key=lambda separator: scores[separator][0])
    if scores[best][0]:
        return best
    return max(scores, key=lambda separator: scores[separator])


def _rows(path: Path, text: str, separator: str, *, first: int) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    done = 0
    while True:
        start = done
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _broken(path, first + start, str(error)) from error
        if cells is None:
            return
        done = reader.line_num
        if done - start > 1:
            raise _broken(path, first + start, f"the row goes on to line {first + done - 1}")
        cells = [cell.strip() for cell in cells]
        if any("\n" in cell or "\r" in cell for cell in cells):
            raise _broken(path, first + start, "a line break in a cell")
        if any(cells):
            yield Row(first + start, cells)


def _broken(path: Path, row: int, why: str) -> UserError:
    return UserError(
        f"need a row on each line of {path}, row {row} has a quote that is not closed or a line break in a cell "
        f"({why}); fix the row"
    )
