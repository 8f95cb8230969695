"""The dense CRF beside pydensecrf: time per photo, and share of equal labels.

    OMP_NUM_THREADS=1 python benchmarks/dense_crf.py path/to/VOC2012 --photos 10

Both run on one thread and take turns in one process. Each goes from the same uint8 photo and softened mask of 21
classes to labels, lattices included. Needs ``pip install afa-wsss[crf-oracle]``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydensecrf import densecrf
from rich.console import Console
from rich.table import Table

from afa_wsss.ops.dense_crf import LOWEST_PROBABILITY, dense_crf

CLASSES = 21


def ours(photo: NDArray[np.uint8], probabilities: NDArray[np.float32], steps: int) -> NDArray[np.int64]:
    """Labels (H, W) of a photo (H, W, 3) by this package."""
    image = torch.from_numpy(photo).permute(2, 0, 1)[None]
    return dense_crf(image, torch.from_numpy(probabilities)[None], steps=steps)[0].argmax(dim=0).numpy()


def theirs(photo: NDArray[np.uint8], probabilities: NDArray[np.float32], steps: int) -> NDArray[np.int64]:
    """Labels (H, W) of a photo (H, W, 3) by pydensecrf."""
    count, height, width = probabilities.shape
    crf = densecrf.DenseCRF2D(width, height, count)
    crf.setUnaryEnergy(-np.log(np.clip(probabilities, LOWEST_PROBABILITY, 1)).reshape(count, -1))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    crf.addPairwiseBilateral(sxy=64, srgb=5, rgbim=photo, compat=4)
    return np.array(crf.inference(steps)).reshape(count, height, width).argmax(axis=0)


def softened(mask: NDArray[np.uint8], sure: float = 0.7) -> NDArray[np.float32]:
    """Probabilities (c, H, W) around a mask; unknown pixels are background."""
    probabilities = np.full((CLASSES, *mask.shape), (1 - sure) / (CLASSES - 1), dtype=np.float32)
    np.put_along_axis(probabilities, np.where(mask == 255, 0, mask)[None].astype(np.int64), sure, axis=0)
    return probabilities


def timed(job: Callable[..., NDArray[np.int64]], *parts: Any) -> tuple[float, NDArray[np.int64]]:
    """Seconds of one call, and its result."""
    start = time.perf_counter()
    found = job(*parts)
    return time.perf_counter() - start, found


def main() -> None:
    """Prints a row for each photo, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="a folder with JPEGImages and SegmentationClass")
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("photo", "size", "pydensecrf, ms", "afa_wsss, ms", "times as fast", "labels that agree, %", box=None)
    speeds, agreements = [], []
    for path in sorted((arguments.root / "SegmentationClass").glob("*.png"))[: arguments.photos]:
        photo = np.array(Image.open(arguments.root / "JPEGImages" / f"{path.stem}.jpg").convert("RGB"))
        parts = photo, softened(np.array(Image.open(path))), arguments.steps
        rounds = [(timed(theirs, *parts), timed(ours, *parts)) for _ in range(arguments.rounds)]
        their_time, our_time = (median(pair[which][0] for pair in rounds) for which in (0, 1))
        speeds.append(median(before[0] / after[0] for before, after in rounds))
        agreements.append(100 * float((rounds[0][0][1] == rounds[0][1][1]).mean()))
        size, times = f"{photo.shape[1]} x {photo.shape[0]}", (f"{1000 * their_time:.0f}", f"{1000 * our_time:.0f}")
        table.add_row(path.stem, size, *times, f"{speeds[-1]:.2f}", f"{agreements[-1]:.3f}")
    table.add_row("median; least", "", "", "", f"{median(speeds):.2f}; {min(speeds):.2f}", f"{min(agreements):.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
