from __future__ import annotations

import pytest

from afa_wsss.data.files.mask_colors import parse_class_list
from afa_wsss.errors import UserError

RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)


@pytest.mark.parametrize(
    "lines",
    [
        ["cat 255 0 0", "dog 0 255 0"],
        ["cat,255,0,0", "dog,0,255,0"],
        ["cat: 255,0,0", "dog: 0,255,0"],
        ["cat;255;0;0", "dog;0;255;0"],
        ["cat #ff0000", "dog #0f0"],
        ["cat,#FF0000", "dog=#00FF00"],
        ["cat (255, 0, 0)", "dog rgb(0, 255, 0)"],
        ["background 0 0 0", "cat 255 0 0", "dog 0 255 0"],
        ["# label:color_rgb:parts:actions", "background:0,0,0::", "cat:255,0,0::", "dog:0,255,0::"],
        ["name,r,g,b", "cat,255,0,0", "dog,0,255,0"],
        ["1 cat 255 0 0", "2 dog 0 255 0"],
        ["0 background 0 0 0", "1 cat 255 0 0", "2 dog 0 255 0"],
    ],
)
def test_colors_are_read_however_they_are_written(lines: list[str]) -> None:
    found = parse_class_list(lines, "classes.txt")
    assert found.names == ("cat", "dog")
    assert found.colors == {BLACK: 0, RED: 1, GREEN: 2}


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["cat", "traffic light"], ("cat", "traffic light")),
        (["3 wheeler", "car"], ("3 wheeler", "car")),
        (["class 1", "class 2"], ("class 1", "class 2")),
        (["1 cat", "2 dog"], ("cat", "dog")),
        (["0: background", "1: cat"], ("cat",)),
        (["background", "cat"], ("cat",)),
        (["_background_", "cat"], ("cat",)),
        (["__ignore__", "_background_", "cat", "dog"], ("cat", "dog")),
        (["Background", "void", "cat"], ("cat",)),
        (["#cat", "dog"], ("#cat", "dog")),
        ([], ()),
    ],
)
def test_numbers_and_lines_that_are_no_classes_are_left_out(lines: list[str], names: tuple[str, ...]) -> None:
    found = parse_class_list(lines, "classes.txt")
    assert (found.names, found.colors) == (names, {})


@pytest.mark.parametrize(
    ("lines", "by_number"),
    [
        (["cat", "dog"], ("cat", "dog")),
        (["background", "cat 255 0 0", "dog 0 255 0"], ("background", "cat", "dog")),
        (["cat", "void", "BG", "dog"], ("cat", None, "BG", "dog")),
        (["__ignore__", "_background_", "cat"], ("_background_", "cat")),
        (["void", "cat", "background"], (None, "cat", "background")),
        (["0 void", "1 background", "2 cat"], (None, "background", "cat")),
        (["1 cat", "2 dog"], (None, "cat", "dog")),
        ([], ()),
    ],
)
def test_numbers_mean_lines(lines: list[str], by_number: tuple[str | None, ...]) -> None:
    assert parse_class_list(lines, "classes.txt").by_number == by_number


def test_a_name_that_photos_are_labeled_with_is_a_class_as_it_stands() -> None:
    lines = ["void", "boeing 7 4 7"]
    assert parse_class_list(lines, "classes.txt", used=lines).names == ("void", "boeing 7 4 7")
    assert parse_class_list(["background", "cat"], "classes.txt", used=["background"]).names == ("cat",)


def test_the_place_of_the_background_and_the_color_of_what_is_ignored_are_kept() -> None:
    found = parse_class_list(["__ignore__ 255 255 255", "cat 255 0 0", "background 9 9 9"], "classes.txt")
    assert found.background_line == 1
    assert found.colors == {(255, 255, 255): 255, RED: 1, (9, 9, 9): 0}
    assert found.notes == ("'__ignore__' is no class", "'background' is no class")


def test_two_classes_of_one_color_are_refused() -> None:
    with pytest.raises(UserError, match=r"need one color for each class, classes\.txt has \(255, 0, 0\) twice"):
        parse_class_list(["cat 255 0 0", "dog #f00"], "classes.txt")
