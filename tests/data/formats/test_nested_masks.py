"""Folders of masks that are not directly in the data set's folder."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tests.data.formats.labeled import write_labeled

from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.errors import UserError


def _masks(root: Path, **ids: int) -> None:
    for file, value in ids.items():
        root.mkdir(parents=True, exist_ok=True)
        write_mask(root / f"{file}.png", np.full((8, 12), value, dtype=np.uint8), voc_palette(3))


def _ids(dataset: FolderDataset) -> dict[str, set[int]]:
    samples = [dataset.sample(index) for index in range(len(dataset))]
    return {sample.name: set(np.unique(sample.mask).tolist()) for sample in samples if sample.mask is not None}


def _split_folders(root: Path) -> None:
    """Photos and masks of equal names in both splits."""
    photos = [f"{split}/images/{name}.jpg" for split in ("train", "val") for name in "ab"]
    table = "file,label\n" + "".join(f"{photo},{'cat;dog' if 'a.' in photo else 'dog'}\n" for photo in photos)
    write_labeled(root, photos, {"labels.csv": table})
    _masks(root / "train" / "masks", a=1, b=2)
    _masks(root / "val" / "Masks", a=2, b_mask=0)


def test_masks_beside_the_photos_of_a_split(tmp_path: Path) -> None:
    _split_folders(tmp_path)
    dataset = FolderDataset(tmp_path, "val", with_masks=True)
    assert _ids(dataset) == {"val/images/a": {2}, "val/images/b": {0}}
    assert _ids(FolderDataset(tmp_path, "train", with_masks=True)) == {"train/images/a": {1}, "train/images/b": {2}}
    assert dict(dataset.facts)["masks"] == "2 train/masks/<name>, 1 val/Masks/<name>, 1 val/Masks/<name>_mask"


@pytest.mark.parametrize("place", ["dataset/masks", "annotations/masks"])
def test_masks_in_a_folder_around_everything_or_beside_it(tmp_path: Path, place: str) -> None:
    photos = ("dataset/images/cat/a.jpg", "dataset/images/dog/b.jpg")
    write_labeled(tmp_path, photos, {})
    _masks(tmp_path / place, a=1)
    dataset = FolderDataset(tmp_path, "val", with_masks=True)
    assert _ids(dataset) == {"images/cat/a": {1}}


def test_two_masks_of_a_photo_in_two_folders_are_an_error(tmp_path: Path) -> None:
    _split_folders(tmp_path)
    _masks(tmp_path / "masks" / "val" / "images", a=1)
    with pytest.raises(UserError, match=r"val/images/a has .*/masks/val/images/a\.png and .*/val/Masks/a\.png"):
        FolderDataset(tmp_path, "val")


def test_masks_further_inside_that_fit_no_photo_are_reported(tmp_path: Path) -> None:
    _split_folders(tmp_path)
    _masks(tmp_path / "test" / "masks", c=1)
    complaint = r"named like their photos, none of 1 in .*/test/masks fits: c\.png"
    (warning,) = [one for one in FolderDataset(tmp_path, "val").warnings if one.kind == "no mask fits"]
    assert re.search(complaint, warning.message)
    for split in ("train", "val"):
        for mask in tmp_path.glob(f"{split}/?asks/*"):
            mask.unlink()
    with pytest.raises(UserError, match=complaint):
        FolderDataset(tmp_path, "val")
