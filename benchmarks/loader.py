"""Training crops per second: this package's loader, and the plain Pillow and NumPy way of research code.

    python benchmarks/loader.py path/to/VOC2012 --split train --crop 512 --workers 1

Both decode the same JPEGs, scale by 0.5 to 2, mirror, crop with padding, and end with a normalized float32 batch in the
main process. Each runs in a DataLoader with equally many workers, in alternation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from afa_wsss.data import CropSettings, VOCDataset
from afa_wsss.data.loading.sets import TrainSet, collate
from afa_wsss.data.loading.transforms import TrainTransform
from afa_wsss.ops.image import normalize

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


class TextbookSet(Dataset[Any]):
    """Scales the whole photo, normalizes it in floating point, then pads and crops."""

    def __init__(self, dataset: VOCDataset, crop: int) -> None:
        """Crops of ``crop`` pixels from the photos of ``dataset``."""
        self.dataset, self.crop = dataset, crop

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """A crop, (3, crop, crop) float32, and the box of the photo in it."""
        rng, side = np.random.default_rng(list(key)), self.crop
        image = Image.open(self.dataset.photo_path(key[1])).convert("RGB")
        factor = rng.uniform(0.5, 2.0)
        size = (int(image.width * factor), int(image.height * factor))
        array = np.asarray(image.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
        if rng.random() < 0.5:
            array = np.fliplr(array)
        array = (array - MEAN) / STD
        height, width = array.shape[:2]
        padded = np.zeros((max(height, side), max(width, side), 3), dtype=np.float32)
        top, left = rng.integers(padded.shape[0] - height + 1), rng.integers(padded.shape[1] - width + 1)
        padded[top : top + height, left : left + width] = array
        y, x = rng.integers(padded.shape[0] - side + 1), rng.integers(padded.shape[1] - side + 1)
        crop = np.ascontiguousarray(padded[y : y + side, x : x + side].transpose(2, 0, 1))
        box = (max(top - y, 0), min(top + height - y, side), max(left - x, 0), min(left + width - x, side))
        return torch.from_numpy(crop), torch.tensor([int(edge) for edge in box])


def consume(loader: Iterable[Any], *, normalized: bool) -> int:
    """Loads all batches and returns the number of crops; uint8 batches are normalized, as the training step does."""
    count = 0
    for batch in loader:
        images = batch[0] if normalized else normalize(batch.images)
        count += len(images)
    return count


def main() -> None:
    """Prints the crops per second of both, and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--crops", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=5)
    settings = parser.parse_args()
    dataset = VOCDataset(settings.root, settings.split)
    keys = [(index // len(dataset), index % len(dataset)) for index in range(settings.crops)]
    shared: dict[str, Any] = {"sampler": keys, "batch_size": 8, "num_workers": settings.workers}
    if settings.workers:
        shared["persistent_workers"] = True
    ours: Any = DataLoader(
        TrainSet(dataset, TrainTransform(CropSettings(settings.crop)), seed=0), collate_fn=collate, **shared
    )
    theirs: Any = DataLoader(TextbookSet(dataset, settings.crop), **shared)
    rates: dict[str, list[float]] = {"textbook": [], "ours": []}
    for round_number in range(settings.rounds + 1):
        for name, loader in (("textbook", theirs), ("ours", ours)):
            start = time.perf_counter()
            count = consume(loader, normalized=name == "textbook")
            if round_number:  # the first round starts the workers
                rates[name].append(count / (time.perf_counter() - start))
    table = Table(box=None)
    for column in ("", "crops/s", "lowest", "highest"):
        table.add_column(column, justify="right" if column else "left")
    for name, found in rates.items():
        table.add_row(name, *(f"{value:.1f}" for value in (median(found), min(found), max(found))))
    console = Console()
    console.print(f"crop {settings.crop}, {settings.workers} workers, batches of 8", table, highlight=False)
    console.print(f"ratio {median(rates['ours']) / median(rates['textbook']):.2f}", highlight=False)


if __name__ == "__main__":
    main()
