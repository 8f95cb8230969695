"""Which photo an entry of the labels means, and entries that may mean several or claim the same one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.data.formats.labeled import read_labeled, write_labeled

from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.errors import UserError


def _labelme(image: str, *labels: str) -> str:
    content: dict[str, Any] = {"flags": {}, "shapes": [{"label": label} for label in labels], "imagePath": image}
    return json.dumps(content)


def test_labelme_labels_go_to_the_photo_of_the_same_name_and_another_imagepath_is_reported(tmp_path: Path) -> None:
    files = {"1.json": _labelme("1.jpg", "cat"), "4.json": _labelme("1.jpg", "dog")}
    write_labeled(tmp_path, ("1.jpg", "4.jpg"), files)
    labels, _, problems = read_labeled(tmp_path)
    assert labels == {"1": ["cat"], "4": ["dog"]}
    (warning,) = [problem for problem in problems if problem.kind == "imagePath of another photo"]
    assert "its imagePath is 1.jpg, but 4.jpg is beside it and is taken" in warning.message


def test_two_labelme_files_of_one_photo_are_an_error(tmp_path: Path) -> None:
    files = {"1.json": _labelme("1.jpg", "cat"), "other.json": _labelme("1.jpg", "dog")}
    write_labeled(tmp_path, ("1.jpg", "2.jpg"), files)
    with pytest.raises(UserError, match=r"1\.jpg is listed by 1\.json, other\.json; remove all but one"):
        FolderDataset(tmp_path, "all")


def test_labelme_files_in_a_folder_of_their_own_follow_imagepath(tmp_path: Path) -> None:
    files = {"labels/1.json": _labelme("..\\images\\2.png", "cat"), "labels/2.json": _labelme("../images/1.jpg", "dog")}
    write_labeled(tmp_path, ("images/1.jpg", "images/2.png"), files)
    labels, _, problems = read_labeled(tmp_path)
    assert labels == {"2": ["cat"], "1": ["dog"]}
    assert "imagePath of another photo" not in {problem.kind for problem in problems}


@pytest.mark.parametrize(
    ("photos", "name"),
    [(("a.jpg", "a.png"), "a"), (("A.jpg", "a.jpg"), "a.JPG"), (("x/a.jpg", "x/a.png"), "x/a")],
)
def test_a_name_without_suffix_or_in_another_case_that_fits_two_photos_is_an_error(
    tmp_path: Path, photos: tuple[str, ...], name: str
) -> None:
    write_labeled(tmp_path, (*photos, "b.jpg"), {"labels.csv": f"file,label\n{name},cat\nb,dog\n"})
    with pytest.raises(UserError, match=f"may be {photos[0]}, {photos[1]}; write its folder and its suffix"):
        FolderDataset(tmp_path, "all")
    write_labeled(tmp_path, (), {"labels.csv": f"file,label\n{photos[0]},cat\nb,dog\n"})
    assert [Path(file).name for file in FolderDataset(tmp_path, "all").reading.paths] == [Path(photos[0]).name, "b.jpg"]


@pytest.mark.parametrize("place", ["/data/upload/1/0a1b2c3d-b.jpg", "../b.jpg"])
def test_a_photo_of_another_place_whose_name_none_has_is_missing(tmp_path: Path, place: str) -> None:
    write_labeled(tmp_path, ("a.jpg",), {"labels.csv": f"file,label\na.jpg,cat\n{place},dog\n"})
    with pytest.raises(UserError, match="and no photo there is called like that; add the photo or take it off"):
        FolderDataset(tmp_path, "all")


def test_photos_that_were_uploaded_to_label_studio_are_found_by_their_own_names(tmp_path: Path) -> None:
    photos = ("a.jpg", "1 b.jpg", "0a1b2c3d-c.jpg", "c.jpg")
    places = ("/data/upload/1/0a1b2c3d-a.jpg", "/data/upload/12/99999999-1%20b.jpg", "/data/upload/1/0a1b2c3d-c.jpg")
    rows = "".join(f"{place},cat\n" for place in places)
    write_labeled(tmp_path, photos, {"labels.csv": f"image,choice\n{rows}c.jpg,dog\n"})
    assert [Path(path).name for path in FolderDataset(tmp_path, "all").reading.paths] == list(photos)
    (tmp_path / "labels.csv").write_text("image,choice\na.jpg,cat\n/data/20230101-c.jpg,dog\n")
    with pytest.raises(UserError, match="no photo there is called like that"):
        FolderDataset(tmp_path, "all")
