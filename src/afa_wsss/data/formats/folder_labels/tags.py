"""Several tags in one cell: how they are joined, and where a blank or a comma is part of a name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from afa_wsss.data.formats.folder_labels.label_cells import literal
from afa_wsss.data.formats.folder_labels.reading import EMPTY_WORDS, NO_CLASS, class_name, unique
from afa_wsss.errors import UserError

Tags = tuple[str, ...]
JOINERS = {";": "semicolon", "|": "vertical bar", ",": "comma"}
"""What joins tags; the first that a table uses is the one that it joins them by."""

BINARY = frozenset({"0", "1", "0.", "1.", "0.0", "1.0"})
"""Numbers that say for each class whether it is there."""

_LIST = re.compile(r"^\s*[\[({](.*)[\])}]\s*$", re.DOTALL)
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_PARTS = re.compile(_QUOTED.pattern + r"|([^\s,;|'\"][^,;|'\"]*)")


def split_tags(cells: Sequence[str | Sequence[object]], known: Collection[str] = ()) -> tuple[list[Tags], list[str]]:
    """The tags of each cell of a table.

    Lists, also as Python's text, are taken as they are. Else the first of ``;``, ``|`` and ``,`` that the table uses
    joins tags. Where parts that are joined by another of these, or by blanks, are all classes elsewhere, they are
    classes here too: ``chair person``.

    Args:
        cells: Text, or lists that JSON holds.
        known: Names that stand in a list of classes: these are never split.

    Returns:
        Tags of each cell, and how they are joined, in words; empty where no cell holds several.

    Example:
        >>> split_tags(["cat;dog", "dog", "['cat', 'dog']"])
        ([('cat', 'dog'), ('dog',), ('cat', 'dog')], ['semicolon', 'list'])
        >>> split_tags([["fire truck"], "fire", "truck"])[0]
        [('fire truck',), ('fire',), ('truck',)]
        >>> split_tags(["hot dog", "chair person", "chair", "person"])[0]
        [('hot dog',), ('chair', 'person'), ('chair',), ('person',)]
    """
    names = {class_name(name) for name in known}
    empty = EMPTY_WORDS - {name.lower() for name in names}
    lists = [_as_list(cell, empty) for cell in cells]
    texts = [cell for cell, tags in zip(cells, lists, strict=True) if tags is None and isinstance(cell, str)]
    joiner = next(
        (mark for mark in JOINERS if any(mark in cell and class_name(cell) not in names for cell in texts)), None
    )
    found = [
        tags if tags is not None else _split(str(cell), joiner, names, empty)
        for cell, tags in zip(cells, lists, strict=True)
    ]
    ways = [JOINERS[joiner]] if joiner else []
    ways += ["list"] if any(tags is not None for tags in lists) else []
    return _split_joined(found, [tags is None for tags in lists], names, ways)


def check_names(path: Path, cells: Sequence[str | Sequence[object]]) -> None:
    """Checks that cells do not all hold 0 or 1 for each class, as in ``[1, 0, 0]`` or ``1 0 0``, which names no class.

    Raises:
        UserError: Where they do.
    """
    texts = [text for cell in cells if (text := cell if isinstance(cell, str) else " ".join(map(str, cell)))]
    parts = [re.split(r"[\s,;|]+", text.strip(" []()")) for text in texts]
    if parts and len(parts[0]) > 1 and all(len(one) == len(parts[0]) and BINARY.issuperset(one) for one in parts):
        raise UserError(
            f"need names of classes in {path}, its labels are 0 and 1 for each of {len(parts[0])} classes, such as "
            f"{texts[0]}; write the names, or a table with one column of 0 and 1 for each class"
        )


def read_as_no_class(cells: Sequence[str | Sequence[object]], known: Collection[str] = ()) -> list[tuple[str, str]]:
    """A fact that names the words of cells that are read as no class although a class may be called so, such as ``NA``.

    Example:
        >>> read_as_no_class(["cat;-", "NA", ""]), read_as_no_class(["NA"], known=["NA", "EU"])
        ([('read as no class', '-, NA')], [])
    """
    empty = EMPTY_WORDS - NO_CLASS - {class_name(name).lower() for name in known}
    words = {word.strip() for cell in cells if isinstance(cell, str) for word in re.split(r"[,;|]", cell)}
    read = sorted(word for word in words if word.lower() in empty - {"[]", "()", "{}"})
    return [("read as no class", ", ".join(read))] if read else []


def _split(cell: str, joiner: str | None, names: Collection[str], empty: Collection[str]) -> Tags:
    cell = class_name(cell)
    return unique([cell] if joiner is None or cell in names else cell.split(joiner), empty=empty)


def _split_joined(
    cells: list[Tags], are_text: Sequence[bool], names: Collection[str], ways: list[str]
) -> tuple[list[Tags], list[str]]:
    """Splits tags of text whose parts are all classes elsewhere; words that change places are classes, too."""
    parts: dict[str, list[str]] = {}
    in_text = {tag for tags, is_text in zip(cells, are_text, strict=True) if is_text for tag in tags}
    orders = Counter(tuple(sorted(tag.split())) for tag in in_text - set(names))
    moved = {word for words, count in orders.items() if count > 1 for word in words}
    alone = set(names) | moved | {tag for tags in cells for tag in tags}
    for tag in sorted(in_text - set(names)):
        for pattern, way in ((r"\s*[,;|]\s*", "other marks"), (r"\s+", "blank")):
            words = [word for word in re.split(pattern, tag) if word]
            if len(words) > 1 and all(word in alone for word in words):
                parts[tag] = words
                ways += [way] if way not in ways else []
                break
    if not parts:
        return cells, ways
    split = [tuple(dict.fromkeys(word for tag in tags for word in parts.get(tag, [tag]))) for tags in cells]
    return [new if is_text else old for new, old, is_text in zip(split, cells, are_text, strict=True)], ways


def _as_list(cell: str | Sequence[object], empty: Collection[str]) -> Tags | None:
    """Tags of a list, also one in text of JSON, Python or NumPy, such as ``['cat' 'dog']`` or ``{cat, dog}``.

    Returns:
        None for plain text.
    """
    if not isinstance(cell, str):
        return unique((str(tag) for tag in cell if tag is not None), empty=empty)
    inner = _LIST.match(cell)
    if inner is None or (cell.lstrip().startswith("(") and "'" not in cell and '"' not in cell):
        return None
    quoted = _QUOTED.findall(inner[1])
    if quoted:
        written = _scalars(cell)
        # Python joins 'cat' 'dog', which is how NumPy writes two.
        if written is not None and sum(isinstance(tag, str) for tag in written) == len(quoted):
            return unique((str(tag) for tag in written if tag is not None), empty=empty)
        return unique((re.sub(r"\\(.)", r"\1", "".join(part)) for part in _PARTS.findall(inner[1])), empty=empty)
    return unique(re.split(r"[,;|]", inner[1]), empty=empty)


def _scalars(text: str) -> Sequence[object] | None:
    """The names and numbers of a list in text of JSON or Python; None for another text."""
    try:
        found = literal(text)
    except TypeError:
        return None
    if isinstance(found, list | tuple) and all(isinstance(tag, str | int | float | None) for tag in found):
        return found
    return None
