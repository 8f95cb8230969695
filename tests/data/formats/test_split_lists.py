"""Lists ``train.txt`` and ``val.txt`` beside labels: what a bad line, and a photo in both, do."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.data.formats.labeled import read_labeled, write_labeled

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.formats.folder import FolderDataset

SIX = tuple(f"{number}.jpg" for number in range(1, 7))
TABLE = "file,label\n" + "".join(f"{photo},{'dog' if int(photo[0]) % 2 else 'cat'}\n" for photo in SIX)


def _held_out(root: Path, **lists: str) -> tuple[list[str], list[Problem]]:
    write_labeled(root, SIX, {"labels.csv": TABLE, **{f"{name}.txt": text for name, text in lists.items()}})
    _, _, problems = read_labeled(root, "val")
    problems = [problem for problem in problems if {"list", "lists", "split"} & set(problem.kind.split())]
    return list(FolderDataset(root, "val", report=lambda _: None).names), problems


@pytest.mark.parametrize("lists", [{}, {"train": "3.jpg\n4.jpg\n5.jpg\n6.jpg\n"}])
def test_a_line_without_photo_is_reported_and_the_others_count(tmp_path: Path, lists: dict[str, str]) -> None:
    held_out, problems = _held_out(tmp_path, val="1.jpg\n2.jpg\n9.jpg\n", **lists)
    assert held_out == ["1", "2"]
    (problem,) = problems
    assert problem.level == "warning"
    assert "val.txt, 9.jpg names none, or several; fix the line" in problem.message


def test_a_list_of_other_photos_is_reported(tmp_path: Path) -> None:
    _, problems = _held_out(tmp_path, val="obj/x.jpg\nobj/y.jpg\n1.jpg\n")
    (problem,) = problems
    assert "2 of 3 lines name none, or several, as obj/x.jpg: the list is not used" in problem.message


@pytest.mark.parametrize("more", [" 0", "\t1", " masks/1.png"])
def test_a_list_may_have_a_class_or_a_mask_behind_each_photo(tmp_path: Path, more: str) -> None:
    held_out, problems = _held_out(tmp_path, val=f"1.jpg{more}\n2.jpg{more}\n9.jpg{more}\n")
    assert held_out == ["1", "2"]
    (problem,) = problems
    assert "9.jpg" in problem.message
    _, problems = _held_out(tmp_path, val=f"obj/x.jpg{more}\nobj/y.jpg{more}\n")
    (problem,) = problems
    assert "the list is not used" in problem.message


def test_a_text_that_is_no_list_is_no_problem(tmp_path: Path) -> None:
    _, problems = _held_out(tmp_path, test="tested on Monday\nby Ann\n")
    assert problems == []


@pytest.mark.parametrize("name", ["val", "dev"])
def test_a_photo_in_both_lists_is_held_out_and_reported(tmp_path: Path, name: str) -> None:
    held_out, problems = _held_out(tmp_path, train="".join(f"{photo}\n" for photo in SIX), **{name: "1.jpg\n2.jpg\n"})
    assert held_out == ["1", "2"]
    assert [problem.name for problem in problems] == ["1.jpg", "2.jpg"]
    assert f"1.jpg is in train.txt and {name}.txt: it is held out" in problems[0].message


def test_photos_in_neither_list_are_trained_on_and_reported(tmp_path: Path) -> None:
    held_out, problems = _held_out(tmp_path, train="1.jpg\n2.jpg\n", val="3.jpg\n4.jpg\n")
    assert held_out == ["3", "4"]
    assert [(problem.name, problem.level) for problem in problems] == [("5.jpg", "warning"), ("6.jpg", "warning")]
    assert "5.jpg has neither: it is trained on; mark it" in problems[0].message


def test_photos_outside_of_the_only_list_are_held_out_where_it_is_for_training(tmp_path: Path) -> None:
    held_out, problems = _held_out(tmp_path, train="1.jpg\n2.jpg\n3.jpg\n4.jpg\n")
    assert (held_out, problems) == (["5", "6"], [])


def test_lists_count_for_class_folders_as_for_tables(tmp_path: Path) -> None:
    photos = tuple(f"{'cat' if number % 2 else 'dog'}/{number}.jpg" for number in range(1, 7))
    write_labeled(tmp_path, photos, {"train.txt": "cat/1.jpg\ndog/2.jpg\n", "val.txt": "cat/3.jpg\n"})
    _, _, problems = read_labeled(tmp_path, "train")
    assert [problem.name for problem in problems if problem.kind == "split not named"] == [
        "cat/5.jpg",
        "dog/4.jpg",
        "dog/6.jpg",
    ]


def test_a_link_to_itself_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    held_out, problems = _held_out(tmp_path, val="1.jpg\n2.jpg\n")
    assert (held_out, problems) == (["1", "2"], [])
