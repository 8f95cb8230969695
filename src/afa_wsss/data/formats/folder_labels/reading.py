"""What a reader of labels hands on: photos with the names of their classes, and what it understood."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.files.lists import read_text
from afa_wsss.errors import UserError

EMPTY_WORDS = frozenset({"", "nan", "none", "null", "n/a", "na", "<na>", "-", "[]", "()", "{}"})
"""Tags of a table, in lower case, that stand for no class unless a list of classes names them."""

NO_CLASS = frozenset({"", "nan", "none", "null"})
"""Names, in lower case, that are no class in any case; ``NA`` is one as the name of a folder or a category."""


UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff")) | dict.fromkeys(
    map(ord, "\u00a0\u2007\u202f"), " "
)
"""Characters in names of classes that show nothing: left out, or a blank in place of one of another width."""


class TaggedPhoto(NamedTuple):
    """A photo and the names of its classes.

    Attributes:
        file: As the labels name it, with ``/`` between folders.
        labels: Names of the classes in it; empty for a negative.
        split: ``train`` or ``val``; empty where the labels have no split.
        place: Where the labels say so, such as ``labels.csv, row 3``.
        beside: Folders that the file may be relative to, the likeliest first; relative to the data set's folder.
    """

    file: str
    labels: tuple[str, ...]
    split: str = ""
    place: str = ""
    beside: tuple[str, ...] = ("",)


class Reading(NamedTuple):
    """What was read from one or several files, or from class folders.

    Attributes:
        form: In words, such as ``COCO JSON of CVAT``.
        source: The file or folder, for messages.
        photos: In their order, one entry for each photo and place.
        facts: What and how it was understood, such as ``("separator", ";")``, for the table that a user sees.
        problems: What is wrong or doubtful.
        class_order: Names in the order of class ids, where the labels have one; else empty.
    """

    form: str
    source: Path
    photos: list[TaggedPhoto]
    facts: list[tuple[str, str]] = []  # noqa: RUF012  # never changed in place
    problems: list[Problem] = []  # noqa: RUF012
    class_order: tuple[str, ...] = ()


def plain(text: str) -> str:
    """A name as names are compared: Unicode NFC, blanks trimmed."""
    return unicodedata.normalize("NFC", text).strip()


def class_name(text: str) -> str:
    """A class's name: ``plain``, with blanks of one kind, and without marks that nobody sees.

    Example:
        >>> class_name("fire\u00a0truck\u200b") == "fire truck"
        True
    """
    return plain(text.translate(UNSEEN))


def as_posix(file: str) -> str:
    """A file's name with ``/`` between folders, also where the labels were written on Windows."""
    return plain(file).replace("\\", "/")


def unique(labels: Iterable[str], *, empty: Collection[str] = EMPTY_WORDS) -> tuple[str, ...]:
    """Class names in NFC, each once, without words that stand for no class; background is kept.

    What is no text, such as bytes of a folder's name that are not UTF-8, is escaped: names are written to many files.
    """
    named = (class_name(label).encode("utf-8", "backslashreplace").decode() for label in labels)
    return tuple(dict.fromkeys(name for name in named if name.lower() not in empty))


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names in alphabetical order without regard to case."""
    return tuple(sorted(names, key=lambda name: (name.casefold(), name)))


def read_labels_text(path: Path) -> str:
    """The text of a file of labels: UTF-8, or UTF-16 where it begins with a byte order mark, as spreadsheets write it.

    Raises:
        UserError: For another encoding.
    """
    with path.open("rb") as file:
        head = file.read(2)
    if head in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return path.read_text(encoding="utf-16")
        except UnicodeError as error:
            raise UserError(f"need labels in UTF-8 or UTF-16, {path} is neither ({error}); save it as UTF-8") from error
    return read_text(path)


def parsed_json(text: str) -> Any:
    """The content of JSON in which no object has a member twice: of two, JSON's own reader keeps the last in silence.

    Raises:
        ValueError: For what is no JSON, and for a member that is there with different values.

    Example:
        >>> parsed_json('{"a.jpg": ["cat"], "b.jpg": []}')
        {'a.jpg': ['cat'], 'b.jpg': []}
    """
    return json.loads(text, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        for name, value in pairs:
            if members[name] != value:
                raise ValueError(f"{name!r} twice in one object, with {_short(value)} and {_short(members[name])}")
    return members


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}..."


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(number: int, what: str) -> str:
    """A number and what it counts: ``1 photo``, ``2 photos``."""
    return f"{number} {what}{'' if number == 1 else 's'}"
