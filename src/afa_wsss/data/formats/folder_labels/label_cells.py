"""What one cell or member of labels holds: a text, or names in lists and dicts, also where these are text."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from afa_wsss.data.formats.folder_labels.words import LABEL_WORDS

NAMES = LABEL_WORDS | {f"{kind}labels" for kind in ("rectangle", "polygon", "brush", "ellipse", "keypoint")}
"""Members that hold names of classes; the last ones are Label Studio's."""

SHOWN = 100
"""Characters of a value in a message."""

_DICTS = re.compile(r"^\s*(\{[^{}]*:|\[\s*\{).*[\]}]\s*$", re.DOTALL)
"""Text that is a dict or a list of dicts; ``{cat, dog}`` is none."""


def label_cell(value: Any) -> str | list[object]:
    """A text, or a list of names: of ``{"categories": [...]}``, of objects with a name, of a dict of 0 and 1.

    Dicts and lists of dicts may be text of JSON or Python.

    Raises:
        TypeError: For anything else.

    Example:
        >>> label_cell("cat;dog"), label_cell('{"choices": ["cat", "dog"]}'), label_cell("{'cat': 1, 'dog': 0}")
        ('cat;dog', ['cat', 'dog'], ['cat'])
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return label_cell(literal(value)) if _DICTS.match(value) else value
    if isinstance(value, dict):
        inner = next((value[key] for key in value if str(key).lower() in NAMES), None)
        if inner is not None:
            return label_cell(inner)
        if all(entry in (0, 1) for entry in value.values()):  # true and false are 1 and 0
            return [name for name, entry in value.items() if entry]
        raise TypeError(f"labels are {_short(value)}")
    if isinstance(value, list):
        return [name for entry in value for name in label_names(entry)]
    raise TypeError(f"labels are {_short(value)}; need names")


def label_names(entry: Any) -> list[object]:
    """Names in one entry of a list of labels.

    Raises:
        TypeError: For an entry without a name.
    """
    if isinstance(entry, str) or entry is None:
        return [entry]
    if isinstance(entry, int) and not isinstance(entry, bool):
        return [str(entry)]
    if isinstance(entry, dict):
        named = label_cell(entry)
        return [named] if isinstance(named, str) else named
    raise TypeError(f"a label is {_short(entry)}; need a name")


def literal(text: str) -> object:
    """The value that a text is in JSON or Python, such as a list or a dict.

    Raises:
        TypeError: Where it is neither.
    """
    text = text.strip()
    for parse in (json.loads, ast.literal_eval):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's about backslashes in a text
                return parse(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise TypeError(f"labels are {_short(text)}, which is neither JSON nor Python")


def _short(value: object) -> str:
    """The first characters of a value; it may hold outlines of objects."""
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
