"""The index of predictions: what was found in which photo, as CSV and JSON, and what an interrupted run has done."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from afa_wsss.api.prediction_record import COLUMNS, MASKS, OVERLAYS, PhotoFile, PhotoRecord, overlay_of
from afa_wsss.data.files.whole import whole_file
from afa_wsss.errors import UserError
from afa_wsss.report.sweep_jobs import JOB_FILE

CSV_FILE, JSON_FILE, JOURNAL = "predictions.csv", "predictions.json", "predictions.partial.jsonl"
TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
"""File names that are not UTF-8 keep their bytes."""


class PredictionIndex:
    """The index of one output folder; a context: both files are written whole at its end, whatever ended it.

    Meanwhile each photo is a line of a journal, which a later run reads where this one was killed.

    Attributes:
        records: By photo, those of photos that are gone among them. No two have the same mask.
        photos: Photos of the input.
    """

    def __init__(
        self, folder: Path, made_with: Mapping[str, Any], photos: Collection[str], *, overwrite: bool, **head: Any
    ) -> None:
        """Takes over what an earlier run with the same checkpoint, settings and folder of photos has done.

        Args:
            folder: Folder of the predictions; made at the start of the context.
            made_with: ``checkpoint`` (``path`` and ``sha256``), ``input`` and settings, as plain data.
            photos: Paths of the photos inside the input folder.
            overwrite: Whether to begin anew: masks and overlays that the earlier index names are removed at the start
                of the context, and other files are written over.
            head: What else the JSON says before the photos.

        Raises:
            UserError: For a folder with other files, or predictions made otherwise, unless they are overwritten; for
                one that cannot be read.
        """
        self.folder, self.overwrite, self.photos = folder, overwrite, frozenset(photos)
        self.made_with: dict[str, Any] = json.loads(json.dumps(made_with))
        self.head = head
        self.records: dict[str, PhotoRecord] = {}
        self._owners: dict[str, str] = {}
        with _output(folder):
            if not overwrite:
                self._take_over()

    def __enter__(self) -> PredictionIndex:
        """Makes the folders, writes the JSON of what is known, so that they count as results, and opens the journal."""
        with _output(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.overwrite:
                self._remove_earlier()
            for folder in (MASKS, OVERLAYS):
                (self.folder / folder).mkdir(exist_ok=True)
            self._write_json()
            self._journal = (self.folder / JOURNAL).open("a", **TEXT)
            self._append({"made_with": self.made_with})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Writes both files; the journal is no longer needed."""
        self._journal.close()
        self._write_csv()
        self._write_json()
        (self.folder / JOURNAL).unlink(missing_ok=True)

    def has(self, photo: str, mask: str, path: Path) -> bool:
        """Whether a photo was labeled before, its file is the one that was read, and that mask is still there."""
        record, there, now = self.records.get(photo), self.folder / mask, PhotoFile.of(path)
        if record is None or record.mask != mask or now is None or not there.is_file():
            return False
        return now.mtime_ns <= there.stat().st_mtime_ns if record.file is None else record.file == now

    @property
    def gone(self) -> list[PhotoRecord]:
        """Photos that were labeled before and are no longer in the input, while their masks are still there."""
        others = (self.records[photo] for photo in sorted(self.records.keys() - self.photos))
        return [record for record in others if record.mask and (self.folder / record.mask).is_file()]

    def add(self, record: PhotoRecord) -> None:
        """Adds a photo, or replaces what is known of it; its mask has to be written before.

        The pictures that it had under another name are removed, and those of a photo that cannot be decoded any more; a
        photo whose file is not there, perhaps a link to a disk that is not mounted, keeps them.
        """
        before = self.records.get(record.photo)
        if before is not None and before.mask != record.mask and record.file is not None:
            self._remove_pictures(before)
        self._keep(record)
        file = {} if record.file is None else {"file": record.file._asdict()}
        self._append(record.as_data() | file)

    def _keep(self, record: PhotoRecord) -> None:
        """A mask is that of the photo which it was last written for."""
        if (before := self.records.pop(record.photo, None)) is not None:
            self._owners.pop(before.mask, None)
        if record.mask:
            self.records.pop(self._owners.get(record.mask, ""), None)
            self._owners[record.mask] = record.photo
        self.records[record.photo] = record

    def _remove_earlier(self) -> None:
        """Removes the index of an earlier run, and the masks and overlays that it names; nothing else."""
        for part in _earlier(self.folder):
            for record in _records(part):
                self._remove_pictures(record)
        for name in (CSV_FILE, JSON_FILE, JOURNAL):
            (self.folder / name).unlink(missing_ok=True)

    def _remove_pictures(self, record: PhotoRecord) -> None:
        for place in (record.mask, overlay_of(record.mask)):
            parts = PurePosixPath(place).parts
            if parts[:1] in ((MASKS,), (OVERLAYS,)) and ".." not in parts and (self.folder / place).is_file():
                (self.folder / place).unlink()

    def _append(self, data: Mapping[str, Any]) -> None:
        self._journal.write(json.dumps(data, ensure_ascii=False) + "\n")
        self._journal.flush()

    @property
    def _in_input(self) -> list[PhotoRecord]:
        return [self.records[photo] for photo in sorted(self.records.keys() & self.photos)]

    def _write_csv(self) -> None:
        table = StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows(row for record in self._in_input for row in record.rows())
        with whole_file(self.folder / CSV_FILE) as path:
            path.write_text(table.getvalue(), **TEXT)

    def _write_json(self) -> None:
        """Photos that are gone, and what all files were, stand after the photos."""
        found, gone = self._in_input, self.gone
        files = {record.photo: record.file._asdict() for record in (*found, *gone) if record.mask and record.file}
        content = {"made_with": self.made_with, **self.head, "photos": [record.as_data() for record in found]}
        content |= {"gone": [record.as_data() for record in gone]} if gone else {}
        content |= {"files": files}
        with whole_file(self.folder / JSON_FILE) as path:
            path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", **TEXT)

    def _take_over(self) -> None:
        """Reads both files of an earlier run, as far as they are there."""
        parts = list(_earlier(self.folder))
        there = sorted(path.name for path in self.folder.glob("[!.]*") if path.name != JOB_FILE)
        if there and not any("made_with" in part for part in parts):
            self._refuse(f"one that afa-predict wrote, {self.folder} holds {_listed(there)}")
        for part in parts:
            if "made_with" in part and (why := _difference(part["made_with"], self.made_with)):
                self._refuse(
                    f"predictions of the same checkpoint, settings and photos, those in {self.folder} are {why}"
                )
            for record in _records(part):
                self._keep(record)

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


