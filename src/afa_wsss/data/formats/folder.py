"""Your own photos: a folder with a table of labels, one folder per class, or a COCO file."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from afa_wsss.data.base import Labels, Palette
from afa_wsss.data.checks.problems import Problem, Report, raise_first
from afa_wsss.data.files.lists import is_file, keep_unique, read_lines, report_unlabeled
from afa_wsss.data.files.photos import PHOTO_SUFFIXES, without_suffix
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder_labels import TaggedPhoto, find_table, read_table, read_tree
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX

PROBED = 64
"""Photos that decide whether files are relative to the folder or to ``images`` in it; some of them may be missing."""

HELD_OUT = 10
"""Where nothing says which photos are for validation, one in this many is."""

Split = Literal["train", "val", "all"]


class FolderDataset(PhotoFiles):
    """Photos of a folder and their labels, in any of these forms.

    - ``labels.csv``: a file, then class names separated by ``;``; optionally a column ``split``.
    - ``labels.jsonl``: ``{"file": ..., "labels": [...]}`` on each line; optionally ``split``.
    - a COCO file, ``*.json``, with ``images``, ``annotations`` and ``categories``.
    - one folder per class, optionally inside ``train`` and ``val``; a photo may be in several.

    Files are relative to the folder, or to ``images`` in it. Masks, only used for evaluation, are
    ``masks/<file without suffix>.png``. The classes are those in the labels, in alphabetical order, unless
    ``classes.txt`` lists them.

    Attributes:
        class_names: Foreground classes, in the order of their mask values from 1.
        palette: (k + 1, 3) RGB colors: of the masks where these have a palette, else VOC's.
        names: Files without suffix, relative to the folder.
    """

    def __init__(self, root: str | Path, split: str, *, with_masks: bool = False, report: Report = raise_first) -> None:
        """Reads the labels; photos are read on demand.

        Args:
            root: The folder.
            split: ``train``, ``val`` or ``all``. Where the labels have no splits, photos with a mask are held out for
                validation; where none or all have a mask, one photo in ten is.
            with_masks: Whether samples hold their masks, where there are any.
            report: Called with what is wrong with names and labels; raises by default.

        Raises:
            UserError: Where the folder or its labels are missing, or the split is empty, and what ``report`` raises.
        """
        self.root, self.split, self.with_masks, self.report = Path(root), split, with_masks, report
        if split not in ("train", "val", "all"):
            raise UserError(
                f"need split to be train, val or all for a folder of photos, got {split}", arguments=("split",)
            )
        if not self.root.is_dir():
            raise UserError(
                f"need root to be a folder of photos, got {root}, which does not exist; fix root",
                kind="missing",
                arguments=("root",),
            )
        table = find_table(self.root)
        self.source = self.root if table is None else table
        tagged = read_tree(self.root) if table is None else read_table(table, report)
        by_name = _by_name(tagged, self.source, report)
        self.class_names = self._find_classes(by_name.values())
        self.palette = find_palette(self.root / "masks", len(self.class_names) + 1)
        self.names = self._names_of_split(by_name)
        self._photos = [by_name[name] for name in self.names]
        if not self._photos:
            raise UserError(
                f"need at least one photo to {'train on' if split == 'train' else 'validate with'}, {self.source} "
                f"has none in split {split}; add photos or a column split"
            )

    def _find_classes(self, tagged: Iterable[TaggedPhoto]) -> tuple[str, ...]:
        """From ``classes.txt``, else all that the labels name."""
        used = {label for photo in tagged for label in photo.labels}
        path = self.root / "classes.txt"
        if path.is_file():
            classes = tuple(read_lines(path))
            unknown = sorted(used - set(classes))
            if unknown:
                message = "need classes that {} lists, {} names {!r}; add it to the list or fix the label"
                self.report(
                    [Problem("class unknown", name, message.format(path, self.source, name)) for name in unknown]
                )
        else:
            classes = tuple(sorted(used))
        self.report(_alike(classes, self.source) + _joined(classes, self.source))
        if not 1 <= len(classes) < IGNORE_INDEX or len(set(classes)) != len(classes):
            raise UserError(
                f"need 1 to {IGNORE_INDEX - 1} different classes, {path if path.is_file() else self.source} names "
                f"{len(classes)}; fix the labels"
            )
        return classes

    def _names_of_split(self, by_name: Mapping[str, TaggedPhoto]) -> list[str]:
        if self.split == "all":
            return list(by_name)
        held_out = held_out_photos(list(by_name.values()), [is_file(self._mask_path(name)) for name in by_name])
        return [name for name, out in zip(by_name, held_out, strict=True) if out == (self.split == "val")]

    @cached_property
    def _photo_folder(self) -> Path:
        """The folder that files are relative to."""
        inner, files = self.root / "images", [photo.file for photo in self._photos[:PROBED]]
        in_root, in_inner = (any(_with_suffix(f"{folder}/{file}") for file in files) for folder in (self.root, inner))
        return inner if in_inner and not in_root else self.root

    def photo_path(self, index: int) -> str:
        """Path of a photo."""
        path = f"{self._photo_folder}/{self._photos[index].file}"
        return path if path.lower().endswith(PHOTO_SUFFIXES) else _with_suffix(path) or path

    def mask_path(self, index: int) -> str:
        """Path of the photo's mask, whether or not it exists."""
        return self._mask_path(self.names[index])

    def _mask_path(self, name: str) -> str:
        return f"{self.root}/masks/{name}.png"

    @cached_property
    def image_labels(self) -> Labels:
        """(N, k) multi-hot, one byte per label.

        Raises:
            UserError: Where ``report`` raises for photos without a class.
        """
        column = {name: index for index, name in enumerate(self.class_names)}
        labels = np.zeros((len(self._photos), len(column)), dtype=np.uint8)
        for row, photo in enumerate(self._photos):
            labels[row, [column[label] for label in photo.labels if label in column]] = 1
        if not self.with_masks:
            report_unlabeled(self.names, labels, self.source, self.report)
        return labels


