from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table

from afa_wsss.data.checks.problems import Problem
from afa_wsss.report.findings import Finding, facts_table, findings_as_data, findings_table, splits_table

ROOT = Path("photos")
NO_LABEL = [Problem("no label", f"b{index}", f"need a label of {ROOT}/b{index}.jpg", "warning") for index in range(8)]
NOT_READABLE = Problem("not readable", "a", f"need a photo, {ROOT}/a.jpg is [cut] off")
LARGE = Problem("large photo", "c", "is scaled down", "note")
COUNTS = {"train": (3, 0, {"cat": 2, "dog": 1}), "val": (2, 2, {"dog": 2})}


def text_of(table: Table) -> str:
    console = Console(width=200, file=StringIO(), record=True)
    console.print(table)
    return console.export_text()


def test_what_data_checks_find_is_a_finding():
    assert isinstance(NOT_READABLE, Finding)


def test_findings_of_one_kind_share_a_row_and_errors_come_first():
    lines = text_of(findings_table([LARGE, *NO_LABEL, NOT_READABLE], root=ROOT)).splitlines()
    rows = [" ".join(line.split()) for line in lines if line.strip()]
    assert rows == [
        "found in photos",
        "level kind count first",
        "error not readable 1 need a photo, a.jpg is [cut] off",
        "warning no label 8 need a label of b0.jpg",
        "also b1, b2, b3, b4, b5, ...",
        "note large photo 1 is scaled down",
    ]


def test_splits_have_a_column_each_and_a_row_per_class():
    lines = [line.split() for line in text_of(splits_table(COUNTS)).splitlines() if line.strip()]
    assert lines[1:] == [
        ["train", "val"],
        ["photos", "3", "2"],
        ["masks", "0", "2"],
        ["cat", "2", "0"],
        ["dog", "1", "2"],
    ]


def test_names_that_look_like_markup_are_printed_as_they_are():
    classes = {"screw [new]": 1, "screw [old]": 2, "left [/right]": 3}
    text = text_of(splits_table({"[val]": (3, 0, classes)}))
    assert all(name in text for name in (*classes, "[val]"))
    problem = Problem("class [/a]", "a", "need a", "warning")
    assert "found in photos [/x]" in text_of(findings_table([problem], root=Path("photos [/x]")))
    assert "columns [/a]" in text_of(facts_table([("columns [/a]", "cat [/b]")], root=ROOT))


def test_plain_data_holds_every_finding_with_its_split():
    data = findings_as_data(COUNTS, {"train": [NOT_READABLE, LARGE], "val": NO_LABEL[:2]})
    assert (data["errors"], data["warnings"], data["notes"]) == (1, 2, 1)
    assert data["splits"]["val"] == {"photos": 2, "masks": 2, "classes": {"dog": 2}}
    assert [problem["split"] for problem in data["problems"]] == ["train", "train", "val", "val"]
    assert data["problems"][0] == {
        "split": "train",
        "level": "error",
        "kind": "not readable",
        "name": "a",
        "message": NOT_READABLE.message,
    }
