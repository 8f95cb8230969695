"""Image labels gathered once: a small JSON file beside the data, so that no run parses thousands of annotations."""

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
    """Labels by name, valid for the settings they were made with and while what they came from is not newer."""

    def __init__(self, path: Path, made_with: Mapping[str, Any], *, newer_than: Path) -> None:
        """Reads nothing yet.

        Args:
            path: Of the file.
            made_with: Settings that decide the labels, as plain data; None for one that may have any value.
            newer_than: The file or folder that they were gathered from.
        """
        self.path, self.made_with, self.newer_than = path, dict(made_with), newer_than

    @cached_property
    def _content(self) -> tuple[dict[str, Any], dict[str, list[int]]]:
        """The settings that the file was made with and its labels; nothing where there is no file that fits."""
        try:
            if _changed(self.newer_than) > _changed(self.path):
                return {}, {}
            content = json.loads(self.path.read_text(encoding="utf-8"))
            settings, labels = dict(content["made_with"]), dict(content["labels"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}, {}
        fits = all(settings.get(key) == value for key, value in self.made_with.items() if value is not None)
        return (settings, labels) if fits else ({}, {})

    @property
    def by_name(self) -> dict[str, list[int]]:
        """Columns of the classes of each photo; empty where there is no file that fits."""
        return self._content[1]

    @property
    def settings(self) -> dict[str, Any]:
        """What the labels were made with; empty where there is no file that fits."""
        return self._content[0]

    def covers(self, names: Sequence[str], sources: Iterable[FilePath] = ()) -> bool:
        """Whether every name is in it, and none of the files that they were gathered from was changed since."""
        if not self.by_name or not all(name in self.by_name for name in names):
            return False
        gathered = _changed(self.path)
        return all(_changed(source) <= gathered for source in sources)

    def labels(self, names: Sequence[str], classes: int) -> Labels:
        """(N, k) multi-hot of these names."""
        labels = np.zeros((len(names), classes), dtype=np.uint8)
        for row, name in enumerate(names):
            labels[row, self.by_name[name]] = 1
        return labels

    def write(self, labels: Mapping[str, Sequence[int]]) -> None:
        """Replaces the file in one step: a reader sees the old one or the new."""
        content = {"made_with": self.made_with, "labels": {name: list(columns) for name, columns in labels.items()}}
        write_atomically(self.path, json.dumps(content, ensure_ascii=False))
        self.__dict__.pop("_content", None)


def _changed(path: FilePath) -> float:
    """When a file was last written; 0 where there is none."""
    try:
        return os.stat(path).st_mtime  # noqa: PTH116  # see FilePath
    except OSError:
        return 0.0


def write_atomically(path: Path, text: str) -> None:
    """Writes a whole file or nothing, whenever the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
