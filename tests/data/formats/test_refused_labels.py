"""Labels that are refused, each in one line with the file and the row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.data.formats.labeled import Content, write_labeled

from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.errors import UserError

THREE = ("a.jpg", "b.jpg", "c.jpg")

COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "categories": [{"id": 0, "name": "Background"}, {"id": 1, "name": "cat"}, {"id": 2, "name": "yak"}],
}

REFUSED: dict[str, tuple[dict[str, Content], str]] = {
    "open quote": (
        {"labels.csv": 'file,labels\na.jpg,"cat\nb.jpg,dog\n'},
        r"labels\.csv, row 2 has a quote that is not closed",
    ),
    "line break": ({"labels.csv": 'file,labels\na.jpg,"cat\ndog"\n'}, r"row 2 has .* a line break in a cell"),
    "open quote in a cell": ({"labels.csv": 'file,labels\na.jpg,cat;"dog\n'}, r"row 2 has a quote that is not closed"),
    "unknown split": (
        {"labels.csv": "file,labels,split\na.jpg,cat,trian\n"},
        r"need train, val or test in column split of .*labels\.csv, row 2 has 'trian'",
    ),
    "unknown word for held out": (
        {"labels.csv": "file,labels,is_valid\na.jpg,cat,0\nb.jpg,dog,maybe\n"},
        r"need true or false \(yes or no, 1 or 0\) in column is_valid of .*labels\.csv, row 3 has 'maybe'",
    ),
    "soft labels": ({"labels.csv": "image,cat,dog\na.jpg,1,0.3\n"}, r"need 0 or 1 .*, row 2 has '0\.3' in column dog"),
    "uncertain labels": ({"labels.csv": "image,cat,dog\na.jpg,1,0\nb.jpg,1,-1\n"}, r"row 3 has '-1' in column dog"),
    "0 and 1 without a name": ({"labels.csv": "a.jpg,1,0\nb.jpg,0,1\n"}, r"0 and 1 in columns without a name"),
    "0 and 1 as labels": ({"labels.csv": "file,label\na.jpg,1\nb.jpg,0\n"}, r"need names of classes in column label"),
    "a class twice": ({"labels.csv": "file,cat,cat\na.jpg,1,0\n"}, r"'cat' is above several"),
    "no names": ({"labels.csv": "Bild;Klasse\na.jpg;Katze\nb.jpg;Hund\n"}, r"got Bild, Klasse; name it labels"),
    "captions": ({"metadata.csv": "file_name,text\na.jpg,a cat\n"}, r"such as labels, got file_name, text"),
    "a cell too many": ({"labels.csv": "file,labels\na.jpg,cat,dog\n"}, r"row 2 has 'dog' in a column without a name"),
    "two tables of one kind": (
        {"x.csv": "file,labels\na.jpg,cat\n", "y.csv": "file,labels\nb.jpg,cat\n"},
        r"need one file of labels in .*, got x\.csv, y\.csv",
    ),
    "JSON that is cut off": ({"i.json": '{"images": [{"id": 1, "file_name": "a.jpg"}, {'}, r"need JSON in .*i\.json"),
    "a photo twice in JSON": (
        {"i.json": '{"a.jpg": ["cat"], "b.jpg": [], "a.jpg": ["dog"]}'},
        r"need JSON in .*i\.json, got 'a\.jpg' twice in one object, with \[\"cat\"\] and \[\"dog\"\]; fix it",
    ),
    "labels twice in a JSON line": (
        {"labels.jsonl": '{"file": "a.jpg", "labels": ["cat"], "labels": ["dog"]}'},
        r"line 1 is different .*'labels' twice in one object",
    ),
    "objects of unknown photos": (
        {"i.json": json.dumps({**COCO, "annotations": [{"image_id": 9, "category_id": 1}]})},
        r"1 object belongs? to photo 9|objects belong to photo 9",
    ),
    "a spreadsheet": ({"labels.xlsx": b"PK\3\4"}, r"labels\.xlsx \(a spreadsheet: save it as CSV\)"),
    "Label Studio's own": (
        {"p.json": '[{"data": {"image": "a.jpg"}, "annotations": []}]'},
        r"Label Studio's own JSON: export it as COCO, choices as CSV",
    ),
    "YOLO": ({"data.yaml": "names: [cat]"}, r"data\.yaml \(such as YOLO's"),
    "numbers for names": ({"labels.jsonl": '{"file": "a.jpg", "labels": 3}'}, r"line 1 is different .*need names"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    files, complaint = REFUSED[case]
    write_labeled(tmp_path, THREE, files)
    with pytest.raises(UserError, match=complaint) as refusal:
        FolderDataset(tmp_path, "all")
    assert "\n" not in str(refusal.value)


def test_a_file_of_labels_that_is_asked_for_and_is_of_no_known_form_is_refused(tmp_path: Path) -> None:
    write_labeled(tmp_path, THREE, {"labels.txt": "a.jpg cat\n"})
    with pytest.raises(UserError, match=r"got .*labels\.txt: its suffix is none of \.json, .*; save it as CSV"):
        FolderDataset(tmp_path, "all", labels="labels.txt")
