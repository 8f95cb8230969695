from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.files import photos
from afa_wsss.data.files.photos import write_mask
from afa_wsss.data.formats.classes import VOC_CLASSES, voc_palette
from afa_wsss.data.formats.voc import VOCDataset
from afa_wsss.errors import UserError

CONTENT = {"a": [1], "b": [2, 15], "c": [20]}
"""Photos and the classes in their masks."""


def write_voc(root: Path, *, masks: str = "SegmentationClass") -> Path:
    """Three photos of 12 x 8 in one list, with masks."""
    for folder in ("JPEGImages", masks, "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, classes in CONTENT.items():
        Image.new("RGB", (12, 8), (classes[0] * 10, 0, 0)).save(root / "JPEGImages" / f"{name}.jpg")
        label = np.zeros((8, 12), dtype=np.uint8)
        label[0] = 255
        for row, value in enumerate(classes):
            label[row + 2] = value
        write_mask(root / masks / f"{name}.png", label, voc_palette(21))
    write_list(root, *CONTENT)
    return root


def write_list(root: Path, *lines: str, split: str = "train") -> None:
    (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_annotation(root: Path, name: str, *classes: str) -> None:
    objects = "".join(
        f"<object><name>{kind}</name><difficult>1</difficult><part><name>head</name></part></object>"
        for kind in classes
    )
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation><folder>x</folder>{objects}</annotation>")


def write_class_lists(root: Path, *, split: str = "train", present: dict[str, str]) -> None:
    (root / "ImageSets" / "Main").mkdir()
    for kind in VOC_CLASSES:
        rows = "".join(f"{name} {'1' if present[name] == kind else '-1'}\n" for name in CONTENT)
        (root / "ImageSets" / "Main" / f"{kind}_{split}.txt").write_text(rows)


def classes_of(row: np.ndarray) -> set[str]:
    return {VOC_CLASSES[index] for index in np.flatnonzero(row)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "VOC2012")


def test_it_keeps_the_contract_of_data_sets(root: Path) -> None:
    dataset: SegmentationDataset = VOCDataset(root, "train", with_masks=True)
    assert len(dataset) == 3
    assert list(dataset.names) == ["a", "b", "c"]
    assert dataset.class_names == VOC_CLASSES
    assert dataset.palette.shape == (21, 3)
    assert dataset.image_labels.shape == (3, 20)
    sample = dataset.sample(1)
    assert sample.name == "b"
    assert sample.image.shape == (8, 12, 3)
    assert sample.mask is not None
    assert set(np.unique(sample.mask)) == {0, 2, 15, 255}
    np.testing.assert_array_equal(sample.image_labels, dataset.image_labels[1])


@pytest.mark.parametrize("above", [".", "VOC2012", "VOCdevkit/VOC2012"])
def test_root_may_be_a_folder_above(tmp_path: Path, above: str) -> None:
    write_voc(tmp_path / above)
    assert VOCDataset(tmp_path, "train").root == tmp_path / above


def test_labels_come_from_annotations_first(root: Path) -> None:
    for name in CONTENT:
        write_annotation(root, name, "dog", "person")
    write_class_lists(root, present=dict.fromkeys(CONTENT, "cat"))
    labels = VOCDataset(root, "train").image_labels
    assert all(classes_of(row) == {"dog", "person"} for row in labels)


def test_labels_come_from_class_lists_where_an_annotation_is_missing(root: Path) -> None:
    write_annotation(root, "a", "dog")
    write_class_lists(root, present={"a": "cat", "b": "cow", "c": "bus"})
    labels = VOCDataset(root, "train").image_labels
    assert [classes_of(row) for row in labels] == [{"cat"}, {"cow"}, {"bus"}]


def test_labels_come_from_masks_at_last(root: Path) -> None:
    labels = VOCDataset(root, "train").image_labels
    assert [{int(index) + 1 for index in np.flatnonzero(row)} for row in labels] == [{1}, {2, 15}, {20}]
    assert labels.dtype == np.uint8


def test_labels_are_read_once(root: Path) -> None:
    dataset = VOCDataset(root, "train")
    first = dataset.image_labels
    for path in (root / "SegmentationClass").iterdir():
        path.unlink()
    assert dataset.image_labels is first
    assert dataset.sample(0).mask is None


def test_training_reads_no_mask_where_there_are_labels(root: Path) -> None:
    for name in CONTENT:
        write_annotation(root, name, "dog")
        (root / "SegmentationClass" / f"{name}.png").unlink()
    dataset = VOCDataset(root, "train")
    dataset.check_files()
    assert dataset.sample(2).mask is None


def test_augmented_masks_are_those_of_photos_that_voc_has_none_for(root: Path) -> None:
    write_voc(root, masks="SegmentationClassAug")
    (root / "SegmentationClass" / "b.png").unlink()

    def folders(**settings: str) -> list[str]:
        dataset = VOCDataset(root, "train", with_masks=True, **settings)
        assert dataset.count_masks() == 3
        return [Path(dataset.mask_path(index)).parent.name for index in range(3)]

    assert folders() == ["SegmentationClass", "SegmentationClassAug", "SegmentationClass"]
    assert folders(mask_folder="SegmentationClassAug") == ["SegmentationClassAug"] * 3


def test_the_augmented_list_needs_no_file(root: Path) -> None:
    (root / "SegmentationClass").rename(root / "SegmentationClassAug")
    write_list(root, "b", split="val")
    (root / "SegmentationClassAug" / "._a.png").write_bytes(b"left by a Mac")
    assert VOCDataset(root, "train_aug").names == ["a", "c"]
    write_list(root, "c", split="train_aug")
    assert VOCDataset(root, "train_aug").names == ["c"]


def test_a_test_split_as_voc_ships_it_has_neither_labels_nor_masks(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGB", (12, 8)).save(root / "JPEGImages" / "t.jpg")
    write_list(root, "t", split="test")
    with caplog.at_level("INFO"):
        dataset = VOCDataset(root, "test", with_masks=True)
        dataset.check_files()
        assert not dataset.image_labels.any()
    assert dataset.sample(0).mask is None
    assert "test.txt has image labels: classes are not scored" in caplog.text
    with pytest.raises(UserError, match=r"need image labels for .*test\.txt"):
        _ = VOCDataset(root, "test").image_labels


def test_lists_may_have_more_columns_blank_lines_and_a_byte_order_mark(root: Path) -> None:
    write_list(root, "\ufeffc 1", "", "  a\t/SegmentationClass/a.png 0  ")
    assert VOCDataset(root, "train").names == ["c", "a"]


def test_classes_json_names_the_classes(root: Path) -> None:
    content = {"classes": [f"kind {index}" for index in range(20)], "palette": [[index, 0, 9] for index in range(21)]}
    (root / "classes.json").write_text(json.dumps(content))
    dataset = VOCDataset(root, "train")
    assert dataset.class_names[3] == "kind 3"
    assert dataset.palette[7].tolist() == [7, 0, 9]
    del content["palette"]
    (root / "classes.json").write_text(json.dumps(content))
    np.testing.assert_array_equal(VOCDataset(root, "train").palette, voc_palette(21))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "need {"),
        ("[]", "need {"),
        ('{"names": []}', "need {"),
        ('{"classes": []}', "need 1 to 254 different classes"),
        ('{"classes": ["a", "a"]}', "need 1 to 254 different classes"),
        (json.dumps({"classes": [str(index) for index in range(255)]}), "need 1 to 254 different classes"),
        ('{"classes": ["a"], "palette": [[0, 0, 0]]}', "need a colour for background and each of 1 classes"),
        ('{"classes": ["a"], "palette": [[0, 0, 0], [0, 0, 300]]}', "need {"),
    ],
)
def test_wrong_classes_json_is_refused(root: Path, content: str, complaint: str) -> None:
    (root / "classes.json").write_text(content)
    with pytest.raises(UserError, match=rf"^{complaint}.*classes\.json"):
        VOCDataset(root, "train")


