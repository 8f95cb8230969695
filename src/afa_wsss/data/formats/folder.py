"""Your own photos: a folder with a table of labels, a folder for each class, or a COCO file."""

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
from afa_wsss.data.checks.problems import Problem, Report, refuse
from afa_wsss.data.files.lists import is_file, keep_unique, read_lines, report_unlabelled
from afa_wsss.data.files.photos import PHOTO_ENDINGS, without_ending
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder_labels import Tagged, find_table, read_table, read_tree
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX

LOOKED_FOR = 64
"""Photos that tell whether files are named from the folder or from ``images`` in it; any of them may be missing."""

HELD_OUT = 10
"""Where nothing says which photos to validate with, one in so many is held out."""

Split = Literal["train", "val", "all"]


class FolderDataset(PhotoFiles):
    """Photos of a folder and their labels, in any of these forms.

    - ``labels.csv``: a file, then class names with ``;`` between them; perhaps a column ``split``.
    - ``labels.jsonl``: ``{"file": ..., "labels": [...]}`` in each line; perhaps ``split``.
    - a COCO file, ``*.json``, with ``images``, ``annotations`` and ``categories``.
    - a folder for each class, perhaps in ``train`` and ``val``; a photo may lie in several.

    Files are named relative to the folder, or to ``images`` in it. Masks, for evaluation alone, are
    ``masks/<file without ending>.png``. Classes are those that the labels name, in alphabetical order, unless
    ``classes.txt`` lists them; colours are those of the masks where these have a palette.

    Attributes:
        class_names: Foreground classes in the order of their mask values from 1.
        palette: (k + 1, 3) colours.
        names: Files without ending, relative to the folder.
    """

    def __init__(self, root: str | Path, split: str, *, with_masks: bool = False, report: Report = refuse) -> None:
        """Reads the labels; photos are read on demand.

        Args:
            root: The folder.
            split: ``train``, ``val`` or ``all``. Where the labels say no split, photos with a mask are held out for
                validation; where none or all have one, one photo in ten is.
            with_masks: Whether samples hold their masks, where there are any.
            report: Is told what is wrong with names and labels.

        Raises:
            UserError: Where there is no folder, no label in any form, or none of this split, and what ``report``
                raises.
        """
        self.root, self.split, self.with_masks, self.report = Path(root), split, with_masks, report
        if split not in ("train", "val", "all"):
            raise UserError(f"need a split of train, val or all for a folder of photos, got {split}; mend data.*_split")
        if not self.root.is_dir():
            raise UserError(
                f"need data.root to be a folder of photos, got {root}, which does not exist; mend data.root"
            )
        table = find_table(self.root)
        self.source = self.root if table is None else table
        tagged = read_tree(self.root) if table is None else read_table(table, report)
        by_name = _by_name(tagged, self.source, report)
        self.class_names = self._find_classes(by_name.values())
        self.palette = find_palette(self.root / "masks", len(self.class_names) + 1)
        self.names = self._of_split(by_name)
        self._kept = [by_name[name] for name in self.names]
        if not self._kept:
            raise UserError(
                f"need at least one photo to {'train with' if split == 'train' else 'validate with'}, {self.source} "
                f"has none in split {split}; add photos or a column split"
            )

    def _find_classes(self, tagged: Iterable[Tagged]) -> tuple[str, ...]:
        """From ``classes.txt``, else all that the labels name."""
        named = {label for photo in tagged for label in photo.labels}
        path = self.root / "classes.txt"
        if path.is_file():
            listed = tuple(read_lines(path))
            unknown = sorted(named - set(listed))
            if unknown:
                told = "need classes that {} lists, {} names {!r}; add it to the list or mend the label"
                self.report([Problem("class unknown", name, told.format(path, self.source, name)) for name in unknown])
        else:
            listed = tuple(sorted(named))
        self.report(_alike(listed, self.source) + _joined(listed, self.source))
        if not 1 <= len(listed) < IGNORE_INDEX or len(set(listed)) != len(listed):
            raise UserError(
                f"need 1 to {IGNORE_INDEX - 1} different classes, {path if path.is_file() else self.source} names "
                f"{len(listed)}; mend the labels"
            )
        return listed

    def _of_split(self, by_name: Mapping[str, Tagged]) -> list[str]:
        """Names of the photos to train with, to validate with, or of all."""
        if self.split == "all":
            return list(by_name)
        held_out = held_out_photos(list(by_name.values()), [is_file(self._mask_path(name)) for name in by_name])
        return [name for name, out in zip(by_name, held_out, strict=True) if out == (self.split == "val")]

    @cached_property
    def _photos(self) -> Path:
        """The folder that files are named from."""
        inside, files = self.root / "images", [photo.file for photo in self._kept[:LOOKED_FOR]]
        here, there = (any(_whole(f"{folder}/{file}") for file in files) for folder in (self.root, inside))
        return inside if there and not here else self.root

    def photo_path(self, index: int) -> str:
        """Where a photo lies."""
        path = f"{self._photos}/{self._kept[index].file}"
        return path if path.lower().endswith(PHOTO_ENDINGS) else _whole(path) or path

    def mask_path(self, index: int) -> str:
        """Where its mask lies, or would."""
        return self._mask_path(self.names[index])

    def _mask_path(self, name: str) -> str:
        return f"{self.root}/masks/{name}.png"

    @cached_property
    def image_labels(self) -> Labels:
        """(N, k) multi-hot, a byte each.

        Raises:
            What ``report`` raises for photos without any.
        """
        place = {name: column for column, name in enumerate(self.class_names)}
        labels = np.zeros((len(self._kept), len(place)), dtype=np.uint8)
        for row, photo in enumerate(self._kept):
            labels[row, [place[label] for label in photo.labels if label in place]] = 1
        if not self.with_masks:
            report_unlabelled(self.names, labels, self.source, self.report)
        return labels


