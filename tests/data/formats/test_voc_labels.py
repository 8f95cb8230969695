from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from tests.data.samples import VOC_CONTENT, write_annotation, write_class_lists

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.formats.classes import VOC_CLASSES, voc_palette
from afa_wsss.data.formats.voc import VOCDataset
from afa_wsss.data.formats.voc_labels import collect_voc_labels, read_annotation
from afa_wsss.errors import UserError


def _classes_of(row: np.ndarray) -> set[str]:
    return {VOC_CLASSES[index] for index in np.flatnonzero(row)}


def test_labels_come_from_annotations_first(voc: Path) -> None:
    for name in VOC_CONTENT:
        write_annotation(voc, name, "dog", "person")
    write_class_lists(voc, present=dict.fromkeys(VOC_CONTENT, "cat"))
    labels = VOCDataset(voc, "train").image_labels
    assert all(_classes_of(row) == {"dog", "person"} for row in labels)


def test_labels_come_from_class_lists_where_an_annotation_is_missing(voc: Path) -> None:
    write_annotation(voc, "a", "dog")
    write_class_lists(voc, present={"a": "cat", "b": "cow", "c": "bus"})
    labels = VOCDataset(voc, "train").image_labels
    assert [_classes_of(row) for row in labels] == [{"cat"}, {"cow"}, {"bus"}]


def test_labels_come_from_masks_where_there_is_nothing_else(voc: Path) -> None:
    labels = VOCDataset(voc, "train").image_labels
    assert [{int(index) + 1 for index in np.flatnonzero(row)} for row in labels] == [{1}, {2, 15}, {20}]
    assert labels.dtype == np.uint8


def test_labels_are_read_once(voc: Path) -> None:
    dataset = VOCDataset(voc, "train")
    first = dataset.image_labels
    for path in (voc / "SegmentationClass").iterdir():
        path.unlink()
    assert dataset.image_labels is first
    assert dataset.sample(0).mask is None


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "big5", "shift_jis", "euc-kr", "cp1252", "utf-16", "utf-8"])
def test_annotations_may_be_in_any_encoding_that_they_declare(tmp_path: Path, encoding: str) -> None:
    name = {"euc-kr": "고양이", "cp1252": "Kätzchen"}.get(encoding, "犬")
    text = f'<?xml version="1.0" encoding="{encoding}"?><annotation><object><name>{name}</name></object></annotation>'
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    assert read_annotation(tmp_path / "a.xml", difficult=True) == {name}


@pytest.mark.parametrize(
    ("encoding", "content"), [("klingon", b"cat"), ("hex", b"cat"), ("gb2312", b"\xff\xff"), ("", b"&")]
)
def test_annotations_in_an_unknown_or_wrong_encoding_are_refused(tmp_path: Path, encoding: str, content: bytes) -> None:
    head = f'<?xml version="1.0" encoding="{encoding}"?><annotation><object><name>'.encode()
    (tmp_path / "a.xml").write_bytes(head + content + b"</name></object></annotation>")
    with pytest.raises(UserError, match=r"need an annotation in VOC's XML, .*a\.xml cannot be parsed \(.*; replace it"):
        read_annotation(tmp_path / "a.xml", difficult=True)


def test_a_folder_without_any_labels_is_refused(voc: Path) -> None:
    for path in (voc / "SegmentationClass").iterdir():
        path.unlink()
    (voc / "SegmentationClass").rmdir()
    with pytest.raises(UserError, match=r"need image labels .* has neither Annotations, nor .* nor masks .*; add one"):
        _ = VOCDataset(voc, "train").image_labels


def test_a_photo_to_train_on_without_a_class_is_named(voc: Path) -> None:
    write_mask(voc / "SegmentationClass" / "b.png", np.zeros((8, 12), dtype=np.uint8), voc_palette(21))
    with pytest.raises(UserError, match=r"need at least one class for every photo .*, b of .* has none; label"):
        _ = VOCDataset(voc, "train").image_labels
    assert not VOCDataset(voc, "train", with_masks=True).image_labels[1].any()