def _records(part: Mapping[str, Any]) -> list[PhotoRecord]:
    """The photos of the JSON, or of a line of the journal; none where another program wrote it."""
    try:
        photos = [part] if "photo" in part else [*part.get("photos", ()), *part.get("gone", ())]
        files = part.get("files", {})
        return [PhotoRecord.from_data({"file": files.get(one["photo"]), **one}) for one in photos]
    except (AttributeError, KeyError, TypeError):
        return []


def _difference(earlier: Any, now: Mapping[str, Any]) -> str | None:
    """In what earlier predictions differ; None where they do not."""
    try:
        checkpoint, photos = earlier["checkpoint"], earlier["input"]
        digest, path = checkpoint["sha256"], checkpoint["path"]
    except (KeyError, TypeError):
        return "of another program"
    if digest != now["checkpoint"]["sha256"]:
        return f"of the checkpoint {path}"
    if photos != now["input"]:
        return f"of the photos in {photos}"
    others = sorted(name for name in now if name != "checkpoint" and earlier.get(name) != now[name])
    return f"made with another {' and '.join(others)}" if others else None


@contextmanager
def _output(folder: Path) -> Iterator[None]:
    """Names the setting where the folder cannot be made, read or written to."""
    try:
        yield
    except OSError as error:
        where, why = error.filename or folder, error.strerror or error
        message = f"need a folder that can be written to, got {where} ({why}); choose another output_dir"
        raise UserError(message, arguments=("output_dir",)) from error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
