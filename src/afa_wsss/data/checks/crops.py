"""How much of its photo a training crop shows: a crop is labeled with all classes of the photo, seen or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.photos import check_some_masks
from afa_wsss.data.checks.problems import Problem, in_few_lines
from afa_wsss.data.checks.splits import early_warnings
from afa_wsss.data.files.headers import read_header
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.data.loading.settings import MIN_CROP, CropSettings, DataSettings
from afa_wsss.data.loading.sizes import shrunk_size
from afa_wsss.errors import UserError

Size = tuple[int, int]
"""Height and width."""

MOST_PHOTOS = 500
"""Photos whose sizes stand for those of all."""

OBJECT = 1 / 3
"""Height and width of an object, as a share of its photo's."""

TOO_MANY = 1 / 3
"""Share of crops without the object above which there is a warning: VOC's photos and crops have 1 in 100."""

SCALES = 32
"""Random scales that are averaged over."""

STEP = 64
"""Longest sides that are advised are multiples of this."""


class CropView(NamedTuple):
    """What crops show of their photos.

    Attributes:
        seen: Share of a photo's area that a crop shows, averaged over crops, in (0, 1].
        missing: Share of crops that show nothing of an object a third as wide and as high as its photo, in [0, 1).
    """

    seen: float
    missing: float


def crops_that_miss(sizes: Sequence[Size], settings: CropSettings, *, max_side: int | None = None) -> CropView:
    """What random crops show of photos and of an object that lies anywhere in its photo, each place as likely.

    Along a side of length L, a crop of s < L shows nothing of an object of length o with the probability
    (L - o - s)^2 / ((L - o) (L - s)), or 0 where s >= L - o; and it misses the object unless it shows some of it along
    both sides. Averaged over photos and random scales.

    Args:
        sizes: Of the photos; at least one.
        settings: Size of the crops and range of the random scale.
        max_side: Longest side that photos are shrunk to before they are cropped; None for none.

    Example:
        >>> crops_that_miss([(375, 500)], CropSettings(crop_size=512)).missing < 0.02
        True
        >>> round(crops_that_miss([(3000, 4000)], CropSettings(crop_size=512)).missing, 2)
        0.73
        >>> round(crops_that_miss([(3000, 4000)], CropSettings(crop_size=512), max_side=1024).missing, 2)
        0.23
    """
    counts = Counter(shrunk_size(*size, max_side) for size in sizes)
    photos = np.array(list(counts), dtype=float)
    weights = np.array(list(counts.values()), dtype=float)
    low, high = settings.scale
    scales = low + (high - low) * (np.arange(SCALES) + 0.5) / SCALES
    sides = photos[:, None] * scales[None, :, None]  # (photos, scales, 2)
    seen = np.minimum(1, settings.crop_size / sides).prod(axis=2).mean(axis=1)
    missing = 1 - (1 - _unseen(sides, settings.crop_size)).prod(axis=2).mean(axis=1)
    return CropView(float(np.average(seen, weights=weights)), float(np.average(missing, weights=weights)))


def _unseen(sides: NDArray[np.float64], crop: int) -> NDArray[np.float64]:
    """Probability that a crop shows nothing of the object along each side."""
    places = (1 - OBJECT) * sides
    far = np.maximum(0, places - crop)
    return far**2 / (places * np.maximum(sides - crop, 1e-9))


def photo_sizes(dataset: SegmentationDataset, most: int = MOST_PHOTOS) -> list[Size]:
    """Sizes of some photos of a data set of files, by their headers; none for other data sets and unreadable files.

    Args:
        dataset: The photos.
        most: How many are looked at, evenly spread.
    """
    if not isinstance(dataset, PhotoFiles):
        return []
    sizes = []
    for index in np.unique(np.linspace(0, len(dataset) - 1, min(most, len(dataset))).astype(int)).tolist():
        try:
            width, height = read_header(dataset.photo_path(index)).size
        except UserError:
            continue  # the file check reports it
        sizes.append((height, width))
    return sizes


def describe_crops(dataset: SegmentationDataset, settings: DataSettings) -> list[tuple[str, str]]:
    """What crops show of the photos to train on, for people; nothing where no size is known."""
    sizes = photo_sizes(dataset)
    if not sizes:
        return []
    found = crops_that_miss(sizes, settings, max_side=settings.max_side)
    what = f"{settings.crop_size} pixels, data.max_side={settings.max_side}: {found.seen:.0%} of a photo on average"
    return [("training crops", f"{what}; {found.missing:.0%} miss an object a third as wide and high as its photo")]


def check_crops(dataset: SegmentationDataset, settings: DataSettings) -> list[Problem]:
    """A warning where photos are so much larger than the crops that more than a third miss an object.

    Args:
        dataset: The photos to train on.
        settings: Crops, and the longest side that photos are shrunk to.
    """
    sizes = photo_sizes(dataset)
    if not sizes:
        return []
    found = crops_that_miss(sizes, settings, max_side=settings.max_side)
    if found.missing <= TOO_MANY:
        return []
    message = (
        f"need training crops that show the objects of their photos, crops of {settings.crop_size} pixels show "
        f"{found.seen:.0%} of a photo on average, and {found.missing:.0%} of them show nothing of an object a third as "
        f"wide and as high as its photo; {_advice(sizes, settings)}"
    )
    return [Problem("crops miss objects", "data.crop_size", message, "warning")]


def data_warnings(splits: Mapping[str, SegmentationDataset], settings: DataSettings) -> list[str]:
    """Warnings about lists, labels, splits, training crops and masks, in a few lines; see ``early_warnings``.

    Raises:
        UserError: See ``check_some_masks``.
    """
    crops = check_crops(splits["train"], settings) if "train" in splits else []
    masks = [problem for dataset in splits.values() for problem in check_some_masks(dataset)]
    return in_few_lines(list(dict.fromkeys([*early_warnings(splits), *crops, *masks])))


def _advice(sizes: Sequence[Size], settings: DataSettings) -> str:
    """The largest of some values of ``max_side`` that is enough."""
    longest = min(settings.max_side or np.inf, max(max(size) for size in sizes))
    for side in range(int(longest) // STEP * STEP, MIN_CROP - 1, -STEP):
        if crops_that_miss(sizes, settings, max_side=side).missing <= TOO_MANY:
            return f"set data.max_side={side} or raise data.crop_size"
    return "raise data.crop_size"