def _whole(path: str) -> str | None:
    """A file; where there is none, one with an ending besides, as a table may leave it out."""
    endings = ("", *PHOTO_ENDINGS, *map(str.upper, PHOTO_ENDINGS))
    return next((whole for ending in endings if is_file(whole := f"{path}{ending}")), None)


def _alike(classes: Sequence[str], source: Path) -> list[Problem]:
    """Classes that differ in capitals alone, which training takes for two."""
    by_spelling = {name.casefold(): name for name in classes}
    pairs = [(name, other) for name in classes if (other := by_spelling[name.casefold()]) != name]
    told = "need classes that differ in more than capitals, {} names {!r} and {!r}; spell one class alike"
    return [Problem("classes alike", name, told.format(source, name, other), "warning") for name, other in pairs]


def _joined(classes: Sequence[str], source: Path) -> list[Problem]:
    """Classes that seem to be several, with another sign between them than the ``;`` of a table."""
    joined = [
        name for name in classes if len(parts := re.split(r"\s*[,;|/]\s*", name)) > 1 and set(parts) <= {*classes}
    ]
    told = "need ; between classes, {} names {!r}, whose parts are classes too; separate them"
    return [Problem("classes joined", name, told.format(source, name), "warning") for name in joined]


def find_palette(masks: Path, colours: int) -> Palette:
    """Colours of the first mask, where it has as many and no two alike; else VOC's, (colours, 3)."""
    first = next(iter(sorted(masks.rglob("*.png"))), None)
    own: list[int] = []
    if first is not None:
        try:
            with Image.open(first) as mask:
                own = mask.getpalette() or []
        except (OSError, ValueError, SyntaxError):
            own = []  # the check names it
    given = np.asarray(own, dtype=np.uint8).reshape(-1, 3)[:colours]
    return given if len(np.unique(given, axis=0)) == colours else voc_palette(colours)


def held_out_photos(tagged: Sequence[Tagged], has_mask: Sequence[bool]) -> list[bool]:
    """Which photos are for validation; always the same ones for the same files."""
    if any(photo.split for photo in tagged):
        return [photo.split == "val" for photo in tagged]
    if any(has_mask) and not all(has_mask):
        return list(has_mask)
    lots = [zlib.crc32(photo.file.encode()) for photo in tagged]
    chosen = [lot % HELD_OUT == 0 for lot in lots]
    if len(tagged) > 1 and (not any(chosen) or all(chosen)):
        return [lot == max(lots) for lot in lots]
    return chosen


def _by_name(tagged: Sequence[Tagged], source: Path, report: Report) -> dict[str, Tagged]:
    """Each photo once; those that differ in nothing but their ending would share a mask, and are reported too."""
    names = [without_ending(photo.file) for photo in tagged]
    first = dict(zip(reversed(names), reversed(tagged), strict=True))
    return {name: first[name] for name in keep_unique(names, source, report)}
