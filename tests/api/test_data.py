from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.data.samples import BROKEN, ERRORS, write_annotation, write_broken_folder, write_coco, write_list, write_voc

from afa_wsss.api.data import (
    COCOSettings,
    PartShapesSettings,
    PreparedCOCO,
    VOCSettings,
    draw_partshapes,
    prepare_coco,
    prepare_voc,
)
from afa_wsss.api.data_check import CheckSettings, FolderSettings, check_data, check_folder
from afa_wsss.data import COCODataset, DataSettings, FolderDataset, VOCDataset
from afa_wsss.data.files import label_cache
from afa_wsss.errors import UserError


class Bar:
    """A progress bar that notes its descriptions, its totals and how many items passed."""

    def __init__(self) -> None:
        self.bars: list[tuple[str, int, int]] = []

    def __call__(self, items: Iterable[Any], /, *, description: str, total: int) -> Iterable[Any]:
        passed = 0
        for item in items:
            yield item
            passed += 1
        self.bars.append((description, total, passed))


# --- PartShapes ---


def test_partshapes_is_drawn_unless_it_is_there(tmp_path: Path) -> None:
    settings, bar = PartShapesSettings(str(tmp_path / "drawn"), train=3, val=2, size=32), Bar()
    assert draw_partshapes(settings, progress=bar) == (tmp_path / "drawn", 5)
    assert bar.bars == [("draw PartShapes", 5, 5)]
    assert len(VOCDataset(settings.root, "train")) == 3
    assert draw_partshapes(settings) == (tmp_path / "drawn", 0)


def test_unknown_classes_are_refused() -> None:
    with pytest.raises(UserError, match="need classes to be one of demo, parts, pairs; got letters") as refusal:
        PartShapesSettings(classes="letters")
    assert refusal.value.arguments == ("classes",)


# --- VOC ---


def test_voc_is_prepared_and_checked(tmp_path: Path) -> None:
    root, bar = write_voc(tmp_path / "VOC2012"), Bar()
    for name in "abc":
        write_annotation(root, name, "dog")
    write_list(root, "c", split="val")
    found = prepare_voc(VOCSettings(str(tmp_path), output_dir=str(tmp_path / "out")), progress=bar)
    assert (found.labeled, found.augmented, found.write_error, found.train_split) == (3, None, None, "train")
    assert found.check.root == root
    assert [bar for bar in bar.bars if bar[0] == "read annotations"] == [("read annotations", 3, 3)]
    assert {split: counts[:2] for split, counts in found.check.findings.counts.items()} == {
        "train": (3, 3),
        "val": (1, 1),
    }
    assert found.check.file == tmp_path / "out" / "problems.json"
    assert VOCDataset(root, "train").label_source == "cache"


def test_voc_that_cannot_be_written_to_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    root = write_voc(tmp_path / "VOC2012")
    write_annotation(root, "a", "dog")
    monkeypatch.setattr(label_cache, "write_atomically", refuse)
    found = prepare_voc(VOCSettings(str(root), output_dir=str(tmp_path / "out")))
    assert (found.labeled, found.write_error) == (None, "Read-only file system")


def test_voc_without_any_known_list_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "VOC2012")
    (root / "ImageSets" / "Segmentation" / "train.txt").unlink()
    write_annotation(root, "a", "unicorn")
    with pytest.raises(UserError, match="need a list train, val or test in"):
        prepare_voc(VOCSettings(str(root)))


# --- COCO ---


def test_coco_is_prepared_split_by_split(tmp_path: Path) -> None:
    seen: list[PreparedCOCO] = []
    root, bar = write_coco(tmp_path), Bar()
    (first,) = prepare_coco(COCOSettings(str(root)), progress=bar, on_split=seen.append)
    assert first == ("val2014", 3, 0, 3, root / "masks" / "val2014")
    assert bar.bars == [("draw masks of val2014", 3, 3)]
    assert seen == [first]
    (again,) = prepare_coco(COCOSettings(str(root)))
    assert (again.deleted, again.drawn) == (0, 0)
    (strict,) = prepare_coco(COCOSettings(str(root), crowd=False, min_area=3))
    assert (strict.labeled, strict.deleted, strict.drawn) == (2, 3, 2)
    assert len(COCODataset(root, "val2014", with_masks=True)) == 2


