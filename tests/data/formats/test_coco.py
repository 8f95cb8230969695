from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.formats.classes import COCO_CLASSES
from afa_wsss.data.formats.coco import COCODataset
from afa_wsss.errors import UserError


def _instances() -> dict[str, Any]:
    """Two photos with objects and one without, ids out of order, category ids with a gap as COCO's have."""
    return {
        "images": [{"id": identity, "file_name": f"COCO_val2014_{identity:012d}.jpg"} for identity in (42, 9, 25)],
        "categories": [
            {"id": index + (1 if index < 11 else 2), "name": name} for index, name in enumerate(COCO_CLASSES)
        ],
        "annotations": [
            {"image_id": 42, "category_id": 1, "iscrowd": 0},
            {"image_id": 42, "category_id": 1, "iscrowd": 1},
            {"image_id": 42, "category_id": 13, "iscrowd": 0},
            {"image_id": 9, "category_id": 81, "iscrowd": 0},
        ],
    }


def _write(root: Path, content: dict[str, Any]) -> Path:
    (root / "val2014").mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    for photo in content["images"]:
        Image.new("RGB", (12, 8)).save(root / "val2014" / Path(photo["file_name"]).name)
    (root / "annotations" / "instances_val2014.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return _write(tmp_path / "coco", _instances())


def test_labels_are_the_objects_of_each_photo(root: Path) -> None:
    dataset: SegmentationDataset = COCODataset(root, "val2014")
    dataset.check_files()
    assert list(dataset.names) == ["COCO_val2014_000000000009", "COCO_val2014_000000000042"]
    assert dataset.image_labels.dtype == np.uint8
    found = [{COCO_CLASSES[index] for index in np.flatnonzero(row)} for row in dataset.image_labels]
    assert found == [{"toothbrush"}, {"person", "stop sign"}]
    assert dataset.palette.shape == (81, 3)
    sample = dataset.sample(1)
    assert sample.image.shape == (8, 12, 3)
    assert sample.mask is None


def test_masks_are_read_where_they_are_requested(root: Path) -> None:
    dataset = COCODataset(root, "val2014", with_masks=True)
    with pytest.raises(
        UserError, match=r"need masks for the photos of .*, found none at .*; draw them: afa-data coco root="
    ):
        dataset.check_files()
    label = np.full((8, 12), 80, dtype=np.uint8)
    write_mask(root / "masks" / "val2014" / f"{dataset.names[0]}.png", label, dataset.palette)
    mask = dataset.sample(0).mask
    assert mask is not None
    np.testing.assert_array_equal(mask, label)
    write_mask(root / "masks" / "val2014" / f"{dataset.names[0]}.png", label.T, dataset.palette)
    with pytest.raises(UserError, match="need a mask of its photo's size"):
        dataset.sample(0)


def test_missing_photos_are_found(root: Path) -> None:
    (root / "val2014" / "COCO_val2014_000000000009.jpg").unlink()
    with pytest.raises(UserError, match=r"need every photo that .* 1 of 2 missing: .*000000000009"):
        COCODataset(root, "val2014").check_files()


def test_missing_root_and_instances_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"need root to be COCO's folder, got .*nowhere") as refusal:
        COCODataset(tmp_path / "nowhere", "val2014")
    assert refusal.value.arguments == ("root",)
    with pytest.raises(UserError, match=r"need COCO's instances at .*instances_train2014\.json, found none; unpack"):
        COCODataset(root, "train2014")


def _without_photos(content: dict[str, Any]) -> None:
    content["images"] = []


def _without_objects(content: dict[str, Any]) -> None:
    content["annotations"] = []


def _with_a_new_class(content: dict[str, Any]) -> None:
    content["categories"][0]["name"] = "unicorn"


def _with_a_name_outside(content: dict[str, Any]) -> None:
    content["images"][0]["file_name"] = "../COCO_val2014_000000000042.jpg"


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_without_photos, "^need COCO's instances in .*KeyError"),
        (_without_objects, "^need at least one photo with an object"),
        (_with_a_new_class, "^need COCO's instances in .*unicorn"),
        (_with_a_name_outside, "^need names of photos inside their folder"),
    ],
)
def test_malformed_instances_are_refused(root: Path, spoil: Any, complaint: str) -> None:
    content = _instances()
    spoil(content)
    (root / "annotations" / "instances_val2014.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=complaint):
        COCODataset(root, "val2014")


def test_instances_that_are_not_json_are_refused(root: Path) -> None:
    (root / "annotations" / "instances_val2014.json").write_text("{")
    with pytest.raises(UserError, match=r"need COCO's instances in .* unpack it again"):
        COCODataset(root, "val2014")
