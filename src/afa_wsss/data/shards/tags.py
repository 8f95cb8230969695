"""The classes of a photo from the entry beside it in a shard: ``.cls``, ``.json`` or ``.txt``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from afa_wsss.data.files.mask_colors import is_background
from afa_wsss.data.formats.folder_labels.reading import EMPTY_WORDS, parsed_json, plain, unique
from afa_wsss.data.formats.folder_labels.tags import JOINERS
from afa_wsss.data.formats.folder_labels.words import LABEL_WORDS, column_word
from afa_wsss.errors import UserError

Tags = tuple[str, ...]


def tags_of(entries: Mapping[str, bytes], by_number: Sequence[str | None] = ()) -> Tags:
    """Names of the classes of a photo, each once; none for a negative.

    Args:
        entries: Contents by suffix, of ``LABEL_SUFFIXES``.
        by_number: What each number, from 0, stands for, as in ``ClassList``.

    Raises:
        UserError: Where no entry holds classes, or the one that does cannot be read; without the photo's name.

    Example:
        >>> tags_of({"txt": b"cat;dog"}), tags_of({"json": b'{"labels": ["cat"], "width": 4}'})
        (('cat', 'dog'), ('cat',))
        >>> tags_of({"cls": b"1"}, ("cat", "dog")), tags_of({"txt": b""})
        (('dog',), ())
    """
    try:
        for suffix, content in entries.items():
            text = plain(content.decode("utf-8-sig"))
            found = _of_json(text, by_number) if suffix == "json" else _of_text(text, by_number, suffix == "cls")
            if found is not None:
                return tuple(tag for tag in found if not is_background(tag))
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are some
        raise UserError(f"labels that cannot be read ({error})") from error
    raise UserError("no labels")


def _of_text(text: str, by_number: Sequence[str | None], numbered: bool) -> Tags:
    """One tag a line, or joined by ``;``, ``|`` or ``,``; numbers also by blanks."""
    if text in by_number:
        return (text,)
    if numbered and re.fullmatch(r"[\d\s,;|]+", text):
        return _of_numbers([int(number) for number in re.findall(r"\d+", text)], by_number)
    joiner = next((mark for mark in ("\n", *JOINERS) if mark in text), None)
    return unique([text] if joiner is None else text.split(joiner), empty=_words_for_none(by_number))


def _of_json(text: str, by_number: Sequence[str | None]) -> Tags | None:
    """A list of tags, or the first member with a usual name that holds tags; None where there is no such member."""
    found = parsed_json(text)
    if not isinstance(found, dict):
        return _of_member(found, by_number)
    members = [value for name, value in found.items() if column_word(str(name)) in LABEL_WORDS]
    if not members:
        return None
    return next((tags for member in members if (tags := _of_member(member, by_number))), ())


def _of_member(found: Any, by_number: Sequence[str | None]) -> Tags:
    """A tag, a list of tags, or nothing."""
    if found is None:
        return ()
    if isinstance(found, str):
        return _of_text(plain(found), by_number, numbered=False)
    tags = found if isinstance(found, list) else [found]
    if not all(isinstance(tag, (str, int)) and not isinstance(tag, bool) for tag in tags):
        raise ValueError(f"need names or numbers of classes, got {str(found)[:40]}")
    if tags and all(isinstance(tag, int) for tag in tags):
        return _of_numbers(tags, by_number)
    return unique(
        (tag if isinstance(tag, str) else _named(tag, by_number) for tag in tags), empty=_words_for_none(by_number)
    )


def _of_numbers(numbers: Sequence[int], by_number: Sequence[str | None]) -> Tags:
    """Names of numbered classes; 0 and 1 for each class are refused, since they may be numbers of classes too."""
    classes = sum(name is not None and not is_background(name) for name in by_number)
    if 1 < len(numbers) in (classes, len(by_number)) and set(numbers) <= {0, 1} and list(numbers) != [0, 1]:
        raise ValueError(f"{list(numbers)} may be 0 and 1 for each class, or numbers of classes: write names")
    return unique((_named(number, by_number) for number in numbers), empty=())


def _words_for_none(by_number: Sequence[str | None]) -> Collection[str]:
    return EMPTY_WORDS - {name.lower() for name in by_number if name}


def _named(number: int, by_number: Sequence[str | None]) -> str:
    if not by_number:
        raise ValueError(f"class number {number}, which needs a classes.txt beside the shards")
    if not 0 <= number < len(by_number):
        raise ValueError(f"class number {number}, classes.txt has {len(by_number)}")
    name = by_number[number]
    if name is None:
        raise ValueError(f"class number {number}, which names no class in classes.txt")
    return name
