"""PASCAL VOC 2012, and every data set of the same layout (PartShapes)."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from afa_wsss.data.base import Labels, Palette
from afa_wsss.data.classes import VOC_CLASSES, voc_palette
from afa_wsss.data.label_cache import LabelCache
from afa_wsss.data.lists import keep_unique, read_lines, report_unlabelled
from afa_wsss.data.photo_files import PhotoFiles
from afa_wsss.data.problems import Report, refuse
from afa_wsss.data.voc_labels import labels_of_annotations, labels_of_lists, labels_of_masks
from afa_wsss.types import IGNORE_INDEX, UserError


class VOCDataset(PhotoFiles):
    """Photos of one list in VOC's layout, with the image labels that the folder holds.

    Image labels come from what ``afa-data voc`` gathered; else from ``Annotations/*.xml`` where every photo of the list
    has one; else from ``ImageSets/Main/<class>_<split>.txt`` where every class has one; else from the masks.

    Attributes:
        class_names: From ``classes.json`` in the root where there is one, else VOC's 20.
        palette: Likewise.
        names: In the order of the list.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        with_masks: bool = False,
        mask_folder: str | None = None,
        difficult: bool = True,
        report: Report = refuse,
    ) -> None:
        """Reads the list and the class names; photos are read on demand.

        Args:
            root: The folder that holds JPEGImages, or VOCdevkit above it.
            split: A list ``ImageSets/Segmentation/<split>.txt``, one name a line.
            with_masks: Whether samples hold their masks, where there are any.
            mask_folder: Of the masks; None for SegmentationClassAug where there is one, else SegmentationClass.
            difficult: Whether objects that VOC calls difficult count as labels.
            report: Is told what is wrong with the list and the labels.

        Raises:
            UserError: Where the folder or the list is missing or empty, and what ``report`` raises.
        """
        self.root = find_voc_root(Path(root))
        self.split, self.with_masks, self.difficult, self.report = split, with_masks, difficult, report
        augmented = (self.root / "SegmentationClassAug").is_dir()
        self.mask_folder = mask_folder or ("SegmentationClassAug" if augmented else "SegmentationClass")
        self.class_names, self.palette = read_classes(self.root)
        self.source = self.root / "ImageSets" / "Segmentation" / f"{split}.txt"
        self.names = read_list(self.source, self.root / "JPEGImages", report)

    def photo_path(self, index: int) -> Path:
        """Where a photo lies."""
        return self.root / "JPEGImages" / f"{self.names[index]}.jpg"

    def mask_path(self, index: int) -> Path:
        """Where its mask lies."""
        return self.root / self.mask_folder / f"{self.names[index]}.png"

    @cached_property
    def label_source(self) -> Literal["cache", "annotations", "lists", "masks"]:
        """Where the image labels come from.

        Raises:
            UserError: Where the folder holds nothing to read labels from.
        """
        if self.label_cache.covers(self.names):
            return "cache"
        if all(path.is_file() for path in self._annotations):
            return "annotations"
        if all(path.is_file() for path in self._lists):
            return "lists"
        if (self.root / self.mask_folder).is_dir():
            return "masks"
        raise UserError(
            f"need image labels for {self.source}, {self.root} has neither Annotations, nor "
            f"ImageSets/Main/<class>_{self.split}.txt, nor masks in {self.mask_folder}; add one of them"
        )

    @cached_property
    def label_cache(self) -> LabelCache:
        """What ``afa-data voc`` gathered, as long as no annotation was added or taken away since."""
        made_with = {"classes": list(self.class_names), "difficult": self.difficult}
        return LabelCache(self.root / "image_labels.json", made_with, newer_than=self.root / "Annotations")

    @property
    def _annotations(self) -> list[Path]:
        return [self.root / "Annotations" / f"{name}.xml" for name in self.names]

    @property
    def _lists(self) -> list[Path]:
        return [self.root / "ImageSets" / "Main" / f"{name}_{self.split}.txt" for name in self.class_names]

    @cached_property
    def image_labels(self) -> Labels:
        """(N, k) multi-hot, a byte each.

        Raises:
            UserError: Where there is nothing to read labels from, and what ``report`` raises for photos without any.
        """
        match self.label_source:
            case "cache":
                labels = self.label_cache.labels(self.names, len(self.class_names))
            case "annotations":
                labels = labels_of_annotations(
                    self._annotations, self.class_names, difficult=self.difficult, report=self.report
                )
            case "lists":
                labels = labels_of_lists(self._lists, self.names, difficult=self.difficult, report=self.report)
            case "masks":
                masks = [self.mask_path(index) for index in range(len(self))]
                labels = labels_of_masks(masks, len(self.class_names), report=self.report)
        if not self.with_masks:
            report_unlabelled(self.names, labels, self.source, self.report)
        return labels

    @property
    def needs_masks(self) -> bool:
        """Also where image labels come from them."""
        return self.label_source == "masks" or super().needs_masks


def find_voc_root(root: Path) -> Path:
    """The folder with JPEGImages: ``root`` itself, or VOC2012 in it or in its VOCdevkit.

    Raises:
        UserError: Where there is none.
    """
    for candidate in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (candidate / "JPEGImages").is_dir():
            return candidate
    state = "which has none" if root.is_dir() else "which does not exist"
    raise UserError(f"need data.root to be a folder with JPEGImages in it, got {root}, {state}; mend data.root")


def read_list(path: Path, photos: Path, report: Report = refuse) -> list[str]:
    """Names of a list, one a line. Where a line is no photo's name as a whole, its first word is taken.

    Args:
        path: The list.
        photos: The folder of the photos.
        report: Is told of names that are there twice or would leave the folder.

    Raises:
        UserError: Where the list is missing or empty, and what ``report`` raises for names that are there twice or
            would leave the folder.
    """
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.txt"))
        raise UserError(f"need a list of photos at {path}, found none; lists there: {', '.join(known) or 'none'}")
    names = keep_unique([_name_in(line, photos) for line in read_lines(path)], path, report)
    if not names:
        raise UserError(f"need at least one photo in {path}, the list is empty; add their names")
    return names


def _name_in(line: str, photos: Path) -> str:
    words = line.split()
    return words[0] if len(words) > 1 and not (photos / f"{line}.jpg").is_file() else line


def read_classes(root: Path) -> tuple[tuple[str, ...], Palette]:
    """Class names and palette: from ``classes.json`` where there is one, else VOC's.

    Raises:
        UserError: Where that file does not hold them.
    """
    path = root / "classes.json"
    if not path.is_file():
        return VOC_CLASSES, voc_palette(len(VOC_CLASSES) + 1)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = tuple(str(name) for name in content["classes"])
        palette = np.asarray(content.get("palette", voc_palette(len(names) + 1)), dtype=np.uint8)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f'need {{"classes": [names], "palette": [[r, g, b], ...]}} in {path}, got {error!r}') from error
    if not 1 <= len(names) < IGNORE_INDEX or len(set(names)) != len(names):
        raise UserError(f"need 1 to {IGNORE_INDEX - 1} different classes in {path}, got {len(names)}; mend the file")
    if palette.shape != (len(names) + 1, 3):
        raise UserError(
            f"need a colour for background and each of {len(names)} classes in {path}, got shape {palette.shape}; "
            "mend the file or leave the palette out"
        )
    return names, palette
