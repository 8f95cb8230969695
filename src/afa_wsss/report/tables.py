"""Scores as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from afa_wsss.report.stages import CLASS_F1, stage_scores

TITLE_WIDTH = 40
"""A table is at most this wide for the sake of its title alone, in columns of the terminal."""


def plain_table(title: str) -> Table:
    """An empty table in the style of the package: no lines, the title at the left."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2))
    table.min_width = min(len(title), TITLE_WIDTH)  # rich breaks a title that is wider than its table
    return table


def stages_table(metrics: Mapping[str, float], stages: Sequence[str]) -> Table:
    """MIoU of each stage in percent, and F1 of the image labels.

    Args:
        metrics: Flat, by name.
        stages: Names of the stages in the order of the method; those without a score are left out.
    """
    table = plain_table("mIoU in percent, background and classes")
    table.add_column("stage")
    table.add_column("mIoU", justify="right")
    table.add_column("")
    for stage in stage_scores(metrics, stages):
        note = ""
        if stage.best_miou is not None and stage.best_background is not None:
            note = f"{stage.best_miou:.1f} at its best background score, {stage.best_background:.2f}"
        table.add_row(stage.title, f"{stage.miou:.1f}", note)
    if CLASS_F1 in metrics:
        table.add_row("image labels (class branch)", f"{metrics[CLASS_F1]:.1f}", "F1")
    return table


def classes_table(metrics: Mapping[str, float]) -> Table:
    """IoU of each class in percent; a dash for a class that is in no photo."""
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
    """Files that exist, by what they are."""
    table = plain_table("written")
    table.add_column("what")
    table.add_column("where", overflow="fold")
    for what, where in files.items():
        if where.exists():
            table.add_row(what, str(where))
    return table
