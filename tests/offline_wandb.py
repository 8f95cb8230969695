"""Reads what an offline run of wandb has stored: records of its transaction log, and the files beside it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7
"""Sizes of LevelDB's log format, which wandb writes after 7 bytes of its own."""

FULL, LAST = 1, 4
"""Kinds of pieces that end a record."""


class OfflineRun:
    """Values of an offline run, decoded.

    Attributes:
        folder: Of the run, ``offline-run-*``.
        run: Group, job type, name and id.
        config_updates: Records that changed the config after the start.
        config: Values by name.
        summary: Values by name; a dictionary where another aggregate than the last was asked for.
        history: Logged rows in their order.
        artifacts: Records of artifacts.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the log of the run."""
        self.folder = folder
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.artifacts: list[Any] = []
        self.config_updates = 0
        (log,) = folder.glob("run-*.wandb")
        for record in records(log):
            self._add(record)

    def _add(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            self.run = record.run
            self.config |= _values(record.run.config.update)
        elif kind == "config":
            self.config_updates += 1
            self.config |= _values(record.config.update)
        elif kind == "summary":
            self.summary = _merged(self.summary, _values(record.summary.update))
        elif kind == "history":
            self.history.append(_values(record.history.item))
        elif kind == "artifact":
            self.artifacts.append(record.artifact)

    def table(self, key: str) -> dict[str, Any]:
        """The last table of that name: ``columns`` and ``data``."""
        path = [row[key]["path"] for row in self.history if key in row][-1]
        found: dict[str, Any] = json.loads((self.folder / "files" / path).read_text())
        return found

    def media_table(self, key: str) -> dict[str, Any]:
        """The last table of that name that holds pictures, as its artifact has it."""
        ends = f"{key}.table.json"
        contents = [content for one in self.artifacts for content in one.manifest.contents]
        path = [content.local_path for content in contents if content.path.endswith(ends)][-1]
        found: dict[str, Any] = json.loads(Path(path).read_text())
        return found


def offline_runs(folder: Path) -> list[OfflineRun]:
    """All runs below a folder, in the order of their paths."""
    return [OfflineRun(log.parent) for log in sorted(folder.rglob("run-*.wandb"))]


def records(path: Path) -> Iterator[Any]:
    """The records of a transaction log."""
    data, at, part = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        part += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (FULL, LAST):
            yield wandb_internal_pb2.Record.FromString(part)
            part = b""


def _values(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        *owners, name = list(item.nested_key) or [item.key]
        place = found
        for owner in owners:
            place = place.setdefault(owner, {})
        place[name] = json.loads(item.value_json)
    return found


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(old[key], new[key]) for key in old.keys() & new.keys() if _dicts(old[key], new[key])}
    return old | new | both


def _dicts(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)
