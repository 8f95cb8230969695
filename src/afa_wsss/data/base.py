"""The contract of every data set: photos with image labels and perhaps masks, class names, a palette."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

Photo = UInt8[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]
Palette = UInt8[np.ndarray, "c 3"]
Labels = UInt8[np.ndarray, "N k"]

FilePath = str | os.PathLike[str]
"""A path of a photo is a string: with a million photos, creating and using ``Path`` is several times slower."""


class Sample(NamedTuple):
    """One photo as it is on disk.

    Attributes:
        image: (H, W, 3) RGB, 0-255.
        image_labels: (k,) multi-hot.
        mask: (H, W) class ids, background 0, 255 ignored; None where the photo has no mask or none was requested.
        name: The photo's name, without folder and suffix.
    """

    image: Photo
    image_labels: Float32[np.ndarray, " k"]
    mask: Mask | None
    name: str


@runtime_checkable
class SegmentationDataset(Protocol):
    """One split of a data set. ``PhotoFiles`` implements most of it for photos that are files; see ``docs/data.md``.

    Attributes:
        class_names: Foreground classes, in the order of their mask values from 1.
        names: Names of the photos, unique; empty where they are read with the photos.
    """

    class_names: tuple[str, ...]
    names: Sequence[str]

    @property
    def palette(self) -> Palette:
        """(k + 1, 3) RGB colors, background first."""

    @property
    def image_labels(self) -> Labels | None:
        """(N, k) multi-hot, one byte per label; None where they are read with the photos."""

    def __len__(self) -> int:
        """Number of photos."""

    def sample(self, index: int) -> Sample:
        """Reads one photo."""

    def check_files(self) -> None:
        """Quick check before training, without decoding files that look complete.

        Raises:
            UserError: Where training would fail on a file.
        """


@runtime_checkable
class Streamed(Protocol):
    """What a data set has besides whose photos lie together in large files, too many to check before training."""

    def order(self, epoch: int, *, seed: int, places: range) -> Iterator[int]:
        """Indices of the photos at some places of an epoch, near ones after each other.

        Args:
            epoch: From 0; each has another order.
            seed: Of the order.
            places: Of one process, from 0; after the last photo comes the first again.
        """

    def usable(self, index: int) -> Sample:
        """The photo, or another in its place where it cannot be read; says what it leaves out."""