def test_missing_root_and_missing_list_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"need data.root to be a folder with JPEGImages .* which does not exist"):
        VOCDataset(tmp_path / "nowhere", "train")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=r"need data.root .*bare, which has none"):
        VOCDataset(tmp_path / "bare", "train")
    with pytest.raises(UserError, match=r"need a list of photos at .*val\.txt, found none; lists there: train"):
        VOCDataset(root, "val")


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([""], "need at least one photo"),
        (["a", "b", "a"], "need each photo once .* a is there 2 times"),
        (["../a"], "need names of photos inside their folder"),
        (["/a"], "need names of photos inside their folder"),
    ],
)
def test_wrong_lists_are_refused(root: Path, lines: list[str], complaint: str) -> None:
    write_list(root, *lines)
    with pytest.raises(UserError, match=complaint):
        VOCDataset(root, "train")


def test_list_that_is_no_text_is_refused(root: Path) -> None:
    (root / "ImageSets/Segmentation/train.txt").write_bytes("né".encode("latin-1"))
    with pytest.raises(UserError, match=r"need a list in UTF-8, .*train\.txt"):
        VOCDataset(root, "train")


def test_names_may_hold_spaces(root: Path) -> None:
    for name in ("my dog", "the cat sat"):
        (root / "JPEGImages" / "a.jpg").with_stem(name).write_bytes((root / "JPEGImages" / "a.jpg").read_bytes())
    write_list(root, "my dog", "the cat sat", "b 1")
    assert VOCDataset(root, "train").names == ["my dog", "the cat sat", "b"]


