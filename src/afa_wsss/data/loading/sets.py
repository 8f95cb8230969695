"""Torch data sets over a ``SegmentationDataset``, and the collate function that makes their batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from torch.utils.data import Dataset

from afa_wsss.data.base import Mask, Photo, SegmentationDataset
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
        mask: (H, W) class ids; None in training and where there is no mask.
    """

    image: Photo
    image_labels: Float32[np.ndarray, " k"]
    box: Box
    name: str
    mask: Mask | None


class TrainSet(Dataset[Item]):
    """Random crops without masks. A crop depends on seed, epoch and index alone, not on the process or the run."""

    def __init__(self, dataset: SegmentationDataset, transform: TrainTransform, *, seed: int) -> None:
        """Wraps a split.

        Args:
            dataset: Where the photos are from.
            transform: Makes the crops.
            seed: At least 0.

        Raises:
            UserError: For a seed below 0.
        """
        if seed < 0:
            raise UserError(f"need seed of at least 0, got {seed}", arguments=("seed",))
        self.dataset, self.transform, self.seed = dataset, transform, seed

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        """The crop for ``(epoch, index)``: the sampler yields both, so loader workers need no notice of a new epoch."""
        epoch, index = key
        sample = self.dataset.sample(index)
        seed = int(np.random.SeedSequence([self.seed, epoch, index]).generate_state(1)[0])
        crop, box = self.transform(sample.image, seed)
        return Item(crop, sample.image_labels, box, sample.name, None)


class EvalSet(Dataset[Item]):
    """Whole photos, with their masks where the data set has them."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        """Wraps a split."""
        self.dataset = dataset

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item:
        """One whole photo."""
        sample = self.dataset.sample(index)
        height, width = sample.image.shape[:2]
        return Item(sample.image, sample.image_labels, (0, height, 0, width), sample.name, sample.mask)


def collate(items: Sequence[Item]) -> Batch:
    """Stacks items, each at the top left of a frame as large as the largest; the rest is padding.

    Masks are stacked where every item has one, and padded with 255.
    """
    height, width = (max(item.image.shape[axis] for item in items) for axis in (0, 1))
    images = np.empty((len(items), 3, height, width), dtype=np.uint8)
    masks = None
    if all(item.mask is not None for item in items):
        masks = np.full((len(items), height, width), IGNORE_INDEX, dtype=np.uint8)
    for row, item in enumerate(items):
        h, w = item.image.shape[:2]
        for channel, (plane, padding) in enumerate(zip(cv2.split(item.image), PADDING, strict=True)):
            images[row, channel, :h, :w] = plane
            images[row, channel, h:] = padding
            images[row, channel, :h, w:] = padding
        if masks is not None and item.mask is not None:
            masks[row, :h, :w] = item.mask
    return Batch(
        images=torch.from_numpy(images),
        image_labels=torch.from_numpy(np.stack([item.image_labels for item in items])),
        boxes=torch.tensor([item.box for item in items]),
        names=tuple(item.name for item in items),
        masks=None if masks is None else torch.from_numpy(masks),
        most_classes=max(int(item.image_labels.sum()) for item in items),
        full_frames=all(item.box == (0, height, 0, width) for item in items),
    )
