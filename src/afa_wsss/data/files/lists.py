"""Lists of photos: reading them, and what may be wrong with their names and labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from afa_wsss.data.base import FilePath, Labels
from afa_wsss.data.checks.problems import Problem, Report
from afa_wsss.errors import UserError


def read_text(path: Path) -> str:
    """A text file, without the byte order mark that some editors begin it with.

    Raises:
        UserError: Where the file is no text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"need a list in UTF-8, {path} is not ({error}); save it as such") from error


def read_lines(path: Path) -> list[str]:
    """Lines of a text file that hold anything; errors are those of ``read_text``."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def keep_unique(names: Sequence[str], source: Path, report: Report) -> list[str]:
    """The names, each once, in order; names that are there again, or would leave their folder, are reported."""
    seen: dict[str, int] = {}
    outside = []
    for name in names:
        if stays_inside(name):
            seen[name] = seen.get(name, 0) + 1
        else:
            outside.append(name)
    if outside:
        told = "need names of photos inside their folder, {} holds {!r}; take it off the list"
        report([Problem("name leaves folder", name, told.format(source, name)) for name in outside])
    twice = [(name, times) for name, times in seen.items() if times > 1]
    if twice:
        told = "need each photo once in {}, {} is there {} times; take it off"
        report([Problem("listed twice", name, told.format(source, name, times)) for name, times in twice])
    return list(seen)


def report_unlabelled(names: Sequence[str], labels: Labels, source: Path, report: Report) -> None:
    """Reports photos without any class, which nothing could be learnt from."""
    bare = [names[index] for index in np.flatnonzero(~labels.any(axis=1)).tolist()]
    if bare:
        told = (
            "need at least one class for every photo to train on, {} of {} has none; label it or take it off the list"
        )
        report([Problem("no class", name, told.format(name, source)) for name in bare])


def stays_inside(name: str) -> bool:
    """Whether a name from a list stays in the folder that it belongs to."""
    parts = set(name.split("/")) - {"", "."}
    absolute = os.path.isabs(name)  # noqa: PTH117  # see FilePath
    return bool(parts) and ".." not in parts and not absolute and "\\" not in name and "\0" not in name


def is_file(path: FilePath) -> bool:
    """Whether there is a file."""
    return os.path.isfile(path)  # noqa: PTH113  # see FilePath


def refuse_missing(missing: Sequence[FilePath], listed: int, *, kind: str, source: Path) -> None:
    """Raises UserError where any of the files that are listed is missing, naming the first of them."""
    if missing:
        named = ", ".join(str(path) for path in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UserError(
            f"need every {kind} that {source} lists, {len(missing)} of {listed} missing: {named}; "
            "add them or take them off the list"
        )
