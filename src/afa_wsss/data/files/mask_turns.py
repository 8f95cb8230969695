"""Whether the mask of a photo that EXIF turns is drawn on the upright photo or on the photo as stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from afa_wsss.data.base import FilePath
from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.files.headers import PhotoHeader, read_header
from afa_wsss.data.files.masks import read_mask_header
from afa_wsss.data.files.orientation import ROTATIONS
from afa_wsss.data.files.parallel import thread_map
from afa_wsss.errors import UserError

Drawn = Literal["upright", "stored", "either"]
"""What a mask is drawn on; ``either`` where its size and its own EXIF do not tell."""

Pair = tuple[FilePath, FilePath]
"""A photo and its mask."""


def drawn_on(photo: PhotoHeader, mask: PhotoHeader) -> Drawn:
    """What a mask is drawn on, by the headers: the size tells for photos on their side that are not square.

    Example:
        >>> drawn_on(PhotoHeader((40, 60), "RGB", 6), PhotoHeader((60, 40), "L", 1))
        'stored'
        >>> drawn_on(PhotoHeader((60, 40), "RGB", 3), PhotoHeader((60, 40), "L", 1))
        'either'
    """
    if photo.orientation == 1:
        return "upright"
    if photo.orientation in ROTATIONS and photo.size[0] != photo.size[1]:
        return "stored" if mask.size == photo.size[::-1] else "upright"
    return "either" if mask.orientation == 1 else "upright"


def read_drawn_on(pair: Pair, header: PhotoHeader | None = None) -> Drawn:
    """What a mask is drawn on; its file is opened only where EXIF turns the photo.

    Args:
        pair: Photo and mask.
        header: The photo's, where it was read before.

    Raises:
        UserError: As ``read_header`` and ``read_mask_header``.
    """
    photo = header or read_header(pair[0])
    return "upright" if photo.orientation == 1 else drawn_on(photo, read_mask_header(pair[1]))


def usually_drawn_on(pairs: Iterable[Pair]) -> Drawn:
    """What all masks of a data set whose sizes tell are drawn on; ``either`` where none tells or they differ."""
    found = {drawn for drawn in thread_map(_telling, pairs) if drawn != "either"}
    return found.pop() if len(found) == 1 else "either"


def _telling(pair: Pair) -> Drawn:
    """What a mask shows of the others: nothing where EXIF does not turn its photo, or a file cannot be read."""
    try:
        header = read_header(pair[0])
        return "either" if header.orientation == 1 else read_drawn_on(pair, header)
    except UserError:
        return "either"


def turn_problem(name: str, pair: Pair, usually: Drawn) -> Problem:
    """What to say of a mask that fits the photo in both ways: a warning where the others do not tell.

    Args:
        name: The photo's name.
        pair: Photo and mask.
        usually: What the masks of the data set are drawn on.
    """
    photo, mask = pair
    if usually == "either":
        message = (
            f"need to know what the mask {mask} is drawn on, EXIF turns {photo} and the mask fits it upright and as "
            "stored; it is read as drawn on the upright photo: check it, or save the photo upright without EXIF"
        )
        return Problem("mask perhaps not upright", name, message, "warning")
    way = "upright photo" if usually == "upright" else "photo as stored"
    message = f"{mask} is read as drawn on the {way} {photo}, like the other masks of photos that EXIF turns"
    return Problem("mask fits in both ways", name, message, "note")