def test_coco_may_be_prepared_without_masks(tmp_path: Path) -> None:
    (found,) = prepare_coco(COCOSettings(str(write_coco(tmp_path)), splits=["val2014"], masks=False))
    assert (found.labeled, found.drawn) == (3, None)
    assert not found.masks.exists()


def test_coco_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"need photos in .*train2014 or its like") as refusal:
        prepare_coco(COCOSettings(str(tmp_path)))
    assert refusal.value.arguments == ("root",)


# --- checks ---


def test_a_folder_is_checked_and_what_is_wrong_is_written_down(tmp_path: Path) -> None:
    write_broken_folder(tmp_path / "photos")
    data = DataSettings(dataset=FolderDataset, root=str(tmp_path / "photos"), val_split="all")
    found = check_data(CheckSettings(data, output_dir=str(tmp_path / "out")))
    assert {problem.kind for problem in found.findings.problems["all"]} == {*BROKEN, "class in every photo"}
    assert found.errors == len(ERRORS)
    written = json.loads(found.file.read_text())
    assert written["errors"] == len(ERRORS)
    assert written["splits"] == {"all": {"photos": 12, "masks": 11, "classes": {"dog": 12}}}
    rows = {(row["split"], row["level"], row["kind"], row["name"], row["message"]) for row in written["problems"]}
    assert rows == {
        ("all", problem.level, problem.kind, problem.name, problem.message)
        for problem in found.findings.problems["all"]
    }


def test_a_split_that_cannot_be_opened_is_a_problem_and_the_other_is_checked(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "VOC2012")
    data = DataSettings(
        dataset=partial(VOCDataset, difficult=False), root=str(root), train_split="new", val_split="train"
    )
    found = check_data(CheckSettings(data, output_dir=str(tmp_path / "out")))
    assert [(problem.kind, problem.level) for problem in found.findings.problems["new"]] == [
        ("split unusable", "error")
    ]
    assert list(found.findings.counts) == ["train"]
    assert found.errors == 1


def test_what_is_wrong_with_both_splits_is_reported_once(tmp_path: Path) -> None:
    write_broken_folder(tmp_path / "photos")
    (tmp_path / "photos" / "labels.csv").write_text("good.jpg,dog\n../a.jpg,dog\nCMYK.jpg,cat\n")
    found = check_folder(FolderSettings(str(tmp_path / "photos"), output_dir=str(tmp_path / "out")))
    kinds = [problem.kind for problems in found.findings.problems.values() for problem in problems]
    assert kinds.count("name leaves folder") == 1


def test_rows_that_leave_no_class_are_all_listed(tmp_path: Path) -> None:
    write_broken_folder(tmp_path / "photos")
    (tmp_path / "photos" / "labels.csv").write_text("file,labels\n/data/a.jpg,dog\n/data/b.jpg,cat\n")
    problems = check_folder(FolderSettings(str(tmp_path / "photos"), output_dir=str(tmp_path / "out"))).findings.all()
    assert [problem.name for problem in problems if problem.kind == "name leaves folder"] == ["/data/a", "/data/b"]
    with pytest.raises(UserError, match=r"holds '/data/a', .* \(1 more of this kind; afa-data check lists all\)"):
        FolderDataset(tmp_path / "photos", "train")


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        (DataSettings(), ("data.train_split", "data.val_split")),
        (DataSettings(dataset=VOCDataset, train_split="train"), ("data.root",)),
        (DataSettings(root="photos", train_split="train"), ("data.dataset",)),
    ],
)
def test_what_is_missing_to_check_data_is_named(settings: DataSettings, arguments: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as refusal:
        check_data(CheckSettings(settings))
    assert refusal.value.arguments == arguments
