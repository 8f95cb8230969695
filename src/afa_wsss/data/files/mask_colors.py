"""Lists of classes as annotation tools write them: names, perhaps numbers, colors, and a line for the background."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from afa_wsss.data.files.mask_pixels import Color
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX

BACKGROUND_WORDS = ("background", "_background_", "__background__", "_background", "bg")
IGNORE_WORDS = ("__ignore__", "_ignore_", "ignore", "void", "__void__")
"""Lines of a list of classes that are no classes, in lower case."""

HEADER_WORDS = {"name", "class", "label", "id", "index", "value", "color", "colour", "rgb", "hex", "r", "g", "b"}
HEADER_WORDS |= {"red", "green", "blue", "class_name", "class_id", "label_name", "color_rgb", "parts", "actions"}
"""Words of a first line that names columns."""

SEPARATOR = r"(?:\s*[,;:=\t|]\s*|\s+)"
NUMBER = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
HEX_COLOR = re.compile(rf"(?P<name>.+?){SEPARATOR}(?:\#|0x)(?P<hex>[0-9a-f]{{6}}|[0-9a-f]{{3}})", re.I)
RGB_COLOR = re.compile(
    rf"(?P<name>.+?){SEPARATOR}(?:rgb)?[(\[]?\s*(?P<rgb>{NUMBER}{SEPARATOR}{NUMBER}{SEPARATOR}{NUMBER})\s*[)\]]?", re.I
)
NUMBERED = re.compile(r"(?P<number>\d+)\s*(?:[,;:=.)\t|]\s*|\s)\s*(?P<rest>\S.*)")


class ClassList(NamedTuple):
    """A list of classes.

    Attributes:
        names: Foreground classes, in the order of their lines.
        colors: Class ids by color: background 0, classes from 1, 255 for what is ignored; empty where none are given.
        background_line: Place of the background among the lines that are not ignored, from 0; None where it has none.
        notes: What was understood and is not obvious, each in a few words.
        by_number: What each number, from 0, stands for: a class or the background; None for what is ignored, and for 0
            where the numbers before the names count from 1. Lines count from 0, and from the background where only
            ignored lines are before it, as in LabelMe's lists. Empty where there is no list.
    """

    names: tuple[str, ...]
    colors: dict[Color, int]
    background_line: int | None
    notes: tuple[str, ...]
    by_number: tuple[str | None, ...] = ()


class _Line(NamedTuple):
    name: str
    color: Color | None


def parse_class_list(lines: Sequence[str], source: object, *, used: Iterable[str] = ()) -> ClassList:
    """Reads ``cat``, ``cat 255 0 0``, ``cat,#ff0000``, ``cat:255,0,0::`` (CVAT), ``1 cat``, with or without a header.

    A line for the background (``background``, ``_background_``) or for what is ignored (``__ignore__``, ``void``) gives
    its color and is no class.

    Args:
        lines: Stripped lines, without empty ones.
        source: The file, for messages.
        used: Names that photos are labeled with: such a line is a class as it stands, whatever it looks like.

    Raises:
        UserError: Where two classes have one color.
    """
    known = set(used)
    rows, first = _without_numbers(_without_comments(lines), known)
    notes = ["numbers before the names are left out"] if first is not None else []
    by_number: list[str | None] = [None] * (first or 0)
    names: list[str] = []
    colors: dict[Color, int] = {}
    background_line, place = None, 0
    for line in (_parse(row, known) for row in rows):
        value = _value(line.name, known)
        by_number.append(None if value == IGNORE_INDEX else line.name)
        if value is None:
            names.append(line.name)
            value = len(names)
        else:
            notes.append(f"{line.name!r} is no class")
            background_line = place if value == 0 and background_line is None else background_line
        place += value != IGNORE_INDEX
        if line.color is not None and colors.setdefault(line.color, value) != value:
            raise UserError(f"need one color for each class, {source} has {line.color} twice; change one of them")
    if first is None and background_line == 0:
        by_number = by_number[next(n for n, name in enumerate(by_number) if name is not None) :]
    if colors and 0 not in colors.values():
        colors.setdefault((0, 0, 0), 0)
    return ClassList(tuple(names), colors, background_line, tuple(notes), tuple(by_number))


def is_background(name: str) -> bool:
    """Whether a name in a list or among the labels stands for the background, which is no class."""
    return name.lower() in BACKGROUND_WORDS


def _value(name: str, known: set[str]) -> int | None:
    """Mask value of a line that is no class; None for a class."""
    if is_background(name):
        return 0
    return IGNORE_INDEX if name.lower() in IGNORE_WORDS and name not in known else None


def _without_comments(lines: Sequence[str]) -> list[str]:
    """The lines without comments and without names of columns."""
    rows = [line for line in lines if not re.match(r"#\s|#\s*label:", line)]
    words = re.split(r"[,;:\t\s]+", rows[0].lower().strip(" ,;:")) if rows else []
    return rows[1:] if len(words) > 1 and HEADER_WORDS.issuperset(words) else rows


def _without_numbers(rows: Sequence[str], known: set[str]) -> tuple[list[str], int | None]:
    """The rows without numbers in front and the first of these, where every row has one, up from 0 or 1; else None."""
    matches = [NUMBERED.fullmatch(row) for row in rows]
    found = [match for match in matches if match and match[0] not in known]
    numbers = [int(match["number"]) for match in found]
    if (
        rows
        and len(found) == len(rows)
        and numbers[0] in (0, 1)
        and numbers == list(range(numbers[0], numbers[0] + len(rows)))
    ):
        return [match["rest"] for match in found], numbers[0]
    return list(rows), None


def _parse(row: str, known: set[str]) -> _Line:
    if row in known:
        return _Line(row, None)
    row = re.sub(r"(?<=\d)\s*:[^:]*:[^:]*$", "", row)  # CVAT's parts and actions
    if match := HEX_COLOR.fullmatch(row):
        digits = match["hex"] if len(match["hex"]) == 6 else "".join(digit * 2 for digit in match["hex"])
        red, green, blue = bytes.fromhex(digits)
        return _Line(match["name"], (red, green, blue))
    if match := RGB_COLOR.fullmatch(row):
        red, green, blue = (int(number) for number in re.findall(r"\d+", match["rgb"]))
        return _Line(match["name"].rstrip(), (red, green, blue))
    return _Line(row.rstrip(":,; ") or row, None)
