"""Data sets of photos with image labels, and what turns them into batches.

The names below are imported on first use, so that ``import afa_wsss.data`` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from afa_wsss.data.base import Sample, SegmentationDataset
    from afa_wsss.data.formats.coco import COCODataset
    from afa_wsss.data.formats.folder import FolderDataset
    from afa_wsss.data.formats.photo_files import PhotoFiles
    from afa_wsss.data.formats.voc import VOCDataset
    from afa_wsss.data.loading.settings import CropSettings, DataSettings
    from afa_wsss.data.shards.dataset import ShardedDataset

__all__ = [
    "COCODataset",
    "CropSettings",
    "DataSettings",
    "FolderDataset",
    "PhotoFiles",
    "Sample",
    "SegmentationDataset",
    "ShardedDataset",
    "VOCDataset",
]

_MODULES = {
    "COCODataset": "formats.coco",
    "CropSettings": "loading.settings",
    "DataSettings": "loading.settings",
    "FolderDataset": "formats.folder",
    "PhotoFiles": "formats.photo_files",
    "Sample": "base",
    "SegmentationDataset": "base",
    "ShardedDataset": "shards.dataset",
    "VOCDataset": "formats.voc",
}

if not TYPE_CHECKING:  # a type checker sees the imports above, and misspelled names

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted([*globals(), *__all__])
