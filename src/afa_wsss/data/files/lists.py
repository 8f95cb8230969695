"""Lists of photos: reading them, and checking their names and labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from afa_wsss.data.base import FilePath, Labels
from afa_wsss.data.checks.problems import Problem, Report
from afa_wsss.errors import UserError


def read_text(path: Path) -> str:
    """Reads a text file and drops the byte order mark that some editors write.

    Raises:
        UserError: Where the file is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"need a list in UTF-8, {path} is not ({error}); save it as UTF-8") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, stripped, without empty ones.

    Raises:
        UserError: Where the file is not UTF-8.
    """
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def keep_unique(names: Sequence[str], source: Path, report: Report) -> list[str]:
    """The names in order, each once; duplicates, and names that point outside their folder, are reported."""
    seen: dict[str, int] = {}
    outside = []
    for name in names:
        if stays_inside(name):
            seen[name] = seen.get(name, 0) + 1
        else:
            outside.append(name)
    if outside:
        message = "need names of photos inside their folder, {} holds {!r}; take it off the list"
        report([Problem("name leaves folder", name, message.format(source, name)) for name in outside])
    repeated = [(name, times) for name, times in seen.items() if times > 1]
    if repeated:
        message = "need each photo once in {}, {} is there {} times; remove the others"
        report([Problem("listed twice", name, message.format(source, name, times)) for name, times in repeated])
    return list(seen)


def report_unlabeled(names: Sequence[str], labels: Labels, source: Path, report: Report) -> None:
    """Reports photos without any class: there is nothing to learn from them."""
    unlabeled = [names[index] for index in np.flatnonzero(~labels.any(axis=1)).tolist()]
    if unlabeled:
        message = (
            "need at least one class for every photo to train on, {} of {} has none; label it or take it off the list"
        )
        report([Problem("no class", name, message.format(name, source)) for name in unlabeled])


def stays_inside(name: str) -> bool:
    """Whether a name from a list points to a place inside the folder that it is relative to."""
    parts = set(name.split("/")) - {"", "."}
    absolute = os.path.isabs(name)  # noqa: PTH117  # see FilePath
    return bool(parts) and ".." not in parts and not absolute and "\\" not in name and "\0" not in name


def is_file(path: FilePath) -> bool:
    """Whether ``path`` is a file."""
    return os.path.isfile(path)  # noqa: PTH113  # see FilePath


def raise_missing(missing: Sequence[FilePath], total: int, *, what: str, source: Path) -> None:
    """Raises where files are missing and names the first three.

    Args:
        missing: Paths of the missing files.
        total: Number of files that ``source`` lists.
        what: ``photo`` or ``mask``, for the message.
        source: The list, for the message.

    Raises:
        UserError: Where ``missing`` is not empty.
    """
    if missing:
        named = ", ".join(str(path) for path in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UserError(
            f"need every {what} that {source} lists, {len(missing)} of {total} missing: {named}; "
            "add them or take them off the list",
            kind="missing",
        )
