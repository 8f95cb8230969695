from __future__ import annotations

from pathlib import Path

from tests.data.samples import Noise, write_photo

from afa_wsss.data.checks.splits import compare_splits, count_labels
from afa_wsss.data.formats.folder import FolderDataset


def test_splits_are_compared(tmp_path: Path) -> None:
    for name in "abcd":
        write_photo(tmp_path / f"{name}.jpg", 9 if name in "ad" else ord(name))
    rows = "a.jpg,dog,train\nb.jpg,cat,val\nc.jpg,dog,val\nd.jpg,cat,val\n"
    (tmp_path / "labels.csv").write_text(f"file,labels,split\n{rows}")
    train, both = FolderDataset(tmp_path, "train"), FolderDataset(tmp_path, "all")
    found = compare_splits({"train": train, "val": both})
    assert [(problem.kind, problem.name, problem.level) for problem in found] == [
        ("class without photos", "cat", "warning"),
        ("in train and val", "a", "warning"),
        ("in train and val", "d", "warning"),
    ]
    assert [problem.message.split(" to train with, ")[1] for problem in found] == [
        "'cat' has none: all 2 are held out; add some or leave the class out",
        "a is in both; take it off one list",
        f"d is in both, as {tmp_path / 'a.jpg'}; take it off one list",
    ]
    assert compare_splits({"train": both}) == []
    assert count_labels(both) == {"cat": 2, "dog": 2}


def test_data_sets_without_files_are_compared_by_name() -> None:
    found = compare_splits({"train": Noise(), "val": Noise()})
    assert [problem.name for problem in found] == ["dog", *"abcdef"]


def test_a_validation_photo_without_a_class_is_reported(tmp_path: Path) -> None:
    for name in "ab":
        write_photo(tmp_path / f"{name}.jpg", ord(name))
    (tmp_path / "labels.csv").write_text("file,labels,split\na.jpg,dog,train\nb.jpg,,val\n")
    splits = {"train": FolderDataset(tmp_path, "train"), "val": FolderDataset(tmp_path, "val", with_masks=True)}
    (only,) = compare_splits(splits)
    assert (only.kind, only.name, only.level) == ("no class", "b", "warning")
