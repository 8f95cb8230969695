"""One sample of a shard: the entries that may hold its labels, and its photo."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from functools import partial

from PIL import Image

from afa_wsss.data.base import Photo
from afa_wsss.data.files.deep_photos import DeepPhoto, Range
from afa_wsss.data.files.photos import PILLOW_ERRORS, check_pixels, upright_rgb
from afa_wsss.data.files.shared_range import SharedRange
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


def read_photo(path: str, index: ShardIndex, place: int, shared: SharedRange) -> Photo:
    """The photo of a sample as upright 8-bit RGB.

    Args:
        path: The shard.
        index: Its samples.
        place: Which of them, from 0.
        shared: The range of values that is set; the photos of all shards cannot be read to find it.

    Raises:
        UserError: Where there is none, it cannot be decoded, or has more than 8 bits and no range of values is set or
            declared; the kind is ``no_range`` then.
    """
    name = f"{index.keys[place]} in {path}"
    if not has_photo(index, place):
        raise UserError(f"need a photo in every sample, {name} has none")
    content = _content(path, *index.spans[place, 0].tolist())
    try:
        with Image.open(io.BytesIO(content)) as image:
            check_pixels(name, *image.size)
            return upright_rgb(name, image, partial(_given_range, name, shared))
    except UserError:
        raise
    except PILLOW_ERRORS as error:
        reason = str(error).partition(" <_io")[0]
        raise UserError(f"need a photo that can be decoded, {name} cannot ({reason})", kind="unreadable") from error


def _given_range(name: str, shared: SharedRange, photo: DeepPhoto) -> Range:
    value_range = shared.given(photo)
    if value_range is None:
        low, high = photo.values.min(), photo.values.max()
        raise UserError(
            f"need the range of values of photos of more than 8 bits in shards, {name} has {photo.kind} ({low:g} to "
            f"{high:g}) and declares none; set data.value_range=[low,high], such as [0,4095] for 12 bits",
            kind="no_range",
        )
    return value_range


def _content(path: str, offset: int, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)  # in place of a file object: one for each of millions of photos
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)
