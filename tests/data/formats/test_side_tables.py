"""Tables of photos beside the labels that say nothing of their classes, and what to do where several files may."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.data.formats.labeled import Content, read_labeled, write_labeled

from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.errors import UserError

LABELS: dict[str, Content] = {"labels.csv": "file,label\na.jpg,cat\nb.jpg,dog\n"}
SIDE = {
    "sizes": "file,width,height\na.jpg,12,8\nb.jpg,12,8\n",
    "files alone": "file\na.jpg\n",
    "files without header": "a.jpg\nb.jpg\n",
    "measures": "file,blur,gain\na.jpg,0.25,3\nb.jpg,0.5,2.5\n",
}


@pytest.mark.parametrize("case", SIDE)
def test_a_table_without_classes_beside_labels_is_named_and_does_no_harm(tmp_path: Path, case: str) -> None:
    write_labeled(tmp_path / "table", ("a.jpg", "b.jpg"), {**LABELS, "exif.csv": SIDE[case]})
    write_labeled(tmp_path / "folders", ("cat/a.jpg", "dog/b.jpg"), {"exif.csv": SIDE[case]})
    for form in ("table", "folders"):
        labels, facts, problems = read_labeled(tmp_path / form)
        assert {Path(name).name: found for name, found in labels.items()} == {"a": ["cat"], "b": ["dog"]}
        assert facts["other files"] == "exif.csv: a table of photos without classes"
        assert "table not read" not in {problem.kind for problem in problems}


@pytest.mark.parametrize("case", SIDE)
def test_a_table_without_classes_alone_is_refused(tmp_path: Path, case: str) -> None:
    write_labeled(tmp_path, ("a.jpg", "b.jpg"), {"exif.csv": SIDE[case]})
    with pytest.raises(UserError, match=r"need a (column with the|photo and its) classes"):
        FolderDataset(tmp_path, "all")


def test_a_table_that_may_hold_classes_is_a_warning_beside_labels_and_an_error_beside_class_folders(
    tmp_path: Path,
) -> None:
    table = "Bild;Klasse\na.jpg;Katze\nb.jpg;Hund\n"
    write_labeled(tmp_path / "table", ("a.jpg", "b.jpg"), {**LABELS, "val.csv": table})
    (warning,) = [one for one in read_labeled(tmp_path / "table")[2] if one.kind == "table not read"]
    assert "val.csv, such as labels, got Bild, Klasse; name it labels" in warning.message
    write_labeled(tmp_path / "folders", ("x/a.jpg", "y/b.jpg"), {"val.csv": table})
    with pytest.raises(UserError, match="got Bild, Klasse; name it labels"):
        FolderDataset(tmp_path / "folders", "all")


def test_labels_in_json_count_although_one_name_is_that_of_no_photo(tmp_path: Path) -> None:
    content = '{"a.jpg": ["cat"], "b.jpg": ["dog"], "c": ["dog"]}'
    write_labeled(tmp_path, ("x/a.jpg", "y/b.jpg"), {"x/labels.json": content.replace("b.jpg", "../y/b.jpg")})
    labels, _, _ = read_labeled(tmp_path)
    assert labels == {"x/a": ["cat"], "y/b": ["dog"], "x/c": ["dog"]}
    with pytest.raises(UserError, match=r"1 of 3 missing: .*/x/c; add them or take them off the list"):
        FolderDataset(tmp_path, "all").check_files()
