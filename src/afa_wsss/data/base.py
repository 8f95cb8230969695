"""The contract of every data set: photo, image labels, mask or none, name, class names, palette."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageOps

from afa_wsss.types import IGNORE_INDEX, UserError

Photo = UInt8[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]
Palette = UInt8[np.ndarray, "c 3"]
Labels = Float32[np.ndarray, "N k"]

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for a file that is empty, cut off, of another format, or larger than its limit of pixels."""


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
    """What a data set has to offer; see ``docs/architecture.md`` for how to add one.

    Attributes:
        class_names: Foreground classes in the order of their mask values from 1.
        palette: (k + 1, 3) colours, background first.
        names: Of the photos.
        image_labels: (N, k) multi-hot.
    """

    class_names: tuple[str, ...]
    palette: Palette
    names: Sequence[str]
    image_labels: Labels

    def __len__(self) -> int:
        """Number of photos."""

    def sample(self, index: int) -> Sample:
        """Reads one photo."""

    def check_files(self) -> None:
        """Raises UserError where a listed file is missing; reads none."""


def read_photo(path: Path) -> Photo:
    """Reads a photo as upright RGB, whatever its mode and EXIF rotation.

    Raises:
        UserError: Where the file is missing or cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(as_rgb(ImageOps.exif_transpose(image)))
    except FileNotFoundError as error:
        raise UserError(f"need a photo at {path}, found none; mend the list or the folder") from error
    except UNREADABLE as error:
        raise UserError(
            f"need a photo that can be decoded, {path} cannot ({error}); replace it or take it off the list"
        ) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB of 8 bits; transparency is dropped."""
    if image.mode.startswith("I"):
        # Pillow would cut 16 bits off at 255, which makes nearly every pixel white.
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode == "P":
        # Pillow warns where transparency of a palette is dropped on the straight way to RGB.
        image = image.convert("RGBA")
    return image.convert("RGB")


def read_mask(path: Path, classes: int) -> Mask:
    """Reads the class of every pixel from a palette or greyscale PNG.

    Args:
        path: The file.
        classes: Number of classes with background; other values than these and 255 are refused.

    Raises:
        UserError: Where the file is missing, cannot be decoded, is a colour picture or holds another value.
    """
    try:
        with Image.open(path) as image:
            mode, mask = image.mode, np.asarray(image)
    except FileNotFoundError as error:
        raise UserError(f"need a mask at {path}, found none; mend the list or the folder") from error
    except UNREADABLE as error:
        raise UserError(f"need a mask that can be decoded, {path} cannot ({error}); replace it") from error
    if mode not in ("P", "L"):
        raise UserError(
            f"need a palette or greyscale mask with one class id a pixel, {path} has mode {mode}; save it as such"
        )
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    wrong = [int(value) for value in values if value >= classes and value != IGNORE_INDEX]
    if wrong:
        raise UserError(
            f"need class ids of 0 to {classes - 1} or {IGNORE_INDEX} in masks, {path} holds {wrong}; "
            "mend the mask or the list of classes"
        )
    return mask.astype(np.uint8, copy=False)


def write_mask(path: Path, label: Mask, palette: Palette) -> None:
    """Writes classes as a palette PNG, as VOC's masks are: values are class ids, colours are for looking at."""
    picture = Image.fromarray(label, mode="P")
    colours = np.full((256, 3), 255, dtype=np.uint8)
    colours[: len(palette)] = palette
    picture.putpalette(colours.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def check_sizes(name: str, image: Photo, mask: UInt8[np.ndarray, "h w"]) -> None:
    """Raises UserError unless the mask has the photo's height and width."""
    if image.shape[:2] != mask.shape:
        photo, labels = (f"{shape[1]}x{shape[0]}" for shape in (image.shape, mask.shape))
        raise UserError(
            f"need a mask of its photo's size, {name} has a photo of {photo} and a mask of {labels}; mend one of them"
        )


def check_inside(name: str) -> str:
    """A name from a list, unless it would leave the folder that it belongs to.

    Raises:
        UserError: For an absolute name, or one with ``..`` in it.
    """
    parts = Path(name).parts
    if not parts or ".." in parts or Path(name).is_absolute() or "\\" in name:
        raise UserError(f"need names of photos inside their folder, the list holds {name!r}; take it off the list")
    return name


def list_missing(paths: Sequence[Path], *, kind: str, source: Path) -> None:
    """Raises UserError naming the first of ``paths`` that are not there."""
    present = {
        folder: {entry.name for entry in folder.iterdir()} for folder in {p.parent for p in paths} if folder.is_dir()
    }
    missing = [path for path in paths if path.name not in present.get(path.parent, set())]
    if missing:
        named = ", ".join(str(path) for path in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UserError(
            f"need every {kind} that {source} lists, {len(missing)} of {len(paths)} missing: {named}; "
            "add them or take them off the list"
        )
