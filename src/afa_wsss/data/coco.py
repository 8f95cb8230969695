"""COCO 2014: photos and image labels as COCO ships them, masks in VOC's form."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np

from afa_wsss.data.base import Labels, Sample, check_inside, check_sizes, list_missing, read_mask, read_photo
from afa_wsss.data.classes import COCO_CLASSES, voc_palette
from afa_wsss.types import UserError


class COCODataset:
    """Photos of one split, labelled by the objects of ``annotations/instances_<split>.json``.

    Photos without any object are left out, as they have no image label. Masks, where wanted, are PNGs of class ids at
    ``masks/<split>/<photo>.png``.

    Attributes:
        class_names: COCO's 80.
        palette: VOC's scheme, continued.
        names: File names without ending, in the order of the photos' ids.
    """

    def __init__(self, root: str | Path, split: str, *, with_masks: bool = False) -> None:
        """Reads the instances file; photos are read on demand.

        Args:
            root: The folder that holds ``train2014``, ``val2014`` and ``annotations``.
            split: ``train2014`` or ``val2014``.
            with_masks: Whether samples hold their masks.

        Raises:
            UserError: Where the folder or the instances file is missing, or does not hold what COCO's does.
        """
        self.root, self.split, self.with_masks = Path(root), split, with_masks
        self.class_names, self.palette = COCO_CLASSES, voc_palette(len(COCO_CLASSES) + 1)
        self.instances = self.root / "annotations" / f"instances_{split}.json"
        if not self.root.is_dir():
            raise UserError(f"need data.root to be COCO's folder, got {root}, which does not exist; mend data.root")
        self._files, self._labels = self._index()
        self.names = [Path(file).stem for file in self._files]

    def _index(self) -> tuple[list[str], Labels]:
        """File names and labels of all photos with an object, by photo id."""
        try:
            content = json.loads(self.instances.read_text(encoding="utf-8"))
            place = {name: index for index, name in enumerate(self.class_names)}
            columns = {int(c["id"]): place[c["name"]] for c in content["categories"]}
            files = {int(photo["id"]): str(photo["file_name"]) for photo in content["images"]}
            pairs = {(int(a["image_id"]), columns[int(a["category_id"])]) for a in content["annotations"]}
            used = {photo: files[photo] for photo in sorted({photo for photo, _ in pairs})}
        except FileNotFoundError as error:
            raise UserError(
                f"need COCO's instances at {self.instances}, found none; unpack COCO's annotations there"
            ) from error
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"need COCO's instances in {self.instances}, it does not hold them ({error!r}); unpack it anew"
            ) from error
        if not used:
            raise UserError(f"need at least one photo with an object in {self.instances}, got none; add annotations")
        rows = {photo: row for row, photo in enumerate(used)}
        labels = np.zeros((len(rows), len(self.class_names)), dtype=np.float32)
        for photo, column in pairs:
            labels[rows[photo], column] = 1
        return [check_inside(file) for file in used.values()], labels

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.names)

    def _photo_path(self, index: int) -> Path:
        return self.root / self.split / self._files[index]

    def _mask_path(self, index: int) -> Path:
        return self.root / "masks" / self.split / f"{self.names[index]}.png"

    @cached_property
    def image_labels(self) -> Labels:
        """(N, k) multi-hot."""
        return self._labels

    def sample(self, index: int) -> Sample:
        """Reads one photo, and its mask where masks are wanted.

        Raises:
            UserError: Where a file is missing, cannot be decoded or does not fit the other.
        """
        image, mask = read_photo(self._photo_path(index)), None
        if self.with_masks:
            mask = read_mask(self._mask_path(index), len(self.class_names) + 1)
            check_sizes(self.names[index], image, mask)
        return Sample(image, self._labels[index], mask, self.names[index])

    def check_files(self) -> None:
        """Raises UserError where a photo, or a mask that is wanted, is missing; reads none."""
        places = range(len(self))
        list_missing([self._photo_path(index) for index in places], kind="photo", source=self.instances)
        if self.with_masks:
            list_missing([self._mask_path(index) for index in places], kind="mask", source=self.instances)
