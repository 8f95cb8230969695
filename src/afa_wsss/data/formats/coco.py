"""COCO 2014 and 2017: photos and image labels as COCO ships them, masks in VOC's form."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np

from afa_wsss.data.base import Labels
from afa_wsss.data.checks.problems import Report, refuse
from afa_wsss.data.files.label_cache import LabelCache
from afa_wsss.data.files.lists import keep_unique
from afa_wsss.data.files.photos import without_ending
from afa_wsss.data.formats.classes import COCO_CLASSES, voc_palette
from afa_wsss.data.formats.coco_instances import EVERY_OBJECT, Instances, ObjectRule, read_instances
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.errors import UserError

RULE = "drawn_with.json"
"""Beside masks: which objects counted."""


class COCODataset(PhotoFiles):
    """Photos of one split, labelled by the objects of ``annotations/instances_<split>.json``.

    Photos without any object are left out, as they have no image label. Masks, where wanted, are PNGs of class ids at
    ``masks/<split>/<photo>.png``; ``afa-data coco`` draws them.

    Attributes:
        class_names: COCO's 80.
        palette: VOC's scheme, continued.
        names: File names without ending, in the order of the photos' ids.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        with_masks: bool = False,
        crowd: bool | None = None,
        min_area: float | None = None,
        report: Report = refuse,
    ) -> None:
        """Reads the labels; photos are read on demand.

        Args:
            root: The folder that holds the photos' folders, as ``train2014``, and ``annotations``.
            split: ``train2014``, ``val2014``, ``train2017`` or ``val2017``.
            with_masks: Whether samples hold their masks.
            crowd: Whether crowds, drawn as one region, count as objects; None for what ``afa-data coco`` was told, else
                they do.
            min_area: Pixels that an object must have to count; None likewise, else 0.
            report: Is told what is wrong with the names.

        Raises:
            UserError: Where the folder or the instances file is missing, or does not hold what COCO's does.
        """
        self.root, self.split, self.with_masks, self.report = Path(root), split, with_masks, report
        self.mask_advice = f"draw them: afa-data coco root={root}"
        self.class_names, self.palette = COCO_CLASSES, voc_palette(len(COCO_CLASSES) + 1)
        self.source = self.root / "annotations" / f"instances_{split}.json"
        self._asked = {"crowd": crowd, "min_area": min_area}
        if not self.root.is_dir():
            raise UserError(f"need data.root to be COCO's folder, got {root}, which does not exist; mend data.root")
        told = EVERY_OBJECT._asdict() | self.label_cache.settings
        self.rule = ObjectRule(**told | {key: value for key, value in self._asked.items() if value is not None})
        self._columns = self.label_cache.by_name or label_columns(read_instances(self.source), self.rule)
        if not self._columns:
            raise UserError(f"need at least one photo with an object in {self.source}, got none; add annotations")
        self._files = keep_unique(list(self._columns), self.source, report)
        self.names = [without_ending(file) for file in self._files]

    @cached_property
    def label_cache(self) -> LabelCache:
        """What ``afa-data coco`` gathered, as long as the instances file is not newer."""
        path = self.source.with_name(f"image_labels_{self.split}.json")
        return LabelCache(path, self._asked, newer_than=self.source)

    def photo_path(self, index: int) -> str:
        """Where a photo lies."""
        return f"{self.root}/{self.split}/{self._files[index]}"

    @property
    def mask_folder(self) -> Path:
        """Of the split's masks."""
        return self.root / "masks" / self.split

    def mask_path(self, index: int) -> str:
        """Where its mask lies."""
        return f"{self.mask_folder}/{self.names[index]}.png"

    def check_files(self) -> None:
        """As of all photos; and that masks were drawn with the rule that the labels are made with."""
        drawn = read_rule(self.mask_folder) if self.has_masks else None
        if drawn is not None and drawn != self.rule:
            raise UserError(
                f"need masks drawn with {_told(self.rule)}, those in {self.mask_folder} were with {_told(drawn)}; draw "
                f"them anew: afa-data coco root={self.root} {_told(self.rule)}"
            )
        super().check_files()

    @cached_property
    def image_labels(self) -> Labels:
        """(N, k) multi-hot, a byte each."""
        labels = np.zeros((len(self._files), len(self.class_names)), dtype=np.uint8)
        for row, file in enumerate(self._files):
            labels[row, self._columns[file]] = 1
        return labels


def _told(rule: ObjectRule) -> str:
    """As words of a command."""
    return f"crowd={str(rule.crowd).lower()} min_area={rule.min_area:g}"


def read_rule(masks: Path) -> ObjectRule | None:
    """What masks in a folder were drawn with; None where nothing says so, as with masks of one's own."""
    try:
        return ObjectRule(**json.loads((masks / RULE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def label_columns(instances: Instances, rule: ObjectRule) -> dict[str, list[int]]:
    """Columns of the classes in each photo that has any, by file name, in the order of the photos' ids."""
    columns: dict[int, set[int]] = {}
    for thing in instances.annotations:
        if rule.counts(thing):
            columns.setdefault(thing.image_id, set()).add(instances.columns[thing.category_id])
    return {instances.files[photo]: sorted(columns[photo]) for photo in sorted(columns)}
