"""Tells data sets apart by what they hold, not by where they are."""

from __future__ import annotations

import hashlib

import numpy as np

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.contract import read_sample
from afa_wsss.errors import UserError

LOOKED_AT = 8
"""Photos whose pixels count; the image labels of all do."""


def fingerprint(photos: SegmentationDataset, *, masks: bool = False) -> str:
    """16 hex digits of SHA-256 of classes, image labels of all photos, names and pixels of a few.

    Where labels are read with the photos, their number stands for them. A folder that was moved keeps it. A photo that
    cannot be read is left out; training and validation say what is wrong with it.

    Args:
        photos: A split.
        masks: Whether the masks of these few photos count, too.
    """
    digest = hashlib.sha256(_bytes("\n".join(photos.class_names)))
    labels = photos.image_labels
    digest.update(str(len(photos)).encode() if labels is None else np.ascontiguousarray(labels).tobytes())
    for index in np.unique(np.linspace(0, len(photos) - 1, LOOKED_AT).astype(int)):
        try:
            sample = read_sample(photos, int(index))
        except UserError:
            continue
        digest.update(_bytes(sample.name))
        for part in (sample.image, sample.mask if masks else None):
            if part is not None:
                digest.update(f"{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def _bytes(name: str) -> bytes:
    """UTF-8; names of files that are not UTF-8 keep their bytes."""
    return name.encode("utf-8", "surrogateescape")
