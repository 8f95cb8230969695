from __future__ import annotations

import math
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table

from afa_wsss.report.tables import classes_table, files_table, stages_table


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


def test_stages_without_masks_show_the_labels_alone():
    text = text_of(stages_table({"val/class_f1": 91.0}, STAGES))
    assert "91.0" in text
    assert "segmentation" not in text


def test_a_class_that_is_in_no_photo_has_a_dash():
    text = text_of(classes_table({"val/iou/cat": 71.26, "val/iou/dog": math.nan, "val/miou": 1.0}))
    assert [line.split() for line in text.splitlines()][-2:] == [["cat", "71.3"], ["dog", "-"]]


def test_files_that_were_not_written_are_left_out(tmp_path: Path):
    (tmp_path / "report.html").touch()
    text = text_of(files_table({"report": tmp_path / "report.html", "masks": tmp_path / "masks"}))
    assert "report.html" in text.replace("\n", "")
    assert "masks" not in text
