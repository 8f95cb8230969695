"""Your own photos: a folder with labels as annotation tools and spreadsheets write them, or one folder per class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path

import numpy as np

from afa_wsss.data.base import FilePath, Labels, Palette
from afa_wsss.data.checks.problems import Problem, Report, raise_first
from afa_wsss.data.files.mask_forms import MaskForm
from afa_wsss.data.files.mask_turns import Pair
from afa_wsss.data.formats.folder_labels.contents import MASKS, Contents, read_contents
from afa_wsss.data.formats.folder_labels.folder_reading import FolderReading, read_folder
from afa_wsss.data.formats.folder_labels.label_warnings import NOT_HELD_OUT
from afa_wsss.data.formats.folder_masks import FoundMasks, find_mask_form, mask_palette
from afa_wsss.data.formats.mask_choice import form_warnings
from afa_wsss.data.formats.nested_masks import find_all_masks
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.errors import UserError


class FolderDataset(PhotoFiles):
    """Photos of a folder and their labels, in any of the forms that ``docs/data.md`` shows.

    - a table, ``*.csv`` or ``*.tsv``: a photo and its tags, or one column of 0 and 1 for each class, or one row for
      each photo and class; perhaps with a column ``split``.
    - COCO JSON, one file or one for each split; LabelMe's JSON beside each photo; JSON lines.
    - ``cls_labels_onehot.npy``: a pickled dict of NumPy arrays, and nothing else.
    - one folder for each class, inside or around ``train`` and ``val``; a photo may be in several.

    Photos are where the labels say, relative to their file, to the folder or to ``images`` in it; a suffix may be left
    out. A photo without any class is a negative. Masks, only used for evaluation, are in ``masks``. Classes are those
    in the labels, in alphabetical order without regard to case, unless ``classes.txt`` lists them.

    Attributes:
        class_names: Foreground classes, in the order of their mask values from 1.
        names: Photos relative to the folder, without suffix unless they differ in nothing else.
        reading: What was understood, and how.
        warnings: What is doubtful in the labels.
    """

    reading: FolderReading

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        with_masks: bool = False,
        labels: str | None = None,
        report: Report = raise_first,
    ) -> None:
        """Reads the labels; photos are read on demand.

        Args:
            root: The folder.
            split: ``train``, ``val`` or ``all``. Where neither labels nor folders name a validation split, photos with
                a mask are held out; where none has a mask, or every photo with a class, one photo in ten is.
            with_masks: Whether samples hold their masks, where there are any.
            labels: The file of labels, relative to the folder; None to find it.
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
        self._masks = FoundMasks(None, {}, (), {}, ())
        contents = read_contents(self.root)
        self.reading = read_folder(contents, partial(self._find_masks, contents), labels=labels, report=report)
        self.source, self.class_names = self.reading.source, self.reading.class_list.names
        for _, alike in _by_kind([*self.reading.problems, *self._masks.problems]):
            report(alike)
        self._keep_split()

    def _find_masks(self, contents: Contents, names: Sequence[str], files: Sequence[str]) -> list[bool]:
        inside = [folder for folder, why in contents.left_out.items() if why == MASKS and "/" in folder]
        self._masks = find_all_masks(self.root, names, files, inside)
        return [name in self._masks.by_name for name in names]

    def _keep_split(self) -> None:
        reading, wanted = self.reading, self.split == "val"
        chosen = [index for index, out in enumerate(reading.held_out) if self.split == "all" or out == wanted]
        if not chosen:
            raise UserError(
                f"need at least one photo to {'train on' if self.split == 'train' else 'validate with'}, {self.source} "
                f"has none in split {self.split}; add photos or a column split"
            )
        self.names = [reading.names[index] for index in chosen]
        self._paths = [reading.paths[index] for index in chosen]
        self._labels = reading.labels[chosen]

    @property
    def image_labels(self) -> Labels:
        """(N, k) multi-hot, one byte per label."""
        return self._labels

    @cached_property
    def mask_form(self) -> MaskForm:
        """What the values or colors of masks mean; the same in all splits."""
        rows = zip(self.reading.names, self.reading.labels, strict=True)
        tags = {name: (np.flatnonzero(row) + 1).tolist() for name, row in rows if name in self._masks.by_name}
        return find_mask_form(self._masks, self.reading.class_list, tags)

    @cached_property
    def palette(self) -> Palette:
        """(k + 1, 3) RGB: of ``classes.txt`` where it gives colors, else of the masks' palette, else VOC's."""
        return mask_palette(self._masks, self.mask_form, len(self.class_names) + 1)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What was understood of labels, folders and masks, in the order to show it."""
        if self._masks.folder is None:
            return self.reading.facts
        named = ", ".join(f"{count} {pattern}" for pattern, count in self._masks.patterns.items()) or "none fits"
        means = [("values of masks", self.mask_form.says)] if self.mask_form.says else []
        place = "" if self._masks.folder == self.root else f"in {self._masks.folder.name}: "
        return [*self.reading.facts, ("masks", f"{place}{named}"), *means]

    @property
    def warnings(self) -> list[Problem]:
        """What is doubtful in labels, folders and names of masks; in validation photos for the split ``val`` alone."""
        unclear = form_warnings(self.mask_form) if self._masks.by_name else []
        problems = [*self.reading.problems, *self._masks.problems, *unclear]
        left_out = NOT_HELD_OUT if self.split != "val" else None
        return [problem for problem in problems if problem.level == "warning" and problem.kind != left_out]

    def __getstate__(self) -> dict[str, object]:
        """For loader workers: what the split needs, without all that was read to find it."""
        _ = self.shared_range.used
        if self.has_masks:
            _ = self.mask_form, self.masks_drawn_on
        return {**self.__dict__, "reading": None}

    def all_photos(self) -> Iterator[FilePath]:
        """Paths of the photos of all splits, which share a range of values."""
        return (f"{self.root}/{path}" for path in self.reading.paths)

    def all_pairs(self) -> Iterator[Pair]:
        """Photos of all splits that have a mask, and their masks."""
        pairs = zip(self.reading.names, self.all_photos(), strict=True)
        return ((photo, self._masks.by_name[name]) for name, photo in pairs if name in self._masks.by_name)

    def photo_path(self, index: int) -> str:
        """Path of a photo."""
        return f"{self.root}/{self._paths[index]}"

    def mask_path(self, index: int) -> str:
        """Path of the photo's mask, whether or not it exists."""
        name = self.names[index]
        return self._masks.path(name) or f"{self.root}/masks/{name}.png"


def _by_kind(problems: Sequence[Problem]) -> Iterator[tuple[str, list[Problem]]]:
    """Problems of one kind together, in the order of their kinds' first."""
    kinds = list(dict.fromkeys(problem.kind for problem in problems))
    ordered = sorted(problems, key=lambda problem: kinds.index(problem.kind))
    return ((kind, list(alike)) for kind, alike in groupby(ordered, key=lambda problem: problem.kind))
