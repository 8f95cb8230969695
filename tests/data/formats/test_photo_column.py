"""Which column or member names the photos, and whether the first row names the columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.data.formats.labeled import read_labeled, write_labeled

NUMBERS = ("1.jpg", "2.jpg", "3.jpg")
CAT_AND_DOG = {"3": ["cat"], "1": ["dog"], "2": ["cat"]}


@pytest.mark.parametrize(
    "table",
    [
        "id,filename,label\n1,3.jpg,cat\n2,1.jpg,dog\n3,2.jpg,cat\n",
        "label,image_id,file\ncat,1,3\ndog,2,1\ncat,3,2\n",
        "id,url,label\n1,https://x.org/3.jpg?w=9,cat\n2,https://x.org/1.jpg?w=9,dog\n3,https://x.org/2.jpg?w=9,cat\n",
        "id,url,label\n3,https://x.org/a.jpg,cat\n1,https://x.org/b.jpg,dog\n2,https://x.org/c.jpg,cat\n",
        "1,3.jpg,cat\n2,1.jpg,dog\n3,2.jpg,cat\n",
    ],
)
def test_ids_that_count_rows_are_not_taken_for_photos_that_are_named_by_numbers(tmp_path: Path, table: str) -> None:
    write_labeled(tmp_path, NUMBERS, {"labels.csv": table})
    labels, _, problems = read_labeled(tmp_path)
    if table[0].isdigit():  # without a header the number of a row is a tag
        labels = {name: [label for label in found if not label.isdigit()] for name, found in labels.items()}
    assert labels == CAT_AND_DOG
    assert [problem for problem in problems if problem.level == "error"] == []


def test_a_column_of_files_wins_over_ids_although_a_photo_is_missing(tmp_path: Path) -> None:
    write_labeled(tmp_path, NUMBERS, {"labels.csv": "id,file,label\n1,3.jpg,cat\n2,1.jpg,dog\n3,9.jpg,cat\n"})
    labels, facts, _ = read_labeled(tmp_path)
    assert labels == {"3": ["cat"], "1": ["dog"], "9": ["cat"]}
    assert facts["columns"] == "file: photo; label: tags"


@pytest.mark.parametrize("file", ["labels.jsonl", "data.json"])
@pytest.mark.parametrize("first", [1, 101])
def test_ids_in_json_are_not_taken_for_photos(tmp_path: Path, file: str, first: int) -> None:
    pairs = zip(("3.jpg", "1.jpg", "2.jpg"), ("cat", "dog", "cat"), strict=True)
    rows = [{"id": first + number, "image": photo, "label": label} for number, (photo, label) in enumerate(pairs)]
    text = "\n".join(map(json.dumps, rows)) if file.endswith("l") else json.dumps(rows)
    write_labeled(tmp_path, NUMBERS, {file: text})
    labels, facts, _ = read_labeled(tmp_path)
    assert labels == CAT_AND_DOG
    assert facts["members"] == "image: photo; label: classes"


@pytest.mark.parametrize(
    ("photos", "table", "expected"),
    [
        (NUMBERS, "image,1,2\n1.jpg,1,0\n2.jpg,0,1\n3.jpg,1,1\n", {"1": ["1"], "2": ["2"], "3": ["1", "2"]}),
        (
            ("cat.jpg", "dog.jpg"),
            "image,cat,dog\ncat.jpg,1,0\ndog.jpg,0,1\n",
            {"cat": ["cat"], "dog": ["dog"]},
        ),
        (("cat.jpg", "dog.jpg"), "Bild,cat,dog\ncat.jpg,1,0\ndog.jpg,0,1\n", {"cat": ["cat"], "dog": ["dog"]}),
        (("label.jpg", "b.jpg"), "file,label\nlabel.jpg,cat\nb.jpg,dog\n", {"label": ["cat"], "b": ["dog"]}),
        (("photo.jpg", "b.jpg"), "photo.jpg,photo\nb.jpg,drawing\n", {"photo": ["photo"], "b": ["drawing"]}),
        (("x.jpg", "cat.jpg"), "x,cat\ncat,dog\n", {"x": ["cat"], "cat": ["dog"]}),
    ],
)
def test_the_first_row_is_a_header_although_a_photo_is_named_like_a_class(
    tmp_path: Path, photos: tuple[str, ...], table: str, expected: dict[str, list[str]]
) -> None:
    write_labeled(tmp_path, photos, {"labels.csv": table})
    labels, _, problems = read_labeled(tmp_path)
    assert labels == expected
    assert [problem for problem in problems if problem.level == "error"] == []
