"""What the commands print in common: lines, scores, and paths that stay whole however narrow the terminal is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from afa_wsss.report.image_labels import left_out
from afa_wsss.report.tables import classes_table, files_text, score_tables

SCORES_WIDTH = 76
"""A narrower terminal wraps tables of scores itself: cut numbers would be worse."""


def say(line: str, *, style: str | None = None) -> None:
    """Prints a line without wrapping it: it may hold a path to copy."""
    Console().print(line, style=style, soft_wrap=True, highlight=False, markup=False)


def say_warning(line: str) -> None:
    """Prints a warning; above a progress bar, where there is one."""
    say(f"warning: {line}", style="yellow")


def say_files(files: Mapping[str, Path]) -> None:
    """Prints the files that exist, by what they are."""
    Console().print(files_text(files), soft_wrap=True)


def say_scores(
    metrics: Mapping[str, float], stages: Sequence[str], warnings: Sequence[str], *, classes: bool = False
) -> None:
    """Prints scores as tables, what they leave out, and warnings.

    Args:
        metrics: Flat, by name.
        stages: Names of the prediction stages, in the order of the method.
        warnings: One line each.
        classes: Whether to print the IoU of each class, where there are masks.
    """
    tables = [*score_tables(metrics, stages), *([classes_table(metrics)] if classes and "val/miou" in metrics else [])]
    console = Console(width=max(Console().width, SCORES_WIDTH))
    for table in tables:
        console.print(table)
    for line in left_out(metrics):
        say(line)
    for line in warnings:
        say_warning(line)
