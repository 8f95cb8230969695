"""Scores as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from afa_wsss.report.image_labels import class_ious, image_label_rows
from afa_wsss.report.stages import CLASS_F1, stage_scores

TITLE_WIDTH = 40
"""A table is at most this wide for the sake of its title alone, in columns of the terminal."""


class PlainTable(Table):
    """A table whose texts are printed as they are: names of classes and files may hold what rich takes for markup."""

    def add_column(self, header: RenderableType = "", *rest: Any, **settings: Any) -> None:
        """As ``Table.add_column``."""
        super().add_column(Text(header) if isinstance(header, str) else header, *rest, **settings)

    def add_row(self, *cells: RenderableType | None, **settings: Any) -> None:
        """As ``Table.add_row``."""
        super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **settings)


def plain_table(title: str) -> Table:
    """An empty table in the style of the package: no lines, the title at the left, texts as they are."""
    table = PlainTable(title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False, padding=(0, 2))
    table.min_width = min(len(title), TITLE_WIDTH)  # rich breaks a title that is wider than its table
    return table


def score_tables(metrics: Mapping[str, float], stages: Sequence[str]) -> list[Table]:
    """The mIoU after each stage; without masks the scores of the image labels by class; none without scores."""
    if stage_scores(metrics, stages):
        return [stages_table(metrics, stages)]
    return [image_labels_table(metrics)] if CLASS_F1 in metrics else []


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
    """IoU of each class in percent; a dash for a class that no held-out mask shows."""
    table = plain_table("IoU in percent, segmentation branch")
    table.add_column("class")
    table.add_column("IoU", justify="right")
    for name, value in class_ious(metrics).items():
        table.add_row(name, "-" if math.isnan(value) else f"{value:.1f}")
    return table


def image_labels_table(metrics: Mapping[str, float]) -> Table:
    """F1, precision and recall of each class at probability 0.5, and the threshold with the best F1, in percent.

    A class that no held-out photo has shows dashes.
    """
    table = plain_table("image labels (class branch), in percent")
    table.add_column("class")
    for column in ("photos", "F1", "precision", "recall", "threshold", "F1 there"):
        table.add_column(column, justify="right")
    for row in image_label_rows(metrics):
        scores = (row.f1, row.precision, row.recall)
        texts = ["-" if score is None else f"{score:.1f}" for score in scores]
        texts.append("-" if row.threshold is None else f"{row.threshold:.2f}")
        texts.append("-" if row.best_f1 is None else f"{row.best_f1:.1f}")
        table.add_row(row.name, str(row.photos), *texts)
    table.add_row("mean", "", f"{metrics[CLASS_F1]:.1f}", style="bold")
    return table


def files_text(files: Mapping[str, Path]) -> Text:
    """Files that exist, by what they are, one a line.

    Print it with ``soft_wrap=True``: a path for copying must not be broken at the width of the terminal, as cells of
    a table are.
    """
    there = {what: where for what, where in files.items() if where.exists()}
    width = max(map(len, there), default=0)
    text = Text("written", style="bold")
    for what, where in there.items():
        text.append(f"\n{what:{width}}  ", style="not bold").append(str(where), style="not bold")
    return text
