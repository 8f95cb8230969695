"""What a sweep prints and writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from torch import Tensor

from afa_wsss.evaluation.label_counts import curve, pair_quality
from benchmarks.real.tables import Rows, show_figures

SINGLE_COLUMNS = ("score", "high: foreground", "of it right", "low: background", "of it right")
PAIR_COLUMNS = ("low high", "labeled", "mIoU of these", "foreground right", "background right")

DISTANCES = (1, 2, 3)
"""How many places below and above the best score the two of a pair are that is shown without ``--pairs``."""


STAGES_SIDE_BY_SIDE = 6
"""Stages in one table; more walks go into tables of their own."""


def batched(stages: Iterable[tuple[str, Tensor]], most: int) -> Iterator[list[tuple[str, Tensor]]]:
    """Up to ``most`` stages at a time, in their order."""
    rest = iter(stages)
    while group := list(islice(rest, most)):
        yield group


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
    curves = {name: curve(counts) for name, counts in found.items()}
    for group in batched(curves.items(), STAGES_SIDE_BY_SIDE):
        columns = dict(group)
        show_figures(f"mIoU of {photos} photos, %", ("background", *columns), curve_rows(columns, scores))
    for name, counts in found.items():
        title = f"{name}: what a score labels as the high one of a pair, and as the low one, %"
        show_figures(title, SINGLE_COLUMNS, single_rows(counts, scores))
    for name, counts in found.items():
        shown = around(scores, int(curves[name].argmax())) if pairs is None else pairs
        show_figures(f"{name}: pairs, %", PAIR_COLUMNS, pair_rows(counts, scores, shown))
    best = [(name, [values.max().item(), f"{scores[int(values.argmax())]:g}"]) for name, values in curves.items()]
    show_figures("best", ("stage", "mIoU", "background"), best)


def curve_rows(curves: Mapping[str, Tensor], scores: Sequence[float]) -> Rows:
    """A row for each background score; the best of each column is bold."""
    best = {name: int(values.argmax()) for name, values in curves.items()}
    return [
        (f"{score:g}", [f"[bold]{v[row]:.1f}[/]" if row == best[name] else float(v[row]) for name, v in curves.items()])
        for row, score in enumerate(scores)
    ]


def single_rows(counts: Tensor, scores: Sequence[float]) -> Rows:
    """What each score does as the high one of a pair, which decides the foreground, and as the low one."""
    rows = []
    for score, matrix in zip(scores, counts, strict=True):
        found = pair_quality(matrix, matrix)
        cells = [found.foreground, found.foreground_precision, found.background, found.background_precision]
        rows.append((f"{score:g}", cells))
    return rows


def around(scores: Sequence[float], best: int) -> list[float]:
    """Low and high scores one after the other, some places below and above that of index ``best``."""
    last = len(scores) - 1
    places = [place for distance in DISTANCES for place in (max(best - distance, 0), min(best + distance, last))]
    return [scores[place] for place in places]


def pair_rows(counts: Tensor, scores: Sequence[float], pairs: Sequence[float]) -> Rows:
    """Labeled pixels, their mIoU, and how many of foreground and background are right."""
    rows = []
    for low, high in zip(pairs[::2], pairs[1::2], strict=True):
        first, second = nearest(scores, low), nearest(scores, high)
        found = pair_quality(counts[first], counts[second])
        cells = [found.labeled, found.miou, found.foreground_precision, found.background_precision]
        rows.append((f"{scores[first]:g} {scores[second]:g}", cells))
    return rows


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
