"""COCO's instances files: objects as outlines, read at once and drawn into masks photo by photo."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from afa_wsss.data.base import Mask
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


class Thing(msgspec.Struct, gc=False):
    """An entry of ``annotations``; its outline stays text until it is drawn, which keeps the file's size in memory."""

    image_id: int
    category_id: int
    segmentation: msgspec.Raw = msgspec.Raw(b"[]")
    area: float = 0.0
    iscrowd: int = 0


class Content(msgspec.Struct):
    """What is read of an instances file."""

    images: list[Photo]
    annotations: list[Thing]
    categories: list[Category]


class ObjectRule(NamedTuple):
    """Which objects count.

    Attributes:
        crowd: Whether crowds, drawn as one region, do.
        min_area: Pixels that an object must have.
    """

    crowd: bool
    min_area: float

    def counts(self, thing: Thing) -> bool:
        """Whether an object gives its photo a label; its pixels are ignored otherwise."""
        return (self.crowd or not thing.iscrowd) and thing.area >= self.min_area


EVERY_OBJECT = ObjectRule(crowd=True, min_area=0.0)


class Outlined(NamedTuple):
    """One photo's objects, ready to be drawn in another process.

    Attributes:
        file: Of the photo.
        height: In pixels.
        width: In pixels.
        things: Mask value, area and outline of each object; the outline as COCO's JSON.
    """

    file: str
    height: int
    width: int
    things: list[tuple[int, float, bytes]]


class Instances:
    """An instances file in memory.

    Attributes:
        annotations: All objects.
        files: Names of the photos' files by id.
        columns: Of the classes by category id, which COCO numbers from 1 to 90 with gaps.
    """

    def __init__(self, content: Content, class_names: tuple[str, ...]) -> None:
        """Indexes photos and categories.

        Raises:
            KeyError: For a category that is no known class, or an object of an unknown photo or category.
        """
        place = {name: column for column, name in enumerate(class_names)}
        self.annotations = content.annotations
        self.files = {photo.id: photo.file_name for photo in content.images}
        self.columns = {category.id: place[category.name] for category in content.categories}
        self._sizes = {photo.id: (photo.height, photo.width) for photo in content.images}
        for thing in self.annotations:
            _ = self.files[thing.image_id], self.columns[thing.category_id]

    @cached_property
    def _of_photo(self) -> dict[int, list[Thing]]:
        of_photo = defaultdict(list)
        for thing in self.annotations:
            of_photo[thing.image_id].append(thing)
        return of_photo

    def outlined(self, rule: ObjectRule) -> Iterator[Outlined]:
        """Photos with objects that count, one after the other; objects that do not are drawn as ignored."""
        for photo in sorted(self._of_photo):
            things = self._of_photo[photo]
            if any(rule.counts(thing) for thing in things):
                drawn = [
                    (
                        self.columns[thing.category_id] + 1 if rule.counts(thing) else IGNORE_INDEX,
                        thing.area,
                        bytes(thing.segmentation),
                    )
                    for thing in things
                ]
                yield Outlined(self.files[photo], *self._sizes[photo], drawn)


def read_instances(path: Path, class_names: tuple[str, ...] = COCO_CLASSES) -> Instances:
    """Reads an instances file.

    Raises:
        UserError: Where it is missing, cannot be parsed, or names other classes, photos or categories than its own.
    """
    try:
        return Instances(msgspec.json.decode(path.read_bytes(), type=Content), class_names)
    except FileNotFoundError as error:
        raise UserError(f"need COCO's instances at {path}, found none; unpack COCO's annotations there") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
        raise UserError(
            f"need COCO's instances in {path}, it does not hold them ({error!r}); unpack it anew"
        ) from error


def draw_mask(photo: Outlined) -> Mask:
    """(height, width) classes: larger objects below smaller ones, those that do not count as 255 below all."""
    from pycocotools import mask as rle  # its compiled part is loaded where masks are drawn, and only there

    # Column by column, as pycocotools has it: copying across would take twice as long.
    label = np.zeros((photo.height, photo.width), dtype=np.uint8, order="F")
    for value, _, text in sorted(photo.things, key=lambda thing: (thing[0] != IGNORE_INDEX, -thing[1])):
        outline: Any = msgspec.json.decode(text)
        if isinstance(outline, list):  # polygons
            polygons = [polygon for polygon in outline if len(polygon) >= 6]
            if not polygons:
                continue
            code = rle.merge(rle.frPyObjects(polygons, photo.height, photo.width))
        elif isinstance(outline["counts"], list):  # crowds, run lengths as numbers
            code = rle.frPyObjects(outline, photo.height, photo.width)
        else:
            code = {"size": outline["size"], "counts": outline["counts"].encode()}
        np.copyto(label, np.uint8(value), where=rle.decode(code).view(bool))
    return np.ascontiguousarray(label)
