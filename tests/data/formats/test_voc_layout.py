from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.data.samples import write_list, write_voc

from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.formats.classes import VOC_CLASSES, voc_palette
from afa_wsss.data.formats.voc import VOCDataset
from afa_wsss.data.formats.voc_layout import write_augmented_list
from afa_wsss.errors import UserError


@pytest.mark.parametrize("above", [".", "VOC2012", "VOCdevkit/VOC2012"])
def test_root_may_be_a_folder_above(tmp_path: Path, above: str) -> None:
    write_voc(tmp_path / above)
    assert VOCDataset(tmp_path, "train").root == tmp_path / above


def test_the_augmented_list_needs_no_file(voc: Path) -> None:
    (voc / "SegmentationClass").rename(voc / "SegmentationClassAug")
    write_list(voc, "b", split="val")
    (voc / "SegmentationClassAug" / "._a.png").write_bytes(b"left by a Mac")
    assert VOCDataset(voc, "train_aug").names == ["a", "c"]
    write_list(voc, "c", split="train_aug")
    assert VOCDataset(voc, "train_aug").names == ["c"]


def test_the_augmented_list_is_every_augmented_mask_that_is_not_in_val(voc: Path) -> None:
    assert write_augmented_list(voc) is None
    for name in ("e", "b", "d"):
        write_mask(voc / "SegmentationClassAug" / f"{name}.png", np.ones((8, 12), dtype=np.uint8), voc_palette(21))
    write_list(voc, "d", "a", split="val")
    assert write_augmented_list(voc) == 2
    path = voc / "ImageSets" / "Segmentation" / "train_aug.txt"
    assert path.read_text() == "b\ne\n"
    path.write_text("b\n")
    assert write_augmented_list(voc) == 1, "an existing list is kept"
    assert VOCDataset(voc, "train_aug").class_names == VOC_CLASSES


def test_lists_may_have_more_columns_blank_lines_and_a_byte_order_mark(voc: Path) -> None:
    write_list(voc, "\ufeffc 1", "", "  a\t/SegmentationClass/a.png 0  ")
    assert VOCDataset(voc, "train").names == ["c", "a"]


def test_classes_json_names_the_classes(voc: Path) -> None:
    content = {"classes": [f"kind {index}" for index in range(20)], "palette": [[index, 0, 9] for index in range(21)]}
    (voc / "classes.json").write_text(json.dumps(content))
    dataset = VOCDataset(voc, "train")
    assert dataset.class_names[3] == "kind 3"
    assert dataset.palette[7].tolist() == [7, 0, 9]
    del content["palette"]
    (voc / "classes.json").write_text(json.dumps(content))
    np.testing.assert_array_equal(VOCDataset(voc, "train").palette, voc_palette(21))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "need {"),
        ("[]", "need {"),
        ('{"names": []}', "need {"),
        ('{"classes": []}', "need 1 to 254 different classes"),
        ('{"classes": ["a", "a"]}', "need 1 to 254 different classes"),
        (json.dumps({"classes": [str(index) for index in range(255)]}), "need 1 to 254 different classes"),
        ('{"classes": ["a"], "palette": [[0, 0, 0]]}', "need a color for background and each of 1 classes"),
        ('{"classes": ["a"], "palette": [[0, 0, 0], [0, 0, 300]]}', "need {"),
    ],
)
def test_malformed_classes_json_is_refused(voc: Path, content: str, complaint: str) -> None:
    (voc / "classes.json").write_text(content)
    with pytest.raises(UserError, match=rf"^{complaint}.*classes\.json"):
        VOCDataset(voc, "train")


def test_missing_root_and_missing_list_are_refused(voc: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"need root to be a folder with JPEGImages .* which does not exist") as refusal:
        VOCDataset(tmp_path / "nowhere", "train")
    assert refusal.value.arguments == ("root",)
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=r"need root .*bare, which has none"):
        VOCDataset(tmp_path / "bare", "train")
    with pytest.raises(UserError, match=r"need a list of photos at .*val\.txt, found none; lists there: train"):
        VOCDataset(voc, "val")


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([""], "need at least one photo"),
        (["a", "b", "a"], "need each photo once .* a is there 2 times"),
        (["../a"], "need names of photos inside their folder"),
        (["/a"], "need names of photos inside their folder"),
    ],
)
def test_malformed_lists_are_refused(voc: Path, lines: list[str], complaint: str) -> None:
    write_list(voc, *lines)
    with pytest.raises(UserError, match=complaint):
        VOCDataset(voc, "train")


def test_a_list_that_is_not_utf_8_is_refused(voc: Path) -> None:
    (voc / "ImageSets/Segmentation/train.txt").write_bytes("né".encode("latin-1"))
    with pytest.raises(UserError, match=r"need a list in UTF-8, .*train\.txt"):
        VOCDataset(voc, "train")


def test_names_may_hold_spaces(voc: Path) -> None:
    for name in ("my dog", "the cat sat"):
        (voc / "JPEGImages" / "a.jpg").with_stem(name).write_bytes((voc / "JPEGImages" / "a.jpg").read_bytes())
    write_list(voc, "my dog", "the cat sat", "b 1")
    assert VOCDataset(voc, "train").names == ["my dog", "the cat sat", "b"]


def test_a_demo_without_its_data_says_how_to_draw_it(tmp_path):
    with pytest.raises(UserError, match=r"draw PartShapes there: afa-data partshapes root=.*partshapes$"):
        VOCDataset(tmp_path / "partshapes", "train")
