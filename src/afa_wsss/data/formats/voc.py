"""PASCAL VOC 2012, and every data set of the same layout (PartShapes)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from afa_wsss.data.base import Labels, Palette
from afa_wsss.data.checks.problems import Report, refuse
from afa_wsss.data.files.label_cache import LabelCache
from afa_wsss.data.files.lists import is_file, keep_unique, read_lines, report_unlabelled
from afa_wsss.data.formats.classes import VOC_CLASSES, voc_palette
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.data.formats.voc_labels import labels_of_annotations, labels_of_lists, labels_of_masks
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX

AUGMENTED = "SegmentationClassAug"
"""The folder of SBD's masks."""


class VOCDataset(PhotoFiles):
    """Photos of one list in VOC's layout, with the image labels that the folder holds.

    Image labels come from what ``afa-data voc`` gathered; else from ``Annotations/*.xml`` where every photo of the list
    has one; else from ``ImageSets/Main/<class>_<split>.txt`` where every class has one; else from the masks. Where
    there are none either, as for VOC's ``test``, the photos can be labelled by a network and are not scored.

    The list ``train_aug``, which VOC does not have, is every photo with a mask in ``SegmentationClassAug`` that is not
    in ``val``, unless a file says otherwise.

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
        difficult: bool | None = None,
        report: Report = refuse,
    ) -> None:
        """Reads the list and the class names; photos are read on demand.

        Args:
            root: The folder that holds JPEGImages, or VOCdevkit above it.
            split: A list ``ImageSets/Segmentation/<split>.txt``, one name a line.
            with_masks: Whether samples hold their masks, where there are any.
            mask_folder: Of the masks; None for SegmentationClass, and for SegmentationClassAug where a photo has none
                there: VOC's own masks are those that published figures are scored with.
            difficult: Whether objects that VOC calls difficult count as labels; None for what ``afa-data voc`` was
                told, else they do.
            report: Is told what is wrong with the list and the labels.

        Raises:
            UserError: Where the folder or the list is missing or empty, and what ``report`` raises.
        """
        self.root = find_voc_root(Path(root))
        self.split, self.with_masks, self.difficult, self.report = split, with_masks, difficult, report
        self.mask_folders = (mask_folder,) if mask_folder else ("SegmentationClass", AUGMENTED)
        self.class_names, self.palette = read_classes(self.root)
        self.source = self.root / "ImageSets" / "Segmentation" / f"{split}.txt"
        derived = augmented_names(self.root) if split == "train_aug" and not self.source.is_file() else []
        self.names = derived or read_list(self.source, self.root / "JPEGImages", report)

    def photo_path(self, index: int) -> str:
        """Where a photo lies."""
        return f"{self.root}/JPEGImages/{self.names[index]}.jpg"

    def mask_path(self, index: int) -> str:
        """Where its mask lies, or would."""
        places = [f"{self.root}/{folder}/{self.names[index]}.png" for folder in self.mask_folders]
        return next((place for place in places if is_file(place)), places[0])

    @cached_property
    def label_source(self) -> Literal["cache", "annotations", "lists", "masks", "nothing"]:
        """Where the image labels come from."""
        annotated = (self.root / "Annotations").is_dir()
        if self.label_cache.covers(self.names, self._annotations() if annotated else ()):
            return "cache"
        if annotated and all(map(is_file, self._annotations())):
            return "annotations"
        if all(path.is_file() for path in self._lists):
            return "lists"
        return "masks" if any(is_file(self.mask_path(index)) for index in range(len(self))) else "nothing"

    @cached_property
    def label_cache(self) -> LabelCache:
        """What ``afa-data voc`` gathered, as long as no annotation was changed, added or taken away since."""
        made_with = {"classes": list(self.class_names), "difficult": self.difficult}
        return LabelCache(self.root / "image_labels.json", made_with, newer_than=self.root / "Annotations")

    def _annotations(self) -> Iterator[str]:
        """One after the other: paths of a million photos take more memory than their names and labels."""
        return (f"{self.root}/Annotations/{name}.xml" for name in self.names)

    @property
    def _lists(self) -> list[Path]:
        return [self.root / "ImageSets" / "Main" / f"{name}_{self.split}.txt" for name in self.class_names]

    @cached_property
    def image_labels(self) -> Labels:
        """(N, k) multi-hot, a byte each; 0 throughout where there is nothing to read them from.

        Raises:
            UserError: Where photos to train with have none, and what ``report`` raises.
        """
        count, classes, difficult = len(self), len(self.class_names), self.difficult is not False
        match self.label_source:
            case "cache":
                labels = self.label_cache.labels(self.names, classes)
            case "annotations":
                labels = labels_of_annotations(
                    list(self._annotations()), self.class_names, difficult=difficult, report=self.report
                )
            case "lists":
                labels = labels_of_lists(self._lists, self.names, difficult=difficult, report=self.report)
            case "masks":
                masks = [self.mask_path(index) for index in range(count)]
                labels = labels_of_masks(masks, classes, report=self.report)
            case "nothing":
                self._tell_of_no_labels()
                return np.zeros((count, classes), dtype=np.uint8)
        if not self.with_masks:
            report_unlabelled(self.names, labels, self.source, self.report)
        return labels

    def _tell_of_no_labels(self) -> None:
        if not self.with_masks:
            raise UserError(
                f"need image labels for {self.source}, {self.root} has neither Annotations, nor "
                f"ImageSets/Main/<class>_{self.split}.txt, nor masks in {' or '.join(self.mask_folders)}; add one of "
                "them"
            )
        logging.getLogger(__name__).info("no photo of %s has image labels: classes are not scored", self.source)

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


def augmented_names(root: Path) -> list[str]:
    """Photos of ``train_aug``: all with a mask in ``SegmentationClassAug`` that are not in ``val``, in order.

    Args:
        root: The folder with JPEGImages.
    """
    held_out = root / "ImageSets" / "Segmentation" / "val.txt"
    masks = {mask.stem for mask in (root / AUGMENTED).glob("[!.]*.png")}
    return sorted(masks - set(read_list(held_out, root / "JPEGImages") if held_out.is_file() else []))


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
