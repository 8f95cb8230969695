from __future__ import annotations

import math
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table

from afa_wsss.report.tables import classes_table, files_text, score_tables, stages_table


def text_of(table: Table) -> str:
    console = Console(width=200, file=StringIO(), record=True)
    console.print(table)
    return console.export_text()


STAGES = ("cam", "cam_par", "second_walk", "walk", "segmentation", "crf")


def test_stages_are_in_the_order_of_the_method():
    metrics = {
        "val/miou": 63.14,
        "val/second_walk_miou": 58.0,
        "val/cam_miou": 44.21,
        "val/cam_par_miou": 50.0,
        "val/cam_best_miou": 46.5,
        "val/cam_best_background": 0.38,
        "val/second_walk_best_miou": 59.5,
        "val/second_walk_best_background": 0.41,
        "val/unlisted_miou": 1.0,
    }
    lines = [" ".join(line.split()) for line in text_of(stages_table(metrics, STAGES)).splitlines() if line.strip()]
    assert lines[2:] == [
        "CAM 44.2 46.5 at its best background score, 0.38",
        "CAM + PAR 50.0",
        "second walk 58.0 59.5 at its best background score, 0.41",
        "segmentation branch 63.1",
    ]


def test_without_masks_the_table_is_that_of_the_image_labels():
    metrics = {
        "val/class_f1": 91.04,
        "val/class_photos/cat": 7.0,
        "val/class_f1/cat": 91.04,
        "val/class_precision/cat": 100.0,
        "val/class_recall/cat": 83.54,
        "val/class_threshold/cat": 0.42,
        "val/class_best_f1/cat": 95.0,
        "val/class_photos/dog": 0.0,
        "val/class_f1/dog": math.nan,
        "val/labels/walk/foreground": 30.0,
    }
    (table,) = score_tables(metrics, STAGES)
    lines = [line.split() for line in text_of(table).splitlines() if line.strip()]
    assert lines[2:] == [
        ["cat", "7", "91.0", "100.0", "83.5", "0.42", "95.0"],
        ["dog", "0", "-", "-", "-", "-", "-"],
        ["mean", "91.0"],
    ]
    assert "IoU" not in text_of(table)
    assert len(score_tables(metrics | {"val/miou": 3.0}, STAGES)) == 1
    assert "mIoU" in text_of(score_tables(metrics | {"val/miou": 3.0}, STAGES)[0])
    assert score_tables({}, STAGES) == []


def test_a_class_that_is_in_no_photo_has_a_dash():
    text = text_of(classes_table({"val/iou/cat": 71.26, "val/iou/dog": math.nan, "val/miou": 1.0}))
    assert [line.split() for line in text.splitlines()][-2:] == [["cat", "71.3"], ["dog", "-"]]


def test_paths_are_whole_in_a_narrow_terminal_and_files_that_were_not_written_left_out(tmp_path: Path):
    there = tmp_path / ("a folder with a long name " * 3).strip() / "report.html"
    there.parent.mkdir()
    there.touch()
    console = Console(width=40, file=StringIO(), record=True)
    console.print(files_text({"report": there, "masks": tmp_path / "masks"}), soft_wrap=True)
    assert console.export_text().splitlines() == ["written", f"report  {there}"]


def test_classes_that_look_like_markup_are_printed_as_they_are():
    text = text_of(classes_table({"val/iou/left [/right]": 50.0, "val/iou/screw [new]": 40.0}))
    assert "left [/right]" in text
    assert "screw [new]" in text
