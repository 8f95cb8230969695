"""What is known of one photo that was labeled: its mask, its classes, and which file it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

COLUMNS = ("photo", "mask", "width", "height", "class", "share", "score", "error")
"""Of the CSV."""

MASKS, OVERLAYS = "masks", "overlays"
"""Folders of the pictures."""


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


class PhotoFile(NamedTuple):
    """What tells a photo's file from one that has taken its place, be that newer or older.

    Attributes:
        bytes: Its size.
        mtime_ns: Time of its last change, in nanoseconds since 1970.
    """

    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> PhotoFile | None:
        """As it is now; None where there is none."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(found.st_size, found.st_mtime_ns)


class PhotoRecord(NamedTuple):
    """What the index holds of a photo.

    Attributes:
        photo: Path inside the input folder, ``/`` between folders.
        mask: Path of the mask inside the output folder; empty where the photo could not be labeled.
        width: Width of the photo and its mask in pixels; 0 where it could not be labeled.
        height: Height of both in pixels; 0 where it could not be labeled.
        classes: Classes in the mask; none for a photo of background alone.
        error: Why the photo could not be labeled; empty for one that was.
        file: What its file was before it was read; None where an earlier version labeled it.
    """

    photo: str
    mask: str
    width: int
    height: int
    classes: tuple[FoundClass, ...] = ()
    error: str = ""
    file: PhotoFile | None = None

    def as_data(self) -> dict[str, Any]:
        """As plain data for JSON, without the file; ``error`` only where there is one."""
        classes = [
            {"class": found.name, "share": round(found.share, 6), "score": round(found.score, 4)}
            for found in self.classes
        ]
        left_out = ("file",) if self.error else ("file", "error")
        data = {**self._asdict(), "classes": classes}
        return {name: value for name, value in data.items() if name not in left_out}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> PhotoRecord:
        """What ``as_data`` gave, perhaps with ``file``."""
        classes = tuple(FoundClass(one["class"], one["share"], one["score"]) for one in data["classes"])
        file = data.get("file")
        return cls(**{**data, "classes": classes, "file": None if file is None else PhotoFile(**file)})

    def rows(self) -> list[tuple[Any, ...]]:
        """A row for each class, or one without a class; columns are ``COLUMNS``."""
        place = (self.photo, self.mask, self.width or "", self.height or "")
        rows = [(*place, one.name, f"{one.share:.6f}", f"{one.score:.4f}", "") for one in self.classes]
        return rows or [(*place, "", "", "", self.error)]


def overlay_of(mask: str) -> str:
    """Path of the overlay that goes with a mask, inside the output folder; empty for none."""
    return f"{OVERLAYS}{mask.removeprefix(MASKS).removesuffix('.png')}.jpg" if mask else ""
