"""Image labels collected once: a small JSON file beside the data, so that no run parses thousands of annotations."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from afa_wsss.data.base import FilePath, Labels


class LabelCache:
    """Labels by photo name. Valid for the options it was made with, and while its source stays as it was.

    A source that is a file is known by ``mark_of``. A folder must not be newer, nor a file that was not marked.
    """

    def __init__(self, path: Path, made_with: Mapping[str, Any], *, newer_than: Path) -> None:
        """Reads nothing yet.

        Args:
            path: The JSON file.
            made_with: Options that decide the labels, as plain data; None for an option that may have any value.
            newer_than: The file or folder that the labels come from; without it, nothing tells that it has changed.
        """
        self.path, self.made_with, self.newer_than = path, dict(made_with), newer_than

    @cached_property
    def _content(self) -> tuple[dict[str, Any], dict[str, list[int]]]:
        """Options and labels in the file; both empty where there is no valid file."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            options, labels, mark = dict(content["made_with"]), dict(content["labels"]), content.get("source")
        except (OSError, ValueError, KeyError, TypeError):
            return {}, {}
        by_time = mark is None or not self.newer_than.is_file()
        fresh = _modified(self.newer_than) <= _modified(self.path) if by_time else has_mark(self.newer_than, mark)
        valid = all(options.get(key) == value for key, value in self.made_with.items() if value is not None)
        return (options, labels) if fresh and valid else ({}, {})

    @property
    def by_name(self) -> dict[str, list[int]]:
        """Class indices of each photo; empty where there is no valid file."""
        return self._content[1]

    @property
    def options(self) -> dict[str, Any]:
        """The options that the labels were made with; empty where there is no valid file."""
        return self._content[0]

    def covers(self, names: Sequence[str], sources: Iterable[FilePath] = ()) -> bool:
        """Whether it has every name, and none of the source files was modified later."""
        if not self.by_name or not all(name in self.by_name for name in names):
            return False
        written = _modified(self.path)
        return all(_modified(source) <= written for source in sources)

    def labels(self, names: Sequence[str], classes: int) -> Labels:
        """(N, k) multi-hot labels of these photos."""
        labels = np.zeros((len(names), classes), dtype=np.uint8)
        for row, name in enumerate(names):
            labels[row, self.by_name[name]] = 1
        return labels

    def write(self, labels: Mapping[str, Sequence[int]]) -> None:
        """Replaces the file atomically: a concurrent reader sees the old one or the new one.

        Args:
            labels: Class indices of each photo by name.
        """
        content = {"made_with": self.made_with, "labels": {name: list(columns) for name, columns in labels.items()}}
        if self.newer_than.is_file():
            content["source"] = mark_of(self.newer_than)
        write_atomically(self.path, json.dumps(content, ensure_ascii=False))
        self.__dict__.pop("_content", None)


def mark_of(source: Path) -> dict[str, Any]:
    """Size, time and SHA-256 of a file, as plain data, by which ``has_mark`` knows it again."""
    return {"sha256": _sha256(source), "place": _place(source)}


def has_mark(source: Path, mark: Mapping[str, Any]) -> bool:
    """Whether a file is the one of ``mark_of``, whatever its time; it is read only where size or time differ."""
    return mark.get("place") == _place(source) or mark.get("sha256") == _sha256(source)


def _place(source: Path) -> list[int]:
    found = source.stat()
    return [found.st_size, found.st_mtime_ns]


def _sha256(source: Path) -> str:
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _modified(path: FilePath) -> float:
    """Modification time of a file; 0 where there is none."""
    try:
        return os.stat(path).st_mtime  # noqa: PTH116  # see FilePath
    except OSError:
        return 0.0


def write_atomically(path: Path, text: str) -> None:
    """Writes the whole file or nothing, even when the process is killed; creates missing folders.

    Bytes of file names that are not UTF-8 are escaped as JSON does it, so that such a file reads back the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")  # processes of one run write the same file at once
    try:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
