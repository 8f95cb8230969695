"""A photo in any of the forms that people have, and what it was segmented into."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.files.photos import PILLOW_ERRORS, as_rgb, read_photo
from afa_wsss.data.files.value_range import FindRange, own_range
from afa_wsss.errors import UserError
from afa_wsss.report.overlay import overlay

Photo = str | os.PathLike[str] | Image.Image | UInt8[np.ndarray, "H W 3"]
"""A path, a PIL image, or RGB values. Of a path the photo is read upright, of a PIL image as it is: turn one that EXIF
rotates by ``PIL.ImageOps.exif_transpose``."""


class Segmentation(NamedTuple):
    """What a photo was segmented into.

    Attributes:
        photo: The photo itself, RGB.
        labels: Class of each pixel, background 0.
        scores: Probability of each class, background first; None unless they were asked for.
        class_names: All foreground classes of the network.
        palette: Colors of the classes, background first.
        class_scores: Probability of each foreground class to be in the photo at all, by the class branch.
    """

    photo: UInt8[np.ndarray, "H W 3"]
    labels: UInt8[np.ndarray, "H W"]
    scores: Float32[np.ndarray, "c H W"] | None
    class_names: tuple[str, ...]
    palette: UInt8[np.ndarray, "c 3"]
    class_scores: Float32[np.ndarray, " k"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the foreground classes found, in the network's order."""
        return tuple(self.areas)

    @property
    def areas(self) -> dict[str, float]:
        """Share of the photo's pixels in (0, 1] of each foreground class found, by name."""
        pixels = np.bincount(self.labels.ravel(), minlength=len(self.class_names) + 1)[1:]
        shares = (pixels / self.labels.size).tolist()
        return {name: share for name, share in zip(self.class_names, shares, strict=True) if share > 0}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the labels as a PNG whose values are the classes, shown in the palette's colors.

        Its text chunk ``classes`` holds the names of the classes as JSON.
        """
        write_mask(Path(path), self.labels, self.palette, names=("background", *self.class_names))

    def overlay(self) -> Image.Image:
        """The labels in their colors over the photo."""
        return Image.fromarray(overlay(self.photo, self.labels, self.palette))


def as_pixels(photo: object, range_of: FindRange = own_range) -> UInt8[np.ndarray, "H W 3"]:
    """RGB values of a photo in any of the forms that ``Segmenter`` takes.

    Args:
        photo: A path, a PIL image, or RGB values.
        range_of: Gives the range that becomes 0 to 255 where a photo has more than 8 bits.

    Raises:
        UserError: For a file that cannot be read, and for what is no photo.
    """
    if isinstance(photo, str | os.PathLike):
        return read_photo(photo, range_of)
    if isinstance(photo, Image.Image) and 0 not in photo.size:
        return _pixels_of(photo, range_of)
    if isinstance(photo, np.ndarray) and photo.dtype == np.uint8 and photo.shape[2:] == (3,) and photo.size:
        return photo
    raise UserError(
        f"need a path, a PIL image, or uint8 values (H, W, 3), got {_described(photo)}", arguments=("photo",)
    )


def _pixels_of(image: Image.Image, range_of: FindRange) -> UInt8[np.ndarray, "H W 3"]:
    """RGB values of an image, which Pillow may not have decoded yet."""
    try:
        return np.asarray(as_rgb(image, range_of))
    except UserError:
        raise
    except PILLOW_ERRORS as error:
        message = f"need an image that can be decoded, got one that cannot ({error})"
        raise UserError(message, arguments=("photo",)) from error


def _described(photo: object) -> str:
    if isinstance(photo, np.ndarray):
        return f"{photo.dtype} of {photo.shape}"
    return f"an image of {photo.width}x{photo.height}" if isinstance(photo, Image.Image) else type(photo).__name__
