"""COCO 2014 and 2017: photos and image labels as COCO ships them, masks drawn as PNGs of class ids."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from afa_wsss.data.base import Labels
from afa_wsss.data.checks.problems import Report, raise_first
from afa_wsss.data.files.label_cache import LabelCache
from afa_wsss.data.files.lists import keep_unique
from afa_wsss.data.files.photos import without_suffix
from afa_wsss.data.formats.classes import COCO_CLASSES, voc_palette
from afa_wsss.data.formats.coco_instances import EVERY_OBJECT, ObjectRule, instances_path, read_instances
from afa_wsss.data.formats.coco_labels import coco_cache, label_columns
from afa_wsss.data.formats.coco_masks import drawn_from, masks_folder, read_rule
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.errors import UserError


class COCODataset(PhotoFiles):
    """Photos of one split, labeled by the objects of ``annotations/instances_<split>.json``.

    Photos without any object are left out, as they have no image label. Masks, where requested, are PNGs of class ids
    at ``masks/<split>/<photo>.png``; ``afa-data coco`` draws them.

    Attributes:
        class_names: COCO's 80.
        palette: VOC's scheme, continued to 81 colors.
        names: File names without suffix, in the order of the photos' ids.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        with_masks: bool = False,
        crowd: bool | None = None,
        min_area: float | None = None,
        report: Report = raise_first,
    ) -> None:
        """Reads the labels; photos are read on demand.

        Args:
            root: The folder that holds ``annotations`` and the photos' folders, such as ``train2014``.
            split: ``train2014``, ``val2014``, ``train2017`` or ``val2017``.
            with_masks: Whether samples hold their masks.
            crowd: Whether crowds, which COCO outlines as one region, count as objects. None for the value that
                ``afa-data coco`` was run with, else True.
            min_area: Smallest area of an object that counts, in pixels. None for the value that ``afa-data coco`` was
                run with, else 0.
            report: Called with what is wrong with the names; raises by default.

        Raises:
            UserError: Where the folder or the instances file is missing or malformed, and what ``report`` raises.
        """
        self.root, self.split, self.with_masks, self.report = Path(root), split, with_masks, report
        self.mask_advice = f"draw them: afa-data coco root={root}"
        self.class_names, self.palette = COCO_CLASSES, voc_palette(len(COCO_CLASSES) + 1)
        self.source = instances_path(self.root, split)
        self._requested = {"crowd": crowd, "min_area": min_area}
        if not self.root.is_dir():
            raise UserError(
                f"need root to be COCO's folder, got {root}, which does not exist; fix root",
                kind="missing",
                arguments=("root",),
            )
        options = EVERY_OBJECT._asdict() | self.label_cache.options
        self.rule = ObjectRule(**options | {key: value for key, value in self._requested.items() if value is not None})
        self._columns = self.label_cache.by_name or label_columns(read_instances(self.source), self.rule)
        if not self._columns:
            raise UserError(f"need at least one photo with an object in {self.source}, got none; add annotations")
        self._files = keep_unique(list(self._columns), self.source, report)
        self.names = [without_suffix(file) for file in self._files]

    @cached_property
    def label_cache(self) -> LabelCache:
        """Labels that ``afa-data coco`` collected, valid while the instances file is not newer."""
        return coco_cache(self.root, self.split, self._requested)

    def photo_path(self, index: int) -> str:
        """Path of a photo."""
        return f"{self.root}/{self.split}/{self._files[index]}"

    @cached_property
    def mask_folder(self) -> Path:
        """Folder of the split's masks."""
        return masks_folder(self.root, self.split)

    def mask_path(self, index: int) -> str:
        """Path of the photo's mask, whether or not it exists."""
        return f"{self.mask_folder}/{self.names[index]}.png"

    def check_files(self) -> None:
        """Checks all files, and that masks were drawn with the rule and from the file that labels are made with.

        Raises:
            UserError: As ``PhotoFiles.check_files``, and for masks drawn with another rule or from another file.
        """
        drawn = read_rule(self.mask_folder) if self.has_masks else None
        if drawn is not None and drawn != self.rule:
            raise UserError(
                f"need masks drawn with {_as_words(self.rule)}, those in {self.mask_folder} were drawn with "
                f"{_as_words(drawn)}; draw them again: afa-data coco root={self.root} {_as_words(self.rule)}"
            )
        if drawn is not None and not drawn_from(self.mask_folder, self.source):
            raise UserError(
                f"need masks of the objects in {self.source}, which has changed since those in {self.mask_folder} were "
                f"drawn; draw them again: afa-data coco root={self.root} {_as_words(self.rule)}"
            )
        super().check_files()

    @cached_property
    def image_labels(self) -> Labels:
        """(N, k) multi-hot, one byte per label."""
        labels = np.zeros((len(self._files), len(self.class_names)), dtype=np.uint8)
        for row, file in enumerate(self._files):
            labels[row, self._columns[file]] = 1
        return labels


def _as_words(rule: ObjectRule) -> str:
    """The rule as words of a command line."""
    return f"crowd={str(rule.crowd).lower()} min_area={rule.min_area:g}"
