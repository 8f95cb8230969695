"""One sample of a shard: the entries that may hold its labels, and its photo."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from afa_wsss.data.base import Photo
from afa_wsss.data.files.photos import PILLOW_ERRORS, as_rgb, check_pixels
from afa_wsss.data.shards.tags import Tags, tags_of
from afa_wsss.data.shards.tar_index import LABEL_SUFFIXES, ShardIndex
from afa_wsss.errors import UserError


def read_tags(path: str, index: ShardIndex, place: int, by_number: Sequence[str | None] = ()) -> Tags:
    """Names of the classes of a sample.

    Args:
        path: The shard.
        index: Its samples.
        place: Which of them, from 0.
        by_number: As for ``tags_of``.

    Raises:
        UserError: As ``tags_of``.
    """
    spans = index.spans[place, 1:].tolist()
    entries = {
        suffix: _content(path, offset, size)
        for suffix, (offset, size) in zip(LABEL_SUFFIXES, spans, strict=True)
        if offset >= 0
    }
    return tags_of(entries, by_number)


def has_photo(index: ShardIndex, place: int) -> bool:
    """Whether a sample has an entry with a photo's suffix."""
    return bool(index.spans[place, 0, 0] >= 0)


def read_photo(path: str, index: ShardIndex, place: int) -> Photo:
    """The photo of a sample as upright 8-bit RGB.

    Raises:
        UserError: Where there is none, or it cannot be decoded.
    """
    name = f"{index.keys[place]} in {path}"
    if not has_photo(index, place):
        raise UserError(f"need a photo in every sample, {name} has none")
    content = _content(path, *index.spans[place, 0].tolist())
    try:
        with Image.open(io.BytesIO(content)) as image:
            check_pixels(name, *image.size)
            return np.asarray(as_rgb(ImageOps.exif_transpose(image)))
    except UserError:
        raise
    except PILLOW_ERRORS as error:
        reason = str(error).partition(" <_io")[0]
        raise UserError(f"need a photo that can be decoded, {name} cannot ({reason})", kind="unreadable") from error


def _content(path: str, offset: int, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)  # in place of a file object: one for each of millions of photos
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)
