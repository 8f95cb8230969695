"""Held-out photos one by one, with masks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor

from afa_wsss.data.loading.frames import frames
from afa_wsss.data.loading.sets import EvalSet, collate
from afa_wsss.errors import UserError
from afa_wsss.types import Batch


class HeldOut(NamedTuple):
    """One photo as the network sees it, and its mask.

    Attributes:
        batch: Of this photo alone, without padding.
        target: (H, W) classes at the photo's full size, 255 ignored.
    """

    batch: Batch
    target: Tensor


def chosen(count: int, limit: int | None) -> list[int]:
    """Indices of ``limit`` of ``count`` photos, evenly spread; all of them for None.

    Example:
        >>> chosen(10, 4)
        [0, 3, 6, 9]
    """
    if limit is None or limit >= count:
        return list(range(count))
    return [round(place) for place in np.linspace(0, count - 1, limit)]


def held_out(photos: EvalSet, limit: int | None = None, *, shuffled: bool = False) -> Iterator[HeldOut]:
    """The photos in their order, or shuffled in an order that is always the same.

    Raises:
        UserError: For a photo without a mask.
    """
    indices = chosen(len(photos), limit)
    for index in np.random.default_rng(0).permutation(indices).tolist() if shuffled else indices:
        (batch,) = frames(collate([photos[index]]))
        if batch.masks is None:
            raise UserError(f"need a mask of every held-out photo, {batch.names[0]} has none")
        yield HeldOut(batch, batch.masks[0])
