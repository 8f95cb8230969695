from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from afa_wsss.data.formats.folder_masks import find_masks
from afa_wsss.errors import UserError


def write(root: Path, *files: str, value: int = 1) -> None:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 2), value).save(path, format="PNG")


@pytest.mark.parametrize(
    ("mask", "pattern"),
    [
        ("masks/a.png", "<name>"),
        ("masks/a.PNG", "<name>"),
        ("masks/A.png", "<name>"),
        ("masks/a.tif", "<name>"),
        ("masks/a.bmp", "<name>"),
        ("Masks/a.png", "<name>"),
        ("masks/a_mask.png", "<name>_mask"),
        ("masks/a-mask.png", "<name>-mask"),
        ("masks/a_Segmentation.png", "<name>_Segmentation"),
        ("masks/mask_a.png", "mask_<name>"),
        ("masks/a.jpg.png", "<file>"),
        ("masks/a.jpg_mask.png", "<file>_mask"),
        ("masks/a.jpg___fuse.png", "<file>___fuse"),
        ("masks/train/a.png", "<name>"),
        ("masks/a", "<name>"),
    ],
)
def test_masks_are_found_however_tools_name_them(tmp_path: Path, mask: str, pattern: str) -> None:
    write(tmp_path, mask)
    found = find_masks(tmp_path, ["a", "b"], ["a.jpg", "b.jpg"])
    assert found.path("a") == str(tmp_path / mask)
    assert found.path("b") is None
    assert (dict(found.patterns), list(found.unmatched), list(found.problems)) == ({pattern: 1}, [], [])


def test_a_mask_may_lie_in_the_folder_of_its_photo_or_in_none(tmp_path: Path) -> None:
    write(tmp_path, "masks/cats/a.png", "masks/b_mask.png", "masks/cats/c.png", "masks/same.png")
    names = ["cats/a", "dogs/b", "dogs/c", "cats/same", "dogs/same"]
    found = find_masks(tmp_path, names, [f"{name}.jpg" for name in names])
    assert {name: Path(path).name for name, path in found.by_name.items()} == {
        "cats/a": "a.png",
        "dogs/b": "b_mask.png",
    }
    assert {(problem.name, problem.level) for problem in found.problems} == {
        ("cats/c.png", "warning"),
        ("same.png", "warning"),
    }
    same, elsewhere = found.problems
    assert "the nearest is cats/a" in elsewhere.message
    assert "fits cats/same, dogs/same; put it into the folder" in same.message


def test_a_photos_own_name_comes_before_an_affix(tmp_path: Path) -> None:
    write(tmp_path, "masks/a.png", "masks/a_label.png")
    found = find_masks(tmp_path, ["a", "a_label"], ["a.jpg", "a_label.jpg"])
    assert {name: Path(path).name for name, path in found.by_name.items()} == {"a": "a.png", "a_label": "a_label.png"}
    assert not found.problems


def test_a_mask_without_photo_is_a_warning_with_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path, "masks/a.png", "masks/beech_1.png")
    (only,) = find_masks(tmp_path, ["a", "beech_01"], ["a.jpg", "beech_01.jpg"]).problems
    assert (only.kind, only.name, only.level) == ("mask without photo", "beech_1.png", "warning")
    assert "the nearest is beech_01" in only.message


def test_masks_none_of_which_fits_are_an_error_with_both_names(tmp_path: Path) -> None:
    write(tmp_path, "masks/x1.png", "masks/x2.png")
    (only,) = find_masks(tmp_path, ["photo_1"], ["photo_1.jpg"]).problems
    assert (only.kind, only.level) == ("no mask fits", "error")
    assert "none of 2 in" in only.message
    assert "x1.png, and a photo is photo_1" in only.message


def test_two_different_masks_of_one_photo_are_an_error_that_names_both(tmp_path: Path) -> None:
    write(tmp_path, "masks/a.png", "masks/a.tif")
    assert not find_masks(tmp_path, ["a"], ["a.jpg"]).problems, "copies do no harm"
    write(tmp_path, "masks/a_mask.png", value=2)
    (only,) = find_masks(tmp_path, ["a"], ["a.jpg"]).problems
    assert (only.kind, only.level) == ("several masks", "error")
    assert "a.png and a.tif and a_mask.png" in only.message


def test_hidden_files_are_no_masks_and_other_files_are_named(tmp_path: Path) -> None:
    write(tmp_path, "masks/._a.png", "masks/.hidden/a.png")
    assert find_masks(tmp_path, ["a"], ["a.jpg"]) == (tmp_path / "masks", {}, [], {}, [])
    assert find_masks(tmp_path / "masks", ["a"], ["a.jpg"]).folder is None
    (tmp_path / "masks" / "classes.txt").write_text("cat\n")
    np.save(tmp_path / "masks" / "a.npy", np.zeros((2, 2)))
    found = [(problem.kind, problem.level) for problem in find_masks(tmp_path, ["a"], ["a.jpg"]).problems]
    assert sorted(found) == [("NumPy array skipped", "error"), ("text skipped", "note")]
    write(tmp_path, "masks/a.png")
    found = [(problem.kind, problem.level) for problem in find_masks(tmp_path, ["a"], ["a.jpg"]).problems]
    assert sorted(found) == [("NumPy array skipped", "warning"), ("text skipped", "note")]


def test_a_linked_folder_of_masks_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, "masks/cats/a.png")
    (tmp_path / "masks" / "cats" / "again").symlink_to(tmp_path / "masks")
    found = find_masks(tmp_path, ["cats/a"], ["cats/a.jpg"])
    assert found.by_name == {"cats/a": str(tmp_path / "masks" / "cats" / "a.png")}
    assert not found.problems


def test_several_folders_of_masks_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "masks/a.png", "MASKS/a.png")
    with pytest.raises(UserError, match=r"need one folder of masks in .*, got MASKS, masks; move"):
        find_masks(tmp_path, ["a"], ["a.jpg"])