def test_annotations_with_unknown_classes_and_broken_ones_are_refused(voc: Path) -> None:
    for name in VOC_CONTENT:
        write_annotation(voc, name, "dog", "unicorn")
    with pytest.raises(UserError, match=r"need objects of 20 known classes, .*a\.xml names \['unicorn'\]"):
        _ = VOCDataset(voc, "train").image_labels
    (voc / "Annotations" / "a.xml").write_text("<annotation>")
    with pytest.raises(UserError, match=r"need an annotation in VOC's XML, .*a\.xml cannot be parsed"):
        _ = VOCDataset(voc, "train").image_labels


@pytest.mark.parametrize(("rows", "state"), [("a 1\nb -1\n", "c has none"), ("a 1\nb yes\nc 1\n", "b has 'yes'")])
def test_class_lists_must_have_every_photo(voc: Path, rows: str, state: str) -> None:
    write_class_lists(voc, present=dict.fromkeys(VOC_CONTENT, "cat"))
    (voc / "ImageSets/Main/dog_train.txt").write_text(rows)
    with pytest.raises(UserError, match=rf"need a line with 1, 0 or -1 for every photo in .*dog_train\.txt, {state}"):
        _ = VOCDataset(voc, "train").image_labels


def test_missing_and_broken_masks_are_reported_as_such(voc: Path) -> None:
    (voc / "SegmentationClass" / "a.png").unlink()
    (voc / "SegmentationClass" / "b.png").write_bytes(b"no image")
    found: list[Problem] = []
    labels = VOCDataset(voc, "train", report=found.extend, with_masks=True).image_labels
    assert [(problem.kind, problem.name) for problem in found] == [("mask missing", "a"), ("mask unusable", "b")]
    assert labels.any(axis=1).tolist() == [False, False, True]


@pytest.mark.parametrize("difficult", [True, False])
def test_collected_labels_are_those_of_the_annotations(voc: Path, difficult: bool) -> None:
    for name in "abc":
        write_annotation(voc, name, "dog", "cat")  # all of them difficult
    (voc / "Annotations" / "a.xml").write_text("<annotation><object><name>cow</name></object></annotation>")
    parsed = VOCDataset(voc, "train", difficult=difficult, with_masks=True)
    assert parsed.label_source == "annotations"
    assert collect_voc_labels(voc.parent, difficult=difficult, workers=1) == 3
    collected = VOCDataset(voc, "train", difficult=difficult, with_masks=True)
    assert collected.label_source == "cache"
    np.testing.assert_array_equal(collected.image_labels, parsed.image_labels)
    assert collected.image_labels.sum() == (5 if difficult else 1)
    unspecified = VOCDataset(voc, "train", with_masks=True)
    assert unspecified.label_source == "cache", "any value of difficult"
    np.testing.assert_array_equal(unspecified.image_labels, collected.image_labels)
    assert VOCDataset(voc, "train", difficult=not difficult).label_source == "annotations"


def test_collected_labels_are_ignored_where_annotations_changed_later(voc: Path) -> None:
    for name in "abc":
        write_annotation(voc, name, "dog")
    collect_voc_labels(voc, difficult=True, workers=1)
    write_annotation(voc, "d", "cat")
    os.utime(voc / "Annotations", (2e9, 2e9))
    assert VOCDataset(voc, "train").label_source == "annotations"
    collect_voc_labels(voc, difficult=True, workers=1)
    os.utime(voc / "Annotations", (1e9, 1e9))
    assert VOCDataset(voc, "train").label_source == "cache"
    os.utime(voc / "Annotations" / "b.xml", (2e9, 2e9))
    assert VOCDataset(voc, "train").label_source == "annotations", "one was edited"
    os.utime(voc / "Annotations" / "b.xml", (1e9, 1e9))
    (voc / "image_labels.json").write_text("{")
    assert VOCDataset(voc, "train").label_source == "annotations"


def test_collecting_names_annotations_with_unknown_classes(voc: Path) -> None:
    assert collect_voc_labels(voc, difficult=True, workers=1) == 0
    write_annotation(voc, "a", "unicorn")
    with pytest.raises(UserError, match=r"need objects of 20 known classes, .*a\.xml names \['unicorn'\]"):
        collect_voc_labels(voc, difficult=True, workers=1)
