"""Held-out photos of a folder, or in the layout of PASCAL VOC."""

from __future__ import annotations

from pathlib import Path

from afa_wsss.data import FolderDataset, PhotoFiles, VOCDataset


def open_photos(root: Path, split: str) -> PhotoFiles:
    """A split with its masks, of a folder of photos or of one in the layout of PASCAL VOC, as PartShapes has.

    Raises:
        UserError: For what the data set finds wrong.
    """
    if (root / "ImageSets").is_dir():
        return VOCDataset(root, split, with_masks=True)
    return FolderDataset(root, split, with_masks=True)
