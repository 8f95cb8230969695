"""Labels that were once misread in silence: split files, old copies, words for no class, escapes, Unicode forms."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data.formats.labeled import Content, read_labeled, write_labeled
from tests.data.samples import write_photo

from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.data.formats.folder_labels.tags import split_tags
from afa_wsss.errors import UserError

THREE = ("a.jpg", "b.jpg", "c.jpg")


def coco(labels: Mapping[str, str], **changes: Any) -> str:
    """COCO's JSON of photos with one object each."""
    names = sorted(set(labels.values()))
    images = [{"id": number, "file_name": file} for number, file in enumerate(labels)]
    objects = [{"image_id": number, "category_id": names.index(name)} for number, name in enumerate(labels.values())]
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    return json.dumps({"images": images, "annotations": objects, "categories": categories, **changes})


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train_annotations.json", "val_annotations.json"),
        ("train-labels.json", "test-labels.json"),
        ("annotations_train.json", "annotations_val2017.json"),
    ],
)
def test_files_for_train_and_val_may_begin_with_these_words(tmp_path: Path, train: str, val: str) -> None:
    write_labeled(tmp_path, THREE, {train: coco({"a.jpg": "cat", "b.jpg": "dog"}), val: coco({"c.jpg": "cat"})})
    assert FolderDataset(tmp_path, "train").names == ["a", "b"]
    assert FolderDataset(tmp_path, "val").names == ["c"]


def test_tables_for_train_and_test_are_two_splits(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        "train_labels.csv": "filename,class\na.jpg,cat\nb.jpg,dog\n",
        "test_labels.csv": "filename,class\nc.jpg,cat\n",
    }
    write_labeled(tmp_path, THREE, files)
    assert FolderDataset(tmp_path, "val").names == ["c"]


@pytest.mark.parametrize(
    "files",
    [
        {"labels.jsonl": "new", "labels_old.jsonl": "old"},
        {"annotations.json": "new", "annotations_backup.json": "old"},
    ],
)
def test_files_that_disagree_on_a_photo_are_refused(tmp_path: Path, files: dict[str, str]) -> None:
    contents: dict[str, Content] = {}
    for name, age in files.items():
        labels = dict.fromkeys(THREE, "cat") | ({"a.jpg": "dog"} if age == "old" else {})
        rows = "".join(json.dumps({"file": file, "labels": [label]}) + "\n" for file, label in labels.items())
        contents[name] = coco(labels) if name.endswith(".json") else rows
    write_labeled(tmp_path, THREE, contents)
    with pytest.raises(UserError, match=r"need files of labels that agree, a\.jpg is listed by .*; remove all but one"):
        FolderDataset(tmp_path, "all").check_files()


def test_the_files_of_coco_itself_are_joined(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        "instances_train2017.json": coco({"a.jpg": "cat", "b.jpg": "person"}),
        "person_keypoints_train2017.json": coco({"a.jpg": "person", "b.jpg": "person"}),
    }
    write_labeled(tmp_path, THREE[:2], files)
    assert read_labeled(tmp_path)[0] == {"a": ["cat", "person"], "b": ["person"]}


def test_categories_that_share_an_id_are_refused(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "cat"}, {"id": 0, "name": "dog"}]
    write_labeled(tmp_path, ("a.jpg",), {"a.json": coco({"a.jpg": "cat"}, categories=categories)})
    with pytest.raises(UserError, match=r"need an id of its own for each category in .*a\.json, cat, dog share 0"):
        FolderDataset(tmp_path, "all")


def test_na_is_a_class_where_it_is_listed_and_is_named_where_it_is_not(tmp_path: Path) -> None:
    files: dict[str, Content] = {"labels.csv": "file,labels\na.jpg,NA\nb.jpg,EU\nc.jpg,EU;NA\n"}
    write_labeled(tmp_path / "unknown", THREE, files)
    labels, facts, _ = read_labeled(tmp_path / "unknown")
    assert labels == {"a": [], "b": ["EU"], "c": ["EU"]}
    assert facts["read as no class"] == "NA"
    write_labeled(tmp_path / "listed", THREE, {**files, "classes.txt": "EU\nNA\n"})
    labels, facts, _ = read_labeled(tmp_path / "listed")
    assert labels == {"a": ["NA"], "b": ["EU"], "c": ["EU", "NA"]}
    assert "read as no class" not in facts


def test_folders_and_categories_may_be_called_na(tmp_path: Path) -> None:
    for name in ("na/1.jpg", "k/2.jpg"):
        write_photo(tmp_path / "folders" / name)
    assert read_labeled(tmp_path / "folders")[0] == {"na/1": ["na"], "k/2": ["k"]}
    write_labeled(tmp_path / "coco", THREE[:2], {"a.json": coco({"a.jpg": "N/A", "b.jpg": "cat"})})
    assert read_labeled(tmp_path / "coco")[0] == {"a": ["N/A"], "b": ["cat"]}


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        (json.dumps(["café", "猫"]), ("café", "猫")),
        ("['café', 'it\\'s']", ("café", "it's")),
        ("['cat' 'dog']", ("cat", "dog")),
        ('["cat", 3, null]', ("cat", "3")),
        ("{'cat', 'dog'}", ("cat", "dog")),
        ("['cat', dog]", ("cat", "dog")),
    ],
)
def test_lists_in_text_keep_their_escapes(cell: str, tags: tuple[str, ...]) -> None:
    assert split_tags([cell])[0] == [tags]


def test_masks_and_photos_may_have_other_forms_of_unicode(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    write_labeled(
        tmp_path,
        (f"images/{composed}.jpg", "images/b.jpg"),
        {"labels.csv": f"file,labels\n{composed}.jpg,cat\nb.jpg,cat\n"},
    )
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.ones((32, 32), np.uint8)).save(tmp_path / "masks" / f"{apart}.png")
    dataset = FolderDataset(tmp_path, "val")
    assert dataset.names == [composed]
