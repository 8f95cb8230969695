"""PASCAL VOC 2012, and every data set in its layout, such as PartShapes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from afa_wsss.data.base import Labels
from afa_wsss.data.checks.problems import Report, raise_first
from afa_wsss.data.files.label_cache import LabelCache
from afa_wsss.data.files.lists import is_file, report_unlabeled
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.data.formats.voc_labels import labels_from_annotations, labels_from_lists, labels_from_masks, voc_cache
from afa_wsss.data.formats.voc_layout import (
    AUGMENTED,
    augmented_names,
    find_voc_root,
    list_path,
    read_classes,
    read_list,
)
from afa_wsss.errors import UserError


class VOCDataset(PhotoFiles):
    """Photos of one list in VOC's layout, with the image labels that the folder holds.

    Image labels are those that ``afa-data voc`` collected; else of ``Annotations/*.xml`` where every photo of the list
    has one; else of ``ImageSets/Main/<class>_<split>.txt`` where every class has one; else of the masks. Where there
    are no masks either, as for VOC's ``test``, the photos can be predicted and are not scored.

    The list ``train_aug`` is not part of VOC. Unless a file defines it, it is every photo with a mask in
    ``SegmentationClassAug`` that is not in ``val``.

    Attributes:
        class_names: From ``classes.json`` in the root where there is one, else VOC's 20.
        palette: From ``classes.json`` in the root where there is one, else VOC's.
        names: Names of the photos, in the order of the list.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        with_masks: bool = False,
        mask_folder: str | None = None,
        difficult: bool | None = None,
        report: Report = raise_first,
    ) -> None:
        """Reads the list and the class names; photos are read on demand.

        Args:
            root: The folder that holds JPEGImages, or VOCdevkit above it.
            split: Name of a list: ``ImageSets/Segmentation/<split>.txt``, one photo's name per line.
            with_masks: Whether samples hold their masks, where there are any.
            mask_folder: Folder of the masks. None for SegmentationClass, and SegmentationClassAug for photos without a
                mask there: published figures are scored with VOC's own masks.
            difficult: Whether objects that VOC marks difficult count as labels. None for the value that ``afa-data
                voc`` was run with, else True.
            report: Called with what is wrong with the list and the labels; raises by default.

        Raises:
            UserError: Where the folder or the list is missing or empty, and what ``report`` raises.
        """
        self.root = find_voc_root(Path(root))
        self.split, self.with_masks, self.difficult, self.report = split, with_masks, difficult, report
        self.mask_folders = (mask_folder,) if mask_folder else ("SegmentationClass", AUGMENTED)
        self.class_names, self.palette = read_classes(self.root)
        self.source = list_path(self.root, split)
        derived = augmented_names(self.root) if split == "train_aug" and not self.source.is_file() else []
        self.names = derived or read_list(self.source, self.root / "JPEGImages", report)

    def photo_path(self, index: int) -> str:
        """Path of a photo."""
        return f"{self.root}/JPEGImages/{self.names[index]}.jpg"

    def mask_path(self, index: int) -> str:
        """Path of the photo's mask, whether or not it exists."""
        paths = [f"{self.root}/{folder}/{self.names[index]}.png" for folder in self.mask_folders]
        return next((path for path in paths if is_file(path)), paths[0])

    @cached_property
    def label_source(self) -> Literal["cache", "annotations", "lists", "masks", "nothing"]:
        """What the image labels are read from."""
        annotated = (self.root / "Annotations").is_dir()
        if self.label_cache.covers(self.names, self._annotations() if annotated else ()):
            return "cache"
        if annotated and all(map(is_file, self._annotations())):
            return "annotations"
        if all(path.is_file() for path in self._class_lists):
            return "lists"
        return "masks" if any(is_file(self.mask_path(index)) for index in range(len(self))) else "nothing"

    @cached_property
    def label_cache(self) -> LabelCache:
        """Labels that ``afa-data voc`` collected, valid while no annotation was edited, added or removed since."""
        return voc_cache(self.root, self.class_names, difficult=self.difficult)

    def _annotations(self) -> Iterator[str]:
        """Lazily: the paths of a million photos take more memory than their names and labels."""
        return (f"{self.root}/Annotations/{name}.xml" for name in self.names)

    @property
    def _class_lists(self) -> list[Path]:
        return [self.root / "ImageSets" / "Main" / f"{name}_{self.split}.txt" for name in self.class_names]

    @cached_property
    def image_labels(self) -> Labels:
        """(N, k) multi-hot, one byte per label; all 0 where there is nothing to read them from.

        Raises:
            UserError: Where photos to train with have none, and what ``report`` raises.
        """
        count, classes, difficult = len(self), len(self.class_names), self.difficult is not False
        match self.label_source:
            case "cache":
                labels = self.label_cache.labels(self.names, classes)
            case "annotations":
                labels = labels_from_annotations(
                    list(self._annotations()), self.class_names, difficult=difficult, report=self.report
                )
            case "lists":
                labels = labels_from_lists(self._class_lists, self.names, difficult=difficult, report=self.report)
            case "masks":
                masks = [self.mask_path(index) for index in range(count)]
                labels = labels_from_masks(masks, classes, report=self.report)
            case "nothing":
                self._log_no_labels()
                return np.zeros((count, classes), dtype=np.uint8)
        if not self.with_masks:
            report_unlabeled(self.names, labels, self.source, self.report)
        return labels

    def _log_no_labels(self) -> None:
        if not self.with_masks:
            raise UserError(
                f"need image labels for {self.source}, {self.root} has neither Annotations, nor "
                f"ImageSets/Main/<class>_{self.split}.txt, nor masks in {' or '.join(self.mask_folders)}; add one of "
                "them"
            )
        logging.getLogger(__name__).info("no photo of %s has image labels: classes are not scored", self.source)

    @property
    def needs_masks(self) -> bool:
        """Whether every photo must have a mask: also where image labels are read from masks."""
        return self.label_source == "masks" or super().needs_masks
