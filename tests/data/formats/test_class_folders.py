"""A folder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.formats.labeled import labels_of
from tests.data.samples import write_photo

from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.errors import UserError


def test_class_folders(tmp_path: Path) -> None:
    write_photo(tmp_path / "cat" / "1.jpg", 1)
    write_photo(tmp_path / "dog" / "1.jpg", 2)
    write_photo(tmp_path / "cat" / "both.JPG", 3)
    write_photo(tmp_path / "dog" / "both.JPG", 3)
    write_photo(tmp_path / "masks" / "cat" / "1.png")
    (tmp_path / "dog" / "notes.txt").touch()
    dataset = FolderDataset(tmp_path, "all")
    dataset.check_files()
    assert labels_of(dataset) == {"cat/1": {"cat"}, "dog/1": {"dog"}, "cat/both": {"cat", "dog"}}


def test_class_folders_in_splits(tmp_path: Path) -> None:
    write_photo(tmp_path / "train" / "cat" / "1.jpg")
    write_photo(tmp_path / "train" / "dog" / "2.jpg")
    write_photo(tmp_path / "val" / "dog" / "3.jpg")
    assert labels_of(FolderDataset(tmp_path, "train")) == {"train/cat/1": {"cat"}, "train/dog/2": {"dog"}}
    assert labels_of(FolderDataset(tmp_path, "val")) == {"val/dog/3": {"dog"}}


@pytest.mark.parametrize(
    ("photos", "masks"),
    [("images", "labels"), ("JPEGImages", "SegmentationClass"), ("train/images", "train/annotations"), ("img", "gt")],
)
def test_a_folder_of_photos_beside_one_of_masks_is_no_class(tmp_path: Path, photos: str, masks: str) -> None:
    for place in (f"{photos}/1.jpg", f"{photos}/2.jpg", f"{masks}/1.png", f"{masks}/2.png"):
        write_photo(tmp_path / place, ord(place[-5]))
    message = "which are no classes by their names, but photos and their masks; add labels.csv .* a folder masks"
    with pytest.raises(UserError, match=message):
        FolderDataset(tmp_path, "all")
    (tmp_path / masks).rename(tmp_path / Path(masks).parent / "texts")
    assert len(FolderDataset(tmp_path, "all").class_names) == 2


def test_a_class_may_be_named_like_a_split_and_photos_may_be_nested(tmp_path: Path) -> None:
    for file in ("train/1.jpg", "car/2.jpg", "car/2020/may/3.jpg"):
        write_photo(tmp_path / file, ord(file[-5]))
    dataset = FolderDataset(tmp_path, "all")
    assert dataset.class_names == ("car", "train")
    assert sorted(dataset.names) == ["car/2", "car/2020/may/3", "train/1"]
    dataset.check_files()


def test_folders_that_are_not_classes_and_files_that_are_not_photos_are_left_out(tmp_path: Path) -> None:
    for place in (
        "cat/a.jpg",
        "dog/b.jpg",
        "outputs/run/montages/1.png",
        "@eaDir/a.jpg",
        ".trash/c.jpg",
        "cat/.thumbs/a.jpg",
        "masks/a.png",
    ):
        write_photo(tmp_path / place)
    for kind in ("cat", "dog"):
        (tmp_path / kind / "album.jpg").mkdir()
    dataset = FolderDataset(tmp_path, "all")
    assert (dataset.class_names, dataset.names) == (("cat", "dog"), ["cat/a", "dog/b"])


def test_masks_of_class_folders_in_images_are_relative_to_images(tmp_path: Path) -> None:
    write_photo(tmp_path / "images" / "cat" / "a.jpg")
    write_mask(tmp_path / "masks" / "cat" / "a.png", np.ones((8, 12), dtype=np.uint8), voc_palette(2))
    dataset = FolderDataset(tmp_path, "all", with_masks=True)
    dataset.check_files()
    assert dataset.names == ["cat/a"]
    assert dataset.sample(0).mask is not None