def test_missing_photos_are_found_without_decoding_any(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "read_photo", None)
    VOCDataset(root, "train", with_masks=True).check_files()
    (root / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(UserError, match=r"need every photo that .*train\.txt lists, 1 of 3 missing: .*b\.jpg"):
        VOCDataset(root, "train").check_files()


@pytest.mark.parametrize("with_masks", [True, False], ids=["masks-wanted", "labels-from-masks"])
def test_missing_masks_are_found_where_they_are_needed(root: Path, with_masks: bool) -> None:
    (root / "SegmentationClass" / "c.png").unlink()
    with pytest.raises(UserError, match=r"need every mask that .* lists, 1 of 3 missing: .*c\.png"):
        VOCDataset(root, "train", with_masks=with_masks).check_files()


@pytest.mark.parametrize("content", [b"", b"not a photo"], ids=["empty", "text"])
def test_files_that_are_no_photos_are_found_before_training(root: Path, content: bytes) -> None:
    for name in "ab":
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(content)
    with pytest.raises(
        UserError, match=r"need a photo that can be decoded, .*a\.jpg .* \(1 more like it; afa-data check"
    ):
        VOCDataset(root, "train", with_masks=True).check_files()


def test_masks_of_another_size_are_found_before_training(root: Path) -> None:
    write_mask(root / "SegmentationClass" / "a.png", np.zeros((12, 8), dtype=np.uint8), voc_palette(21))
    with pytest.raises(UserError, match="need a mask of its photo's size, a has a photo of 12x8 and a mask of 8x12"):
        VOCDataset(root, "train", with_masks=True).check_files()


def test_a_split_without_masks_is_served_without_them(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_annotation(root, "a", "dog")
    for path in (root / "SegmentationClass").iterdir():
        path.unlink()
    write_list(root, "a", split="test")
    with caplog.at_level("INFO"):
        dataset = VOCDataset(root, "test", with_masks=True)
        dataset.check_files()
    assert dataset.sample(0).mask is None
    assert "no photo of" in caplog.text


def test_a_folder_without_any_labels_is_refused(root: Path) -> None:
    for path in (root / "SegmentationClass").iterdir():
        path.unlink()
    (root / "SegmentationClass").rmdir()
    with pytest.raises(UserError, match=r"need image labels .* has neither Annotations, nor .* nor masks .*; add one"):
        _ = VOCDataset(root, "train").image_labels


def test_photo_without_a_class_is_named_where_it_is_to_be_trained_on(root: Path) -> None:
    write_mask(root / "SegmentationClass" / "b.png", np.zeros((8, 12), dtype=np.uint8), voc_palette(21))
    with pytest.raises(UserError, match=r"need at least one class for every photo .*, b of .* has none; label"):
        _ = VOCDataset(root, "train").image_labels
    assert not VOCDataset(root, "train", with_masks=True).image_labels[1].any()


def test_annotations_of_unknown_classes_and_broken_ones_are_refused(root: Path) -> None:
    for name in CONTENT:
        write_annotation(root, name, "dog", "unicorn")
    with pytest.raises(UserError, match=r"need objects of 20 known classes, .*a\.xml names \['unicorn'\]"):
        _ = VOCDataset(root, "train").image_labels
    (root / "Annotations" / "a.xml").write_text("<annotation>")
    with pytest.raises(UserError, match=r"need an annotation in VOC's XML, .*a\.xml cannot be parsed"):
        _ = VOCDataset(root, "train").image_labels


@pytest.mark.parametrize(("rows", "state"), [("a 1\nb -1\n", "c has none"), ("a 1\nb yes\nc 1\n", "b says 'yes'")])
def test_class_lists_must_tell_of_every_photo(root: Path, rows: str, state: str) -> None:
    write_class_lists(root, present=dict.fromkeys(CONTENT, "cat"))
    (root / "ImageSets/Main/dog_train.txt").write_text(rows)
    with pytest.raises(UserError, match=rf"need a line with 1, 0 or -1 for every photo in .*dog_train\.txt, {state}"):
        _ = VOCDataset(root, "train").image_labels


def test_mask_of_another_size_than_its_photo_is_refused(root: Path) -> None:
    write_mask(root / "SegmentationClass" / "a.png", np.ones((12, 8), dtype=np.uint8), voc_palette(21))
    dataset = VOCDataset(root, "train", with_masks=True)
    with pytest.raises(UserError, match="need a mask of its photo's size, a has a photo of 12x8 and a mask of 8x12"):
        dataset.sample(0)


@pytest.mark.data
@pytest.mark.parametrize(("split", "count"), [("train", 47), ("val", 18)])
def test_real_photos_have_all_classes_in_both_lists(voc_mini: Path, split: str, count: int) -> None:
    dataset = VOCDataset(voc_mini, split, with_masks=True)
    dataset.check_files()
    assert dataset.image_labels.shape == (count, 20)
    assert dataset.image_labels.any(axis=0).all()
    assert dataset.image_labels.any(axis=1).all()


@pytest.mark.data
def test_real_masks_and_labels_agree(voc_mini: Path) -> None:
    dataset = VOCDataset(voc_mini, "val", with_masks=True)
    for index in range(3):
        sample = dataset.sample(index)
        assert sample.mask is not None
        present = {int(value) for value in np.unique(sample.mask)} - {0, 255}
        assert present == {int(value) + 1 for value in np.flatnonzero(sample.image_labels)}


def test_an_index_takes_half_a_kilobyte_a_photo(root: Path) -> None:
    """Names and labels, as read and as kept, and no path of any file."""
    names = [f"{number:07d}" for number in range(8000)]
    (root / "Annotations").mkdir()
    write_list(root, *names)
    VOCDataset(root, "train").label_cache.write({name: [number % 20] for number, name in enumerate(names)})
    VOCDataset(root, "train")  # loads what it needs
    tracemalloc.start()
    try:
        dataset = VOCDataset(root, "train")
        assert dataset.label_source == "cache"
        assert dataset.image_labels.sum() == len(names)
        assert tracemalloc.get_traced_memory()[1] < 512 * len(names)
    finally:
        tracemalloc.stop()


def test_a_look_at_every_file_keeps_nothing_of_those_that_are_whole(root: Path) -> None:
    names = [f"{number:07d}" for number in range(5000)]
    for name in names:
        (root / "JPEGImages" / f"{name}.jpg").symlink_to(root / "JPEGImages" / "a.jpg")
        (root / "SegmentationClass" / f"{name}.png").symlink_to(root / "SegmentationClass" / "a.png")
    write_list(root, *names)
    dataset = VOCDataset(root, "train", with_masks=True)
    dataset.check_files()  # loads what it needs
    tracemalloc.start()
    try:
        dataset.check_files()
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()


def test_missing_photos_are_told_of_before_missing_masks_and_damaged_photos(root: Path) -> None:
    (root / "JPEGImages" / "a.jpg").write_bytes(b"")
    (root / "SegmentationClass" / "b.png").unlink()
    dataset = VOCDataset(root, "train", with_masks=True)
    with pytest.raises(UserError, match=r"^need every mask that .*train\.txt lists, 1 of 3 missing: .*b\.png; "):
        dataset.check_files()
    (root / "JPEGImages" / "c.jpg").unlink()
    with pytest.raises(UserError, match=r"^need every photo that .*train\.txt lists, 1 of 3 missing: .*c\.jpg; "):
        dataset.check_files()
