"""Torch data sets over a ``SegmentationDataset``, and the collate function that makes their batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch.utils.data import Dataset

from afa_wsss.data.base import Mask, Photo, SegmentationDataset, Streamed
from afa_wsss.data.contract import checked, read_sample
from afa_wsss.data.loading.shrink import shrunk
from afa_wsss.data.loading.transforms import PADDING, Box, TrainTransform
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX, Batch


class Item(NamedTuple):
    """One photo or crop, ready to be batched.

    Attributes:
        image: (H, W, 3) RGB, 0-255.
        image_labels: (k,) multi-hot.
        box: Where the photo is in ``image``; the rest is padding.
        name: The photo's name.
        mask: (H, W) class ids, of a whole photo at full size, of a crop at its own; None where none is wanted or there.
        full_size: Height and width of the photo before it was shrunk; None where it was not.
    """

    image: Photo
    image_labels: Float32[np.ndarray, " k"]
    box: Box
    name: str
    mask: Mask | None
    full_size: tuple[int, int] | None = None


class TrainSet(Dataset[Item]):
    """Random crops. A crop depends on seed, epoch and index alone, not on the process or the run.

    Without ``with_masks``, as in weak supervision, no item has a mask, whatever the data set holds.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        transform: TrainTransform,
        *,
        seed: int,
        max_side: int | None = None,
        with_masks: bool = False,
    ) -> None:
        """Wraps a split.

        Args:
            dataset: Where the photos are from.
            transform: Makes the crops.
            seed: At least 0.
            max_side: Longest side that photos are shrunk to before they are cropped; None to shrink none.
            with_masks: Whether crops come with those of their masks, for studies with true masks.

        Raises:
            UserError: For a seed below 0.
        """
        if seed < 0:
            raise UserError(f"need seed of at least 0, got {seed}", arguments=("seed",))
        self.dataset, self.transform, self.seed, self.max_side = dataset, transform, seed, max_side
        self.with_masks = with_masks

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        """The crop for ``(epoch, index)``: the sampler yields both, so loader workers need no notice of a new epoch.

        Raises:
            UserError: For a photo without the mask that is wanted.
        """
        epoch, index = key
        photos = self.dataset
        sample = checked(photos.usable(index), photos) if isinstance(photos, Streamed) else read_sample(photos, index)
        seed = int(np.random.SeedSequence([self.seed, epoch, index]).generate_state(1)[0])
        if self.with_masks and sample.mask is None:
            raise UserError(f"need a mask of every training photo for this label maker, {sample.name} has none")
        mask = sample.mask if self.with_masks else None
        crop = self.transform.cut(shrunk(sample.image, self.max_side), seed, mask=mask)
        return Item(crop.image, sample.image_labels, crop.box, sample.name, crop.mask)


class EvalSet(Dataset[Item]):
    """Whole photos, with their masks at full size where the data set has them."""

    def __init__(self, dataset: SegmentationDataset, *, max_side: int | None = None) -> None:
        """Wraps a split; photos are shrunk to a longest side of ``max_side``, None to shrink none."""
        self.dataset, self.max_side = dataset, max_side

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item:
        """One whole photo."""
        sample = read_sample(self.dataset, index)
        image = shrunk(sample.image, self.max_side)
        height, width = image.shape[:2]
        full_height, full_width = sample.image.shape[:2]
        full_size = None if (full_height, full_width) == (height, width) else (full_height, full_width)
        return Item(image, sample.image_labels, (0, height, 0, width), sample.name, sample.mask, full_size)


def collate(items: Sequence[Item]) -> Batch:
    """Stacks items, each at the top left of a frame as large as the largest; the rest is padding.

    Masks are stacked in the same way, at full size, and padded with 255. An item without one is 255 everywhere; where
    no item has one, neither has the batch.
    """
    height, width = (max(item.image.shape[axis] for item in items) for axis in (0, 1))
    images = np.empty((len(items), 3, height, width), dtype=np.uint8)
    for row, item in enumerate(items):
        h, w = item.image.shape[:2]
        for channel, (plane, padding) in enumerate(zip(cv2.split(item.image), PADDING, strict=True)):
            images[row, channel, :h, :w] = plane
            images[row, channel, h:] = padding
            images[row, channel, :h, w:] = padding
    masks = _stacked_masks(items)
    shrunk_ones = any(item.full_size is not None for item in items)
    return Batch(
        images=torch.from_numpy(images),
        image_labels=torch.from_numpy(np.stack([item.image_labels for item in items])),
        boxes=torch.tensor([item.box for item in items]),
        names=tuple(item.name for item in items),
        masks=None if masks is None else torch.from_numpy(masks),
        most_classes=max(int(item.image_labels.sum()) for item in items),
        full_frames=all(item.box == (0, height, 0, width) for item in items),
        full_sizes=tuple(_full_size(item) for item in items) if shrunk_ones else None,
    )


def _full_size(item: Item) -> tuple[int, int]:
    return item.full_size or (item.image.shape[0], item.image.shape[1])


def _stacked_masks(items: Sequence[Item]) -> UInt8[np.ndarray, "b h w"] | None:
    if all(item.mask is None for item in items):
        return None
    sizes = [_full_size(item) if item.mask is None else item.mask.shape for item in items]
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    stacked = np.full((len(items), height, width), IGNORE_INDEX, dtype=np.uint8)
    for row, item in enumerate(items):
        if item.mask is not None:
            stacked[row, : item.mask.shape[0], : item.mask.shape[1]] = item.mask
    return stacked
