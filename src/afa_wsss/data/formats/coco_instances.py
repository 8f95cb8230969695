"""COCO's instances files: objects and their outlines, parsed at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec

from afa_wsss.data.formats.classes import COCO_CLASSES
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX


class Photo(msgspec.Struct, gc=False):
    """An entry of ``images``."""

    id: int
    file_name: str
    height: int = 0
    width: int = 0


class Category(msgspec.Struct, gc=False):
    """An entry of ``categories``."""

    id: int
    name: str


class Annotation(msgspec.Struct, gc=False):
    """An entry of ``annotations``: one object. Its outline stays JSON text until it is drawn, to save memory."""

    image_id: int
    category_id: int
    segmentation: msgspec.Raw = msgspec.Raw(b"[]")
    area: float = 0.0
    iscrowd: int = 0


class Content(msgspec.Struct):
    """What is read of an instances file."""

    images: list[Photo]
    annotations: list[Annotation]
    categories: list[Category]


class ObjectRule(NamedTuple):
    """Which objects count.

    Attributes:
        crowd: Whether crowds count, which COCO outlines as one region.
        min_area: Smallest area of an object, in pixels.
    """

    crowd: bool
    min_area: float

    def counts(self, thing: Annotation) -> bool:
        """Whether an object gives its photo a label; otherwise its pixels are ignored."""
        return (self.crowd or not thing.iscrowd) and thing.area >= self.min_area


EVERY_OBJECT = ObjectRule(crowd=True, min_area=0.0)


class Outlines(NamedTuple):
    """The objects of one photo, ready to be drawn in another process.

    Attributes:
        file: File of the photo.
        height: Height of the photo in pixels.
        width: Width of the photo in pixels.
        objects: Mask value, area in pixels and outline of each object; the outline as COCO's JSON.
    """

    file: str
    height: int
    width: int
    objects: list[tuple[int, float, bytes]]


class Instances:
    """An instances file in memory.

    Attributes:
        annotations: All objects.
        files: File names of the photos by id.
        columns: Class indices by category id, which COCO numbers from 1 to 90 with gaps.
    """

    def __init__(self, content: Content, class_names: tuple[str, ...]) -> None:
        """Indexes photos and categories.

        Raises:
            KeyError: For a category that is not among the class names, or an object of an unknown photo or category.
        """
        column = {name: index for index, name in enumerate(class_names)}
        self.annotations = content.annotations
        self.files = {photo.id: photo.file_name for photo in content.images}
        self.columns = {category.id: column[category.name] for category in content.categories}
        self._sizes = {photo.id: (photo.height, photo.width) for photo in content.images}
        for thing in self.annotations:
            _ = self.files[thing.image_id], self.columns[thing.category_id]

    @cached_property
    def _by_photo(self) -> dict[int, list[Annotation]]:
        by_photo = defaultdict(list)
        for thing in self.annotations:
            by_photo[thing.image_id].append(thing)
        return by_photo

    def outlines(self, rule: ObjectRule) -> Iterator[Outlines]:
        """The photos with objects that count, in the order of their ids; other objects get the mask value 255."""
        for photo in sorted(self._by_photo):
            things = self._by_photo[photo]
            if any(rule.counts(thing) for thing in things):
                objects = [
                    (
                        self.columns[thing.category_id] + 1 if rule.counts(thing) else IGNORE_INDEX,
                        thing.area,
                        bytes(thing.segmentation),
                    )
                    for thing in things
                ]
                yield Outlines(self.files[photo], *self._sizes[photo], objects)


def instances_path(root: Path, split: str) -> Path:
    """Path of a split's instances file."""
    return root / "annotations" / f"instances_{split}.json"


def read_instances(path: Path, class_names: tuple[str, ...] = COCO_CLASSES) -> Instances:
    """Reads an instances file.

    Raises:
        UserError: Where it is missing, cannot be parsed, or refers to unknown classes, photos or categories.
    """
    try:
        return Instances(msgspec.json.decode(path.read_bytes(), type=Content), class_names)
    except FileNotFoundError as error:
        raise UserError(
            f"need COCO's instances at {path}, found none; unpack COCO's annotations there", kind="missing"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
        raise UserError(f"need COCO's instances in {path}, got something else ({error!r}); unpack it again") from error
