"""The contract of every data set: photo, image labels, mask or none, name, class names, palette."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

Photo = UInt8[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]
Palette = UInt8[np.ndarray, "c 3"]
Labels = UInt8[np.ndarray, "N k"]

FilePath = str | os.PathLike[str]
"""Text, where there may be one for each of a million photos: a Path takes several times as long to make and to use."""


class Sample(NamedTuple):
    """One photo as it is on disk.

    Attributes:
        image: (H, W, 3) RGB.
        image_labels: (k,) multi-hot.
        mask: (H, W) classes, background 0, 255 ignored; None where there is none or it is not wanted.
        name: Without folder or ending.
    """

    image: Photo
    image_labels: Float32[np.ndarray, " k"]
    mask: Mask | None
    name: str


@runtime_checkable
class SegmentationDataset(Protocol):
    """What a data set has to offer; ``docs/data.md`` adds one, and ``PhotoFiles`` is most of one.

    Attributes:
        class_names: Foreground classes in the order of their mask values from 1.
        palette: (k + 1, 3) colours, background first.
        names: Of the photos.
    """

    class_names: tuple[str, ...]
    palette: Palette
    names: Sequence[str]

    @property
    def image_labels(self) -> Labels:
        """(N, k) multi-hot, a byte each."""

    def __len__(self) -> int:
        """Number of photos."""

    def sample(self, index: int) -> Sample:
        """Reads one photo."""

    def check_files(self) -> None:
        """Raises UserError where training would fail on a file; decodes none that seems whole."""
