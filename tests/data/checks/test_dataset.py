from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.data.samples import Noise

from afa_wsss.data.checks.dataset import BETWEEN_SPLITS, check_dataset
from afa_wsss.data.checks.problems import Problem, Report
from afa_wsss.errors import UserError


def test_splits_are_opened_by_use_and_named_in_the_findings() -> None:
    opened, bars = [], []

    def open_split(use: str, /, *, with_masks: bool, report: Report) -> Noise:
        opened.append((use, with_masks))
        report([Problem("odd list", use, f"the list of {use} is odd", "note")])
        return Noise(with_masks=with_masks)

    def progress(items: Iterable[Any], /, *, description: str, total: int) -> Iterable[Any]:
        bars.append((description, total))
        return items

    found = check_dataset(open_split, {"train": "train_aug", "val": "val", "test": "minival"}, progress=progress)
    assert opened == [("train", False), ("val", True), ("test", True)]
    assert bars == [("check train_aug", 6), ("check val", 6), ("check minival", 6)]
    assert found.counts["minival"] == (6, 0, {"cat": 6, "dog": 0})
    assert [problem.name for problem in found.problems["train_aug"]] == ["train"]
    assert [problem.name for problem in found.problems[BETWEEN_SPLITS]] == ["dog", *"abcdef"]


def test_a_split_that_cannot_be_opened_is_an_error_and_the_others_are_checked() -> None:
    def open_split(use: str, /, *, with_masks: bool, report: Report) -> Noise:
        del report
        if use == "train":
            raise UserError("need a list, got none")
        return Noise(with_masks=with_masks)

    found = check_dataset(open_split, {"train": "new", "val": "old"})
    assert found.problems["new"] == [Problem("split unusable", "new", "need a list, got none")]
    assert (list(found.counts), found.problems["old"]) == (["old"], [])


def test_equal_messages_of_two_splits_are_kept_once() -> None:
    def open_split(use: str, /, *, with_masks: bool, report: Report) -> Noise:
        report([Problem("row malformed", "row 3", "need a class in row 3")] * 2)
        report([Problem("no class", use, f"{use} has none")])
        return Noise(with_masks=with_masks)

    found = check_dataset(open_split, {"train": "train", "val": "val"})
    assert [problem.kind for problem in found.problems["train"]] == ["row malformed", "no class"]
    assert [problem.kind for problem in found.problems["val"]] == ["no class"]
