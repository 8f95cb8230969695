"""The index of predictions: what was found in which photo, as CSV and JSON, and what an interrupted run has done."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from afa_wsss.data.files.whole import whole_file
from afa_wsss.errors import UserError

CSV_FILE, JSON_FILE, JOURNAL = "predictions.csv", "predictions.json", "predictions.partial.jsonl"
COLUMNS = ("photo", "mask", "width", "height", "class", "share", "score", "error")
TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
"""File names that are not UTF-8 keep their bytes."""


class FoundClass(NamedTuple):
    """A class in the mask of a photo.

    Attributes:
        name: The class.
        share: Share of the photo's pixels, in (0, 1].
        score: Probability that the class is in the photo by the class branch, in [0, 1].
    """

    name: str
    share: float
    score: float


class PhotoRecord(NamedTuple):
    """What the index holds of a photo.

    Attributes:
        photo: Path inside the input folder, ``/`` between folders.
        mask: Path of the mask inside the output folder; empty where the photo could not be labeled.
        width: Of the photo and its mask in pixels; 0 where it could not be labeled.
        height: As ``width``.
        classes: Classes in the mask; none for a photo of background alone.
        error: Why the photo could not be labeled; empty for one that was.
    """

    photo: str
    mask: str
    width: int
    height: int
    classes: tuple[FoundClass, ...] = ()
    error: str = ""

    def as_data(self) -> dict[str, Any]:
        """As plain data for JSON; ``error`` only where there is one."""
        classes = [
            {"class": found.name, "share": round(found.share, 6), "score": round(found.score, 4)}
            for found in self.classes
        ]
        data = {**self._asdict(), "classes": classes}
        return data if self.error else {name: value for name, value in data.items() if name != "error"}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> PhotoRecord:
        """What ``as_data`` gave."""
        classes = tuple(FoundClass(one["class"], one["share"], one["score"]) for one in data["classes"])
        return cls(**{**data, "classes": classes})

    def rows(self) -> list[tuple[Any, ...]]:
        """A row for each class, or one without a class; columns are ``COLUMNS``."""
        place = (self.photo, self.mask, self.width or "", self.height or "")
        rows = [(*place, one.name, f"{one.share:.6f}", f"{one.score:.4f}", "") for one in self.classes]
        return rows or [(*place, "", "", "", self.error)]


class PredictionIndex:
    """The index of one output folder; a context: both files are written whole at its end, whatever ended it.

    Meanwhile each photo is a line of a journal, which a later run reads where this one was killed.

    Attributes:
        records: By photo.
    """

    def __init__(self, folder: Path, made_with: Mapping[str, Any], *, overwrite: bool, **head: Any) -> None:
        """Takes over what an earlier run with the same checkpoint, settings and photos has done.

        Args:
            folder: Folder of the predictions; made at the start of the context.
            made_with: ``checkpoint`` (``path`` and ``sha256``), ``input`` and settings, as plain data.
            overwrite: Whether to begin anew, and write over what is there.
            head: What else the JSON says before the photos.

        Raises:
            UserError: For a folder with other files, or predictions made otherwise, unless they are overwritten.
        """
        self.folder, self.overwrite = folder, overwrite
        self.made_with: dict[str, Any] = json.loads(json.dumps(made_with))
        self.head = head
        self.records: dict[str, PhotoRecord] = {}
        if not overwrite:
            self._take_over()

    def __enter__(self) -> PredictionIndex:
        """Opens the journal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.overwrite:
            for name in (CSV_FILE, JSON_FILE, JOURNAL):
                (self.folder / name).unlink(missing_ok=True)
        self._journal = (self.folder / JOURNAL).open("a", **TEXT)
        self._append({"made_with": self.made_with})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Writes both files; the journal is no longer needed."""
        self._journal.close()
        self._write()
        (self.folder / JOURNAL).unlink()

    def has(self, photo: str) -> bool:
        """Whether a photo was labeled before, and its mask is still there."""
        record = self.records.get(photo)
        return record is not None and not record.error and (self.folder / record.mask).is_file()

    def add(self, record: PhotoRecord) -> None:
        """Adds a photo, or replaces what is known of it; its mask has to be written before."""
        self.records[record.photo] = record
        self._append(record.as_data())

    def _append(self, data: Mapping[str, Any]) -> None:
        self._journal.write(json.dumps(data, ensure_ascii=False) + "\n")
        self._journal.flush()

    def _write(self) -> None:
        records = [self.records[photo] for photo in sorted(self.records)]
        table = StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows(row for record in records for row in record.rows())
        content = {"made_with": self.made_with, **self.head, "photos": [record.as_data() for record in records]}
        for name, text in (
            (CSV_FILE, table.getvalue()),
            (JSON_FILE, json.dumps(content, ensure_ascii=False, indent=2) + "\n"),
        ):
            with whole_file(self.folder / name) as path:
                path.write_text(text, **TEXT)

    def _take_over(self) -> None:
        """Reads both files of an earlier run, as far as they are there."""
        parts = list(_earlier(self.folder))
        there = sorted(path.name for path in self.folder.glob("[!.]*"))
        if there and not any("made_with" in part for part in parts):
            self._refuse(f"one that afa-predict wrote, {self.folder} holds {_listed(there)}")
        for part in parts:
            if "made_with" in part and (why := _difference(part["made_with"], self.made_with)):
                self._refuse(
                    f"predictions of the same checkpoint, settings and photos, those in {self.folder} are {why}"
                )
            for data in part.get("photos", [part] if "photo" in part else []):
                record = PhotoRecord.from_data(data)
                self.records[record.photo] = record

    def _refuse(self, what: str) -> None:
        raise UserError(
            f"need an empty folder, or {what}; choose another output_dir, or add overwrite=true",
            kind="exists",
            arguments=("output_dir",),
        )


def _earlier(folder: Path) -> Iterator[Mapping[str, Any]]:
    """The content of the JSON file, then the lines of the journal; a line that a kill has cut off is left out."""
    texts = [folder / JSON_FILE, folder / JOURNAL]
    whole, lines = (path.read_text(**TEXT) if path.is_file() else "" for path in texts)
    for text in (whole, *lines.split("\n")):
        try:
            part = json.loads(text)
        except ValueError:
            continue
        if isinstance(part, dict):
            yield part


def _difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """In what earlier predictions differ; None where they do not."""
    if earlier["checkpoint"]["sha256"] != now["checkpoint"]["sha256"]:
        return f"of the checkpoint {earlier['checkpoint']['path']}"
    if earlier["input"] != now["input"]:
        return f"of the photos in {earlier['input']}"
    others = sorted(name for name in now if name != "checkpoint" and earlier.get(name) != now[name])
    return f"made with another {' and '.join(others)}" if others else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