def _with_suffix(path: str) -> str | None:
    """The path where it is a file; else the path with a photo's suffix, which a table may leave out; else None."""
    suffixes = ("", *PHOTO_SUFFIXES, *map(str.upper, PHOTO_SUFFIXES))
    return next((file for suffix in suffixes if is_file(file := f"{path}{suffix}")), None)


def _alike(classes: Sequence[str], source: Path) -> list[Problem]:
    """Classes that differ only in case, which training takes for two classes."""
    by_spelling = {name.casefold(): name for name in classes}
    pairs = [(name, other) for name in classes if (other := by_spelling[name.casefold()]) != name]
    message = "need classes that differ in more than case, {} names {!r} and {!r}; spell a class one way"
    return [Problem("classes alike", name, message.format(source, name, other), "warning") for name, other in pairs]


def _joined(classes: Sequence[str], source: Path) -> list[Problem]:
    """Classes that look like several classes, joined by something else than the ``;`` of a table."""
    joined = [
        name for name in classes if len(parts := re.split(r"\s*[,;|/]\s*", name)) > 1 and set(parts) <= {*classes}
    ]
    message = "need ; between classes, {} names {!r}, whose parts are classes too; separate them"
    return [Problem("classes joined", name, message.format(source, name), "warning") for name in joined]


def find_palette(masks: Path, count: int) -> Palette:
    """The palette of the first mask, where it has ``count`` different colors; else VOC's.

    Returns:
        (count, 3) RGB.
    """
    first = next(iter(sorted(masks.rglob("*.png"))), None)
    values: list[int] = []
    if first is not None:
        try:
            with Image.open(first) as mask:
                values = mask.getpalette() or []
        except (OSError, ValueError, SyntaxError):
            values = []  # the file check reports a broken mask
    colors = np.asarray(values, dtype=np.uint8).reshape(-1, 3)[:count]
    return colors if len(np.unique(colors, axis=0)) == count else voc_palette(count)


def held_out_photos(tagged: Sequence[TaggedPhoto], has_mask: Sequence[bool]) -> list[bool]:
    """Which photos are for validation; the same files always give the same answer."""
    if any(photo.split for photo in tagged):
        return [photo.split == "val" for photo in tagged]
    if any(has_mask) and not all(has_mask):
        return list(has_mask)
    hashes = [zlib.crc32(photo.file.encode()) for photo in tagged]
    chosen = [value % HELD_OUT == 0 for value in hashes]
    if len(tagged) > 1 and (not any(chosen) or all(chosen)):
        return [value == max(hashes) for value in hashes]
    return chosen


def _by_name(tagged: Sequence[TaggedPhoto], source: Path, report: Report) -> dict[str, TaggedPhoto]:
    """Each photo once; files that differ only in their suffix would share a mask, and are reported as duplicates."""
    names = [without_suffix(photo.file) for photo in tagged]
    first = dict(zip(reversed(names), reversed(tagged), strict=True))
    return {name: first[name] for name in keep_unique(names, source, report)}
