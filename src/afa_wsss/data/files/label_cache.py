"""Image labels collected once: a small JSON file beside the data, so that no run parses thousands of annotations."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from afa_wsss.data.base import FilePath, Labels


class LabelCache:
    """Labels by photo name. Valid for the options it was made with, and while its sources are not newer."""

    def __init__(self, path: Path, made_with: Mapping[str, Any], *, newer_than: Path) -> None:
        """Reads nothing yet.

        Args:
            path: The JSON file.
            made_with: Options that decide the labels, as plain data; None for an option that may have any value.
            newer_than: The file or folder that the labels come from.
        """
        self.path, self.made_with, self.newer_than = path, dict(made_with), newer_than

    @cached_property
    def _content(self) -> tuple[dict[str, Any], dict[str, list[int]]]:
        """Options and labels in the file; both empty where there is no valid file."""
        try:
            if _modified(self.newer_than) > _modified(self.path):
                return {}, {}
            content = json.loads(self.path.read_text(encoding="utf-8"))
            options, labels = dict(content["made_with"]), dict(content["labels"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}, {}
        valid = all(options.get(key) == value for key, value in self.made_with.items() if value is not None)
        return (options, labels) if valid else ({}, {})

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
        write_atomically(self.path, json.dumps(content, ensure_ascii=False))
        self.__dict__.pop("_content", None)


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
