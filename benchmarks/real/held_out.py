"""Held-out photos one by one, with masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from afa_wsss.data import FolderDataset, PhotoFiles, VOCDataset
from afa_wsss.data.loading.frames import frames
from afa_wsss.data.loading.sets import EvalSet, collate
from afa_wsss.errors import UserError
from afa_wsss.types import Batch


def open_photos(root: Path, split: str) -> PhotoFiles:
    """A split with its masks, of a folder of photos or of one in the layout of PASCAL VOC, as PartShapes has.

    Raises:
        UserError: For what the data set finds wrong.
    """
    if (root / "ImageSets").is_dir():
        return VOCDataset(root, split, with_masks=True)
    return FolderDataset(root, split, with_masks=True)


class HeldOut(NamedTuple):
    """One photo as the network sees it, and its mask.

    Attributes:
        batch: Of this photo alone, without padding.
        target: (H, W) classes at the photo's full size, 255 ignored.
    """

    batch: Batch
    target: Tensor


def chosen(count: int, limit: int | None) -> list[int]:
    """Indices of ``limit`` of ``count`` photos, evenly spread; all of them for None.

    Example:
        >>> chosen(10, 4)
        [0, 3, 6, 9]
    """
    if limit is None or limit >= count:
        return list(range(count))
    return [round(place) for place in np.linspace(0, count - 1, limit)]


def held_out(photos: EvalSet, limit: int | None = None) -> Iterator[HeldOut]:
    """The photos in their order.

    Raises:
        UserError: For a photo without a mask.
    """
    for index in chosen(len(photos), limit):
        (batch,) = frames(collate([photos[index]]))
        if batch.masks is None:
            raise UserError(f"need a mask of every held-out photo, {batch.names[0]} has none")
        yield HeldOut(batch, batch.masks[0])
