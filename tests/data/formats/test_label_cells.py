"""Lists and dicts in cells and members of labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.data.formats.labeled import read_labeled, write_labeled

from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.data.formats.folder_labels.label_cells import label_cell
from afa_wsss.errors import UserError


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ('{"cat": 1, "dog": 0}', ["cat"]),
        ("{'cat': True, 'dog': False}", ["cat"]),
        ('{"choices": ["cat", "hot dog"]}', ["cat", "hot dog"]),
        ('[{"x": 1.5, "rectanglelabels": ["cat"]}, {"x": 3, "rectanglelabels": ["dog"]}]', ["cat", "dog"]),
        ('[{"label": "cat"}]', ["cat"]),
        ("{cat, dog}", "{cat, dog}"),
        ("['cat', 'dog']", "['cat', 'dog']"),
        ("a: b", "a: b"),
    ],
)
def test_dicts_in_text_are_names(cell: str, names: object) -> None:
    assert label_cell(cell) == names


@pytest.mark.parametrize("cell", ['{"cat": 0.9, "dog": 0.1}', "{cat: 1, dog: 0}", '[{"x": 3}, 4]'])
def test_dicts_that_name_no_classes_are_an_error_with_the_row(tmp_path: Path, cell: str) -> None:
    quoted = cell.replace('"', '""')
    write_labeled(tmp_path, ("a.jpg", "b.jpg"), {"labels.csv": f'file,labels\na.jpg,"{quoted}"\nb.jpg,dog\n'})
    with pytest.raises(UserError, match=r"need names of classes in .*labels\.csv, row 2 is different"):
        FolderDataset(tmp_path, "all")


@pytest.mark.parametrize("cell", ["[1, 0, 0]", "[1. 0. 0.]", "1 0 0", "1,0,0"])
@pytest.mark.parametrize("classes", ["", "cat\ndog\nyak\n"])
def test_0_and_1_for_each_class_in_one_cell_name_no_class(tmp_path: Path, cell: str, classes: str) -> None:
    files = {"labels.csv": f'file,labels\na.jpg,"{cell}"\nb.jpg,"{cell}"\nc.jpg,\n'}
    write_labeled(tmp_path, ("a.jpg", "b.jpg", "c.jpg"), {**files, "classes.txt": classes})
    with pytest.raises(UserError, match=r"need names of classes in .*labels\.csv, its labels are 0 and 1 for each"):
        FolderDataset(tmp_path, "all")


def test_words_that_change_places_are_classes_joined_by_blanks(tmp_path: Path) -> None:
    table = "file,labels\na.jpg,cat dog\nb.jpg,dog cat\nc.jpg,red bus\n"
    write_labeled(tmp_path, ("a.jpg", "b.jpg", "c.jpg"), {"labels.csv": table})
    labels, facts, _ = read_labeled(tmp_path)
    assert labels == {"a": ["cat", "dog"], "b": ["cat", "dog"], "c": ["red bus"]}
    assert facts["several tags in a cell"] == "joined by blank"


def test_0_and_1_for_each_class_in_json_name_no_class(tmp_path: Path) -> None:
    lines = '{"file": "a.jpg", "labels": [1, 0]}\n{"file": "b.jpg", "labels": [0, 1]}\n'
    write_labeled(tmp_path, ("a.jpg", "b.jpg"), {"labels.jsonl": lines})
    with pytest.raises(UserError, match=r"0 and 1 for each of 2 classes, such as 1 0; write the names"):
        FolderDataset(tmp_path, "all")


def test_numbers_of_classes_are_names_although_some_are_0_and_1(tmp_path: Path) -> None:
    write_labeled(tmp_path, ("a.jpg", "b.jpg", "c.jpg"), {"labels.csv": "file,labels\na.jpg,0 1\nb.jpg,0\nc.jpg,1\n"})
    assert FolderDataset(tmp_path, "all", report=lambda _: None).class_names == ("0", "1")


def test_label_studios_tables_have_dicts_where_there_are_several_choices(tmp_path: Path) -> None:
    table = (
        "image,id,label\n/data/upload/1/a.jpg,11,cat\n"
        '/data/upload/1/b.jpg,12,"{""choices"":[""cat"",""dog""]}"\n/data/upload/1/c.jpg,13,dog\n'
    )
    write_labeled(tmp_path, ("a.jpg", "b.jpg", "c.jpg"), {"labels.csv": table})
    labels, _, problems = read_labeled(tmp_path)
    assert labels == {"a": ["cat"], "b": ["cat", "dog"], "c": ["dog"]}
    assert [problem for problem in problems if problem.level == "error"] == []


LABEL_STUDIO = {
    "p.csv": (
        "annotation_id,annotator,choice,created_at,id,image,lead_time,updated_at\n"
        "1,me,cat,2026-01-01T00:00:00Z,11,/data/upload/1/a.jpg,3.2,2026-01-01T00:00:00Z\n"
        '2,me,"{""choices"":[""cat"",""dog""]}",2026-01-01T00:00:00Z,12,/data/upload/1/b.jpg,1.5,2026-01-01T00:00:00Z\n'
    ),
    "p.json": json.dumps(
        [
            {"image": "/data/upload/1/a.jpg", "id": 11, "choice": "cat", "annotator": 1, "lead_time": 3.2},
            {"image": "/data/upload/1/b.jpg", "id": 12, "choice": {"choices": ["cat", "dog"]}, "annotator": 1},
        ]
    ),
}


@pytest.mark.parametrize("file", LABEL_STUDIO)
def test_label_studios_exports_of_choices_are_read(tmp_path: Path, file: str) -> None:
    """CSV and JSON-MIN of its template for image classes, whose column is ``choice``."""
    write_labeled(tmp_path, ("a.jpg", "b.jpg"), {file: LABEL_STUDIO[file]})
    labels, _, problems = read_labeled(tmp_path)
    assert labels == {"a": ["cat"], "b": ["cat", "dog"]}
    assert [problem for problem in problems if problem.level == "error"] == []


def test_entries_of_lists_are_never_split(tmp_path: Path) -> None:
    labels: dict[str, list[str]] = {"a": ["fire truck"], "b": ["fire"], "c": ["truck"]}
    rows = [json.dumps({"file": f"{name}.jpg", "labels": named}) for name, named in labels.items()]
    write_labeled(tmp_path, ("a.jpg", "b.jpg", "c.jpg"), {"labels.jsonl": "\n".join(rows)})
    assert read_labeled(tmp_path)[0] == labels


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_cell_may_hold_an_outline_or_a_photo_as_text(tmp_path: Path, quote: str) -> None:
    csv.field_size_limit(131072)  # as a process begins
    long = quote + "1 2 " * 100_000 + quote
    write_labeled(tmp_path, ("a.jpg", "b.jpg"), {"labels.csv": f"file,labels,outline\na.jpg,cat,{long}\nb.jpg,dog,\n"})
    labels, facts, _ = read_labeled(tmp_path)
    assert labels == {"a": ["cat"], "b": ["dog"]}
    assert facts["columns"] == "file: photo; labels: tags; not read: outline"
