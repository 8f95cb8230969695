"""Reading, checking and writing masks: pictures whose values or colors are classes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from afa_wsss.data.base import FilePath, Mask, Palette, Photo
from afa_wsss.data.files.deep_photos import has_deep_colors
from afa_wsss.data.files.headers import LAST_BYTES, PhotoHeader, header_of, read_header
from afa_wsss.data.files.mask_forms import MaskForm, apply_form, id_form
from afa_wsss.data.files.mask_pixels import StoredMask, stored_mask
from afa_wsss.data.files.orientation import ROTATIONS, TURNS, upright
from afa_wsss.data.files.photos import PILLOW_ERRORS, check_pixels, open_picture, why_unreadable
from afa_wsss.data.files.whole import whole_file
from afa_wsss.errors import UserError


def read_mask(path: FilePath, classes: int, *, form: MaskForm | None = None) -> Mask:
    """Reads the class of every pixel, as stored or, where EXIF rotates the mask, upright.

    Args:
        path: The file; of several pages, the first is read.
        classes: Number of classes with background.
        form: What the values or colors of the data set's masks mean; None for ids from 0 to ``classes - 1``, and 255.

    Returns:
        (H, W) uint8.

    Raises:
        UserError: Where the file is missing, cannot be decoded, or holds a value or color without a meaning.
    """
    return apply_form(path, read_stored(path, colors=form is not None), form or id_form(classes))


def read_stored(path: FilePath, *, colors: bool = True) -> StoredMask:
    """Reads the values and colors of a mask, upright.

    Args:
        path: The file.
        colors: Whether RGB masks are accepted.

    Raises:
        UserError: Where the file is missing, cannot be decoded, or is of a mode without ids and colors.
    """
    with _open_mask(path, colors=colors) as image:
        turned = upright(image)
        if turned.mode == "P":
            turned.palette = image.palette  # a rotated image may lose it
        return stored_mask(path, turned)


def read_mask_size(path: FilePath, *, form: MaskForm | None = None) -> tuple[int, int]:
    """Width and height of an upright mask; decodes only a file that looks incomplete, and RGB where ids are read.

    Args:
        path: The file.
        form: What the values or colors of the data set's masks mean; None for ids, and no RGB.

    Raises:
        UserError: As ``read_stored``, but not for damage in the middle of a file; as ``read_mask`` for RGB.
    """
    with _open_mask(path, colors=form is not None) as image, open(path, "rb", buffering=0) as file:  # noqa: PTH123  # see FilePath
        size, end = header_of(image, file).size, LAST_BYTES.get(image.format or "", b"")
        file.seek(-len(end), 2)
        if not end or file.read() != end:
            image.load()
        if form is not None and form.by == "values" and image.mode.startswith("RGB"):
            apply_form(path, stored_mask(path, image), form)
        return size


def read_mask_header(path: FilePath) -> PhotoHeader:
    """Upright size, mode and orientation of a mask.

    Raises:
        UserError: As ``read_stored``, but not for damaged pixels.
    """
    with _open_mask(path, colors=True) as image, open(path, "rb", buffering=0) as file:  # noqa: PTH123  # see FilePath
        return header_of(image, file)


@contextmanager
def _open_mask(path: FilePath, *, colors: bool) -> Iterator[Image.Image]:
    """An open mask; what goes wrong while it is read is raised as ``UserError``."""
    try:
        with open_picture(path) as image:
            check_pixels(path, *image.size)
            if has_deep_colors(image):
                raise UserError(f"need a mask of 8 bits in each color, {path} has 16; save it with 8 bits")
            if image.mode.startswith("RGB") and not colors:
                raise UserError(
                    f"need a palette or grayscale mask with one class id per pixel, {path} has mode {image.mode}; "
                    "convert it"
                )
            yield image
    except FileNotFoundError as error:
        raise UserError(f"need a mask at {path}, found none; fix the list or the folder", kind="missing") from error
    except UserError:
        raise
    except PILLOW_ERRORS as error:
        reason, kind = why_unreadable(path, error)
        raise UserError(f"need a mask that can be decoded, got {path} ({reason}); replace it", kind=kind) from error


def write_mask(path: Path, label: Mask, palette: Palette, *, names: Sequence[str] = ()) -> None:
    """Writes class ids as a palette PNG, the form of VOC's masks; creates missing folders.

    The file appears whole or not at all, also where the process is killed.

    Args:
        path: The file.
        label: (H, W) class ids; 255 is shown in white.
        palette: (c, 3) RGB colors to show the classes in.
        names: Of the classes, background first; written into the text chunk ``classes`` as JSON, names by class id.
    """
    image = Image.fromarray(label, mode="P")
    colors = np.full((256, 3), 255, dtype=np.uint8)
    colors[: len(palette)] = palette
    image.putpalette(colors.ravel().tolist())
    texts = PngInfo()
    if names:
        by_id = {str(value): name for value, name in enumerate(names)}
        texts.add_itxt("classes", json.dumps(by_id, ensure_ascii=False))
    with whole_file(path) as part:
        image.save(part, format="PNG", pnginfo=texts)


def fit_mask(name: str, image: Photo, mask: UInt8[np.ndarray, "h w"], photo: FilePath, *, stored: bool = False) -> Mask:
    """The mask of an upright photo; a mask drawn on the photo as stored is rotated like the photo.

    Args:
        name: The photo's name, for the message.
        image: (H, W, 3) upright photo.
        mask: Its class ids.
        photo: The photo's file; its header is read where the sizes differ, or the mask is drawn on the photo as stored.
        stored: Whether it is known to be; where the size tells that it is, it need not be.

    Returns:
        (H, W) class ids.

    Raises:
        UserError: Where the mask has another size than the photo.
    """
    on_its_side = image.shape[:2] == mask.shape[::-1] != mask.shape
    if stored or on_its_side:
        turn = (TURNS if stored else ROTATIONS).get(read_header(photo).orientation)
        mask = mask if turn is None else np.asarray(Image.fromarray(mask).transpose(turn))
    if image.shape[:2] != mask.shape:
        raise _wrong_size(name, image.shape[1::-1], mask.shape[::-1])
    return mask


def check_mask_size(name: str, path: FilePath, photo: PhotoHeader, *, form: MaskForm | None = None) -> None:
    """Checks, from the headers alone, that ``fit_mask`` will accept a mask.

    Args:
        name: The photo's name, for the message.
        path: The mask's file.
        photo: The photo's header.
        form: What the values or colors of the data set's masks mean; None for ids.

    Raises:
        UserError: Where the mask has another size than the photo, and as ``read_mask_size``.
    """
    size = read_mask_size(path, form=form)
    if size != photo.size and not (size == photo.size[::-1] and photo.orientation in ROTATIONS):
        raise _wrong_size(name, photo.size, size)


def _wrong_size(name: str, photo: tuple[int, ...], mask: tuple[int, ...]) -> UserError:
    """Sizes are width and height."""
    return UserError(
        f"need a mask of its photo's size, {name} has a photo of {photo[0]}x{photo[1]} and a mask of "
        f"{mask[0]}x{mask[1]}; fix one of them",
        kind="size_mismatch",
    )
