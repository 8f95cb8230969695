"""Scores as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

STAGES = (
    ("CAM", "val/cam_miou"),
    ("CAM + PAR", "val/cam_par_miou"),
    ("walk", "val/walk_miou"),
    ("walk + PAR (pseudo label)", "val/pseudo_label_miou"),
    ("segmentation branch", "val/miou"),
)
"""The stages of the method in order, and where their mIoU stands."""

TITLE_WIDTH = 40
"""Columns that a table takes for its title's sake, if the title is as long."""


def plain_table(title: str) -> Table:
    """An empty table of the package's looks: no lines, the title at the left."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2))
    table.min_width = min(len(title), TITLE_WIDTH)  # a title is broken where its table is narrower
    return table


def stages_table(metrics: Mapping[str, float]) -> Table:
    """MIoU in percent after each stage, and of the CAM at its best background score."""
    table = plain_table("mIoU in percent, background and classes")
    table.add_column("stage")
    table.add_column("mIoU", justify="right")
    table.add_column("")
    for stage, key in (*STAGES, ("segmentation branch + CRF", "val/crf_miou")):
        if key in metrics:
            note = ""
            if key == "val/cam_miou" and "val/cam_best_miou" in metrics:
                best, score = metrics["val/cam_best_miou"], metrics["val/cam_best_background"]
                note = f"{best:.1f} at its best background score, {score:.2f}"
            table.add_row(stage, f"{metrics[key]:.1f}", note)
    if "val/class_f1" in metrics:
        table.add_row("image labels (class branch)", f"{metrics['val/class_f1']:.1f}", "F1")
    return table


def classes_table(metrics: Mapping[str, float]) -> Table:
    """IoU of each class in percent."""
    table = plain_table("IoU in percent, segmentation branch")
    table.add_column("class")
    table.add_column("IoU", justify="right")
    for name, value in class_ious(metrics).items():
        table.add_row(name, "-" if math.isnan(value) else f"{value:.1f}")
    return table


def class_ious(metrics: Mapping[str, float]) -> dict[str, float]:
    """IoU by class name."""
    prefix = "val/iou/"
    return {key.removeprefix(prefix): value for key, value in metrics.items() if key.startswith(prefix)}


def files_table(files: Mapping[str, Path]) -> Table:
    """What was written, and where."""
    table = plain_table("written")
    table.add_column("what")
    table.add_column("where", overflow="fold")
    for what, where in files.items():
        if where.exists():
            table.add_row(what, str(where))
    return table
