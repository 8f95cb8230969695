"""What a sweep prints and writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.real.label_counts import curve, pair_quality

DISTANCES = (1, 2, 3)
"""How many places below and above the best score the two of a pair are that is shown without ``--pairs``."""

WIDTH = 160
"""Columns of a table in a file or pipe, whose width nobody knows."""


def show(
    found: Mapping[str, Tensor], scores: Sequence[float], *, photos: int, pairs: Sequence[float] | None = None
) -> None:
    """The mIoU by background score and stage, the best of each, and the labels of pairs of scores.

    Args:
        found: (t, c, c) confusion matrices by stage.
        scores: The t background scores.
        photos: How many photos were seen.
        pairs: Low and high scores one after the other, each the nearest of ``scores``; None for pairs around the best.
    """
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=WIDTH)
    curves = {name: curve(counts) for name, counts in found.items()}
    console.print(table("background", curves, scores, title=f"mIoU of {photos} photos, %"))
    for name, counts in found.items():
        console.print(single_scores(name, counts, scores))
    for name, counts in found.items():
        shown = around(scores, int(curves[name].argmax())) if pairs is None else pairs
        console.print(pair_table(name, counts, scores, shown))
    for name, values in curves.items():
        console.print(f"{name}: best {values.max():.2f} at {scores[int(values.argmax())]:g}")


def table(first: str, columns: Mapping[str, Tensor], scores: Sequence[float], *, title: str) -> Table:
    """A row for each background score; the best of each column is bold."""
    found = Table(first, *columns, title=title, box=None, title_justify="left", padding=(0, 2))
    for row, score in enumerate(scores):
        cells = [
            f"[bold]{column[row]:.1f}[/]" if row == int(column.argmax()) else f"{column[row]:.1f}"
            for column in columns.values()
        ]
        found.add_row(f"{score:g}", *cells)
    return found


def single_scores(name: str, counts: Tensor, scores: Sequence[float]) -> Table:
    """What each score does as the high one of a pair, which decides the foreground, and as the low one."""
    names = ("score", "high: foreground %", "right %", "low: background %", "right %")
    found = Table(*names, title=f"{name}: labels of training", box=None, title_justify="left", padding=(0, 2))
    for score, matrix in zip(scores, counts, strict=True):
        quality = pair_quality(matrix, matrix)
        cells = (quality.foreground, quality.foreground_precision, quality.background, quality.background_precision)
        found.add_row(f"{score:g}", *(f"{cell:.1f}" for cell in cells))
    return found


def around(scores: Sequence[float], best: int) -> list[float]:
    """Low and high scores one after the other, some places below and above that of index ``best``."""
    last = len(scores) - 1
    places = [place for distance in DISTANCES for place in (max(best - distance, 0), min(best + distance, last))]
    return [scores[place] for place in places]


def pair_table(name: str, counts: Tensor, scores: Sequence[float], pairs: Sequence[float]) -> Table:
    """Labelled pixels, their mIoU, and how many of foreground and background are right."""
    names = ("low", "high", "labelled %", "mIoU of these", "foreground right %", "background right %")
    found = Table(*names, title=f"{name}: pairs", box=None, title_justify="left", padding=(0, 2))
    for low, high in zip(pairs[::2], pairs[1::2], strict=True):
        first, second = nearest(scores, low), nearest(scores, high)
        quality = pair_quality(counts[first], counts[second])
        cells = (quality.labelled, quality.miou, quality.foreground_precision, quality.background_precision)
        found.add_row(f"{scores[first]:g}", f"{scores[second]:g}", *(f"{cell:.1f}" for cell in cells))
    return found


def nearest(scores: Sequence[float], wanted: float) -> int:
    """Index of the score nearest to ``wanted``."""
    return min(range(len(scores)), key=lambda index: abs(scores[index] - wanted))


def write_json(path: Path, found: Mapping[str, Tensor], scores: Sequence[float], **facts: object) -> None:
    """Every number: curves, and the quality of all pairs of scores, by stage."""
    stages = {}
    for name, counts in found.items():
        values = curve(counts)
        best = int(values.argmax())
        pairs = [
            {"low": scores[low], "high": scores[high], **pair_quality(counts[low], counts[high])._asdict()}
            for low in range(len(scores))
            for high in range(low + 1, len(scores))
        ]
        best_of = {"best_miou": float(values[best]), "best_background": scores[best]}
        stages[name] = {**best_of, "miou": [float(value) for value in values], "pairs": pairs}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**facts, "background": list(scores), "stages": stages}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
