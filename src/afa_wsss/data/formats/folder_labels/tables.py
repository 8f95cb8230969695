"""CSV and TSV files of labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.formats.folder_labels.beside import folders_of
from afa_wsss.data.formats.folder_labels.cells import SEPARATORS, Row, read_cells
from afa_wsss.data.formats.folder_labels.columns import Columns, find_columns
from afa_wsss.data.formats.folder_labels.label_cells import label_cell
from afa_wsss.data.formats.folder_labels.photo_index import PhotoIndex
from afa_wsss.data.formats.folder_labels.reading import NO_CLASS, Reading, TaggedPhoto, as_posix, listed, unique
from afa_wsss.data.formats.folder_labels.splits import held_out_split, split_of
from afa_wsss.data.formats.folder_labels.tags import Tags, check_names, read_as_no_class, split_tags
from afa_wsss.data.formats.folder_labels.words import YES

SUFFIXES = (".csv", ".tsv", ".tab")


def read_table(path: Path, root: Path, index: PhotoIndex, known: Sequence[str] = ()) -> Reading:
    """Photos and classes of a table, in any of the forms that ``docs/data.md`` shows.

    Args:
        path: The file.
        root: The data set's folder.
        index: The photos of the folder.
        known: Classes of ``classes.txt``.

    Raises:
        UserError: For a table that is not understood.
    """
    cells = read_cells(path, index.is_named)
    columns = find_columns(path, cells, index)
    rows, problems = _whole_rows(path, cells.rows[columns.first :], columns)
    tags, tag_facts, unclear = _tags(path, rows, columns, known)
    problems += unclear
    photos = []
    beside = folders_of(path, root)
    for row, labels in zip(rows, tags, strict=True):
        split, wrong = _split(path, row, columns)
        problems += wrong
        place = f"{path.name}, row {row.number}"
        photos.append(TaggedPhoto(as_posix(row.cells[columns.file]), labels, split, place, beside))
    merged, several, repeated = _merge(path, photos)
    facts = [
        ("separator", SEPARATORS.get(cells.separator, cells.separator)),
        ("columns", _describe(columns, several=several)),
        *tag_facts,
    ]
    form = "TSV" if cells.separator == "\t" else "CSV"
    return Reading(f"{form}{' of one row for each photo and class' if several else ''}", path, merged, facts,
                   problems + repeated)  # fmt: skip


def _whole_rows(path: Path, rows: Sequence[Row], columns: Columns) -> tuple[list[Row], list[Problem]]:
    """Rows that have a photo and a cell for its classes; the others are reported. Short rows are filled up."""
    width, kept, problems = len(columns.header), [], []
    least = max(columns.file, min([*columns.tags, *columns.classes], default=0))
    known = {columns.file, *columns.tags, *columns.classes, columns.split, columns.is_validation, *columns.counts}
    for row in rows:
        extra = [
            cell for number, cell in enumerate(row.cells) if cell and number not in known and not columns.header[number]
        ]
        open_quote = [
            row.cells[number] for number in columns.tags if number < len(row.cells) and row.cells[number].count('"') % 2
        ]
        if len(row.cells) <= least or not row.cells[columns.file] or extra or open_quote:
            what = f"{extra[0]!r} in a column without a name" if extra else f"{len(row.cells)} cells: {row.cells}"
            what = f"a quote that is not closed: {open_quote[0]}" if open_quote else what
            message = (
                f"need a photo and its classes in each row of {path}, row {row.number} has {what}; put ; between "
                "classes, and leave the cell empty for no class"
            )
            problems.append(Problem("row malformed", row.cells[0] or f"row {row.number}", message))
        else:
            kept.append(Row(row.number, row.cells + [""] * (width - len(row.cells))))
    return kept, problems


def _tags(
    path: Path, rows: Sequence[Row], columns: Columns, known: Sequence[str]
) -> tuple[list[Tags], list[tuple[str, str]], list[Problem]]:
    """Tags of each row, facts on how they were read, and cells that hold something else."""
    if columns.classes:
        there = [
            [columns.header[number] for number in columns.classes if row.cells[number].lower() in YES] for row in rows
        ]
        return [unique(names, empty=NO_CLASS) for names in there], [], []
    if not columns.tags:
        return [()] * len(rows), [], []
    cells, problems = _label_cells(path, rows, columns.tags)
    check_names(path, cells)
    split, ways = split_tags(cells, known)
    step = len(columns.tags)
    joined = [
        tuple(dict.fromkeys(tag for tags in split[at : at + step] for tag in tags)) for at in range(0, len(split), step)
    ]
    if columns.present is not None:
        joined = [
            tags if row.cells[columns.present].lower() in YES else ()
            for row, tags in zip(rows, joined, strict=True)
        ]  # fmt: skip
    facts = [("several tags in a cell", f"joined by {' and '.join(ways)}")] if ways else []
    return joined, [*facts, *read_as_no_class(cells, known)], problems


def _label_cells(
    path: Path, rows: Sequence[Row], columns: Sequence[int]
) -> tuple[list[str | list[object]], list[Problem]]:
    """Text or names of each cell of some columns, row by row; a cell that is no labels is empty and reported."""
    cells: list[str | list[object]] = []
    problems = []
    for row in rows:
        for number in columns:
            try:
                cells.append(label_cell(row.cells[number]))
            except TypeError as error:
                cells.append("")
                message = f"need names of classes in {path}, row {row.number} is different ({error}); write names alone"
                problems.append(Problem("row malformed", row.cells[0] or f"row {row.number}", message))
    return cells, problems


def _split(path: Path, row: Row, columns: Columns) -> tuple[str, list[Problem]]:
    """The split of a row; a word that is none is reported."""
    number = columns.split if columns.split is not None else columns.is_validation
    if number is None or len(row.cells) <= number:
        return "", []
    word = row.cells[number]
    split = split_of(word) if columns.split is not None else held_out_split(word)
    if split is not None:
        return split, []
    wanted = "train, val or test" if columns.split is not None else "true or false (yes or no, 1 or 0)"
    message = f"need {wanted} in column {columns.header[number]} of {path}, row {row.number} has {word!r}; fix the word"
    return "", [Problem("split unknown", row.cells[columns.file], message)]


def _merge(path: Path, photos: Sequence[TaggedPhoto]) -> tuple[list[TaggedPhoto], bool, list[Problem]]:
    """Each photo once. Rows of one class each are joined; where rows hold several classes, a repetition is reported.

    Returns:
        The photos, whether the table has several rows for a photo, and what is wrong.
    """
    by_file: dict[str, list[TaggedPhoto]] = defaultdict(list)
    for photo in photos:
        by_file[photo.file].append(photo)
    repeated = {file: rows for file, rows in by_file.items() if len(rows) > 1}
    if not repeated:
        return list(photos), False, []
    problems = []
    one_class_a_row = all(len(photo.labels) <= 1 for photo in photos)
    if not one_class_a_row:
        message = "need each photo once in {}, {} is there {} times ({}); remove the others"
        problems += [
            Problem("listed twice", file, message.format(path, file, len(rows), listed([row.place for row in rows])))
            for file, rows in repeated.items()
        ]
    message = "need one split for a photo in {}, {} is in train and val ({}); fix the rows"
    problems += [
        Problem("in train and val", file, message.format(path, file, listed([row.place for row in rows])))
        for file, rows in repeated.items()
        if len({row.split for row in rows}) > 1
    ]
    merged = [
        rows[0]._replace(
            labels=tuple(
                dict.fromkeys(label for row in (rows if one_class_a_row else rows[:1]) for label in row.labels)
            )
        )
        for rows in by_file.values()
    ]
    return merged, one_class_a_row, problems


def _describe(columns: Columns, *, several: bool) -> str:
    """What was taken from which column."""
    named = columns.header
    said = [f"{named[columns.file]}: photo"]
    said += (
        [f"{listed([named[number] for number in columns.tags])}: {'class' if several else 'tags'}"]
        if columns.tags
        else []
    )
    said += [f"{len(columns.classes)} columns of 0 and 1, one a class"] if columns.classes else []
    said += [f"{named[number]}: split" for number in (columns.split, columns.is_validation) if number is not None]
    said += [f"{named[columns.present]}: 1 where the class is there"] if columns.present is not None else []
    said += [f"not read: {listed([named[number] for number in columns.unread])}"] if columns.unread else []
    return "; ".join(said)
