"""PASCAL VOC 2012, and every data set of the same layout (PartShapes)."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32

from afa_wsss.data.base import (
    Labels,
    Mask,
    Palette,
    Sample,
    check_inside,
    check_sizes,
    list_missing,
    read_mask,
    read_photo,
)
from afa_wsss.data.classes import VOC_CLASSES, voc_palette
from afa_wsss.types import IGNORE_INDEX, UserError


class VOCDataset:
    """Photos of one list in VOC's layout, with the image labels that the folder holds.

    Image labels come from ``Annotations/*.xml`` where every photo of the list has one; else from
    ``ImageSets/Main/<class>_<split>.txt`` where every class has one; else from the masks.

    Attributes:
        class_names: From ``classes.json`` in the root where there is one, else VOC's 20.
        palette: Likewise.
        names: In the order of the list.
    """

    def __init__(
        self, root: str | Path, split: str, *, with_masks: bool = False, mask_folder: str | None = None
    ) -> None:
        """Reads the list and the class names; photos are read on demand.

        Args:
            root: The folder that holds JPEGImages, or VOCdevkit above it.
            split: A list ``ImageSets/Segmentation/<split>.txt``.
            with_masks: Whether samples hold their masks.
            mask_folder: Of the masks; None for SegmentationClassAug where there is one, else SegmentationClass.

        Raises:
            UserError: Where the folder or the list is missing or empty, or a name would leave the folder.
        """
        self.root = find_voc_root(Path(root))
        self.split = split
        self.with_masks = with_masks
        augmented = (self.root / "SegmentationClassAug").is_dir()
        self.mask_folder = mask_folder or ("SegmentationClassAug" if augmented else "SegmentationClass")
        self.class_names, self.palette = read_classes(self.root)
        self.list_file = self.root / "ImageSets" / "Segmentation" / f"{split}.txt"
        self.names = read_list(self.list_file)

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.names)

    def photo_path(self, name: str) -> Path:
        """Where a photo lies."""
        return self.root / "JPEGImages" / f"{name}.jpg"

    def mask_path(self, name: str) -> Path:
        """Where its mask lies."""
        return self.root / self.mask_folder / f"{name}.png"

    def sample(self, index: int) -> Sample:
        """Reads one photo, and its mask where masks are wanted.

        Raises:
            UserError: Where a file is missing, cannot be decoded or does not fit the other.
        """
        name = self.names[index]
        image, mask = read_photo(self.photo_path(name)), None
        if self.with_masks:
            mask = self._mask(name)
            check_sizes(name, image, mask)
        return Sample(image, self.image_labels[index], mask, name)

    def _mask(self, name: str) -> Mask:
        return read_mask(self.mask_path(name), len(self.class_names) + 1)

    def check_files(self) -> None:
        """Raises UserError where a listed photo, or a mask that is needed, is missing; reads none."""
        list_missing([self.photo_path(name) for name in self.names], kind="photo", source=self.list_file)
        if self.with_masks or self.label_source == "masks":
            list_missing([self.mask_path(name) for name in self.names], kind="mask", source=self.list_file)

    @cached_property
    def label_source(self) -> Literal["annotations", "lists", "masks"]:
        """Where the image labels come from.

        Raises:
            UserError: Where the folder holds nothing to read labels from.
        """
        if all(path.is_file() for path in self._annotations):
            return "annotations"
        if all(path.is_file() for path in self._lists):
            return "lists"
        if (self.root / self.mask_folder).is_dir():
            return "masks"
        raise UserError(
            f"need image labels for {self.list_file}, {self.root} has neither Annotations, nor "
            f"ImageSets/Main/<class>_{self.split}.txt, nor masks in {self.mask_folder}; add one of them"
        )

    @property
    def _annotations(self) -> list[Path]:
        return [self.root / "Annotations" / f"{name}.xml" for name in self.names]

    @property
    def _lists(self) -> list[Path]:
        return [self.root / "ImageSets" / "Main" / f"{name}_{self.split}.txt" for name in self.class_names]

    @cached_property
    def image_labels(self) -> Labels:
        """(N, k) multi-hot.

        Raises:
            UserError: Where a photo has no label at all, or there is nothing to read labels from.
        """
        if self.label_source == "annotations":
            labels = np.stack([labels_of_annotation(path, self.class_names) for path in self._annotations])
        elif self.label_source == "lists":
            labels = labels_of_lists(self._lists, self.names)
        else:
            labels = np.stack([self._labels_of_mask(name) for name in self.names])
        bare = [name for name, row in zip(self.names, labels, strict=True) if not row.any()]
        if bare and not self.with_masks:
            raise UserError(
                f"need at least one class for every photo to train on, {len(bare)} of {self.list_file} have none, "
                f"{bare[0]} first; take them off the list"
            )
        return labels

    def _labels_of_mask(self, name: str) -> Float32[np.ndarray, " k"]:
        values = np.bincount(self._mask(name).ravel(), minlength=256)
        values[IGNORE_INDEX] = 0
        return (values[1 : len(self.class_names) + 1] > 0).astype(np.float32)


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


def read_list(path: Path) -> list[str]:
    """Names of a list, the first word of each line.

    Raises:
        UserError: Where the list is missing or empty, holds a name twice, or a name would leave the folder.
    """
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.txt"))
        raise UserError(f"need a list of photos at {path}, found none; lists there: {', '.join(known) or 'none'}")
    names = [check_inside(row[0]) for row in read_rows(path)]
    if not names:
        raise UserError(f"need at least one photo in {path}, the list is empty; add their names")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise UserError(f"need each photo once in {path}, {name} is there {times} times; take it off")
    return names


def read_rows(path: Path) -> list[list[str]]:
    """Words of each line that has any; a byte order mark, as some editors write it, is no part of the first.

    Raises:
        UserError: Where the file is no text in UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"need a list in UTF-8, {path} is not ({error}); save it as such") from error
    return [line.split() for line in lines if line.strip()]


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


def labels_of_annotation(path: Path, class_names: Sequence[str]) -> Float32[np.ndarray, " k"]:
    """Multi-hot labels of the objects that a VOC annotation names, difficult ones too.

    Raises:
        UserError: Where it cannot be parsed or names another class.
    """
    try:
        objects = {node.findtext("name", "").strip() for node in ElementTree.parse(path).iter("object")}
    except ElementTree.ParseError as error:
        raise UserError(f"need an annotation in VOC's XML, {path} cannot be parsed ({error}); replace it") from error
    unknown = objects - set(class_names)
    if unknown:
        raise UserError(
            f"need objects of {len(class_names)} known classes, {path} names {sorted(unknown)}; name the classes in "
            "classes.json or mend the annotation"
        )
    return np.array([name in objects for name in class_names], dtype=np.float32)


def labels_of_lists(paths: Sequence[Path], names: Sequence[str]) -> Labels:
    """Multi-hot labels from one list a class, each line a name and 1 (present), 0 (difficult) or -1.

    Raises:
        UserError: Where a list does not tell of every photo, or tells another value.
    """
    columns = []
    for path in paths:
        flags = {row[0]: row[-1] for row in read_rows(path)}
        for name in names:
            if flags.get(name) not in ("1", "0", "-1"):
                state = f"says {flags[name]!r}" if name in flags else "has none"
                raise UserError(f"need a line with 1, 0 or -1 for every photo in {path}, {name} {state}; mend the list")
        columns.append([float(flags[name] != "-1") for name in names])
    return np.array(columns, dtype=np.float32).T
