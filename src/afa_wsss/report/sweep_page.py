"""The report of a sweep: one HTML file with a table, importance, heat maps and parallel coordinates."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from afa_wsss.data.files.whole import whole_file
from afa_wsss.errors import UserError
from afa_wsss.report import sweep_lines
from afa_wsss.report.stages import BRANCH, CLASS_F1, stage_key, stage_title
from afa_wsss.report.sweep_lines import parallel_coordinates
from afa_wsss.report.sweep_runs import SweepRun, read_sweep, score_names
from afa_wsss.report.sweep_values import (
    SEED,
    HeatMap,
    Importance,
    heat_map,
    importances,
    repeats,
    short_names,
    short_text,
)
from afa_wsss.report.templates import page_template
from afa_wsss.report.warning import listed

MOST_IN_MAPS = 4
"""Settings that are drawn against each other, the most important ones: six maps."""

MOST_AXES = 8

SORTED_BY = (stage_key(BRANCH), CLASS_F1)
"""Scores that runs are sorted by unless one is named: the first that any run has."""


class SweepSummary(NamedTuple):
    """A sweep in a few lines.

    Attributes:
        runs: Those with scores, the best first.
        failed: Those without.
        scores: Names of the scores of the table.
        importance: Of each setting that varies.
        words: The settings of the best run as words.
        notes: What else to know of the runs, in lines.
    """

    runs: Sequence[SweepRun]
    failed: Sequence[SweepRun]
    scores: Sequence[str]
    importance: Sequence[Importance]
    words: Sequence[str]
    notes: Sequence[str] = ()


def summary_of(folder: Path, metric: str | None = None) -> SweepSummary:
    """Reads and sorts the runs below a folder.

    Args:
        folder: Of the sweep, or any with runs below it.
        metric: The score to sort by; None for mIoU, or F1 of the classes where no run has masks.

    Raises:
        UserError: For a folder without runs, and a score that no run has.
    """
    runs = read_sweep(folder)
    there = {name for run in runs for name in run.scores}
    metric = metric or next((name for name in SORTED_BY if name in there), SORTED_BY[0])
    scored = sorted((run for run in runs if metric in run.scores), key=lambda run: -run.scores[metric])
    if not scored:
        known = sorted({name for run in runs for name in run.scores if name.endswith(("miou", "f1"))})
        raise UserError(
            f"need runs with the score {metric}, none of {len(runs)} has it; there are {', '.join(known) or 'none'}",
            arguments=("metric",),
        )
    failed = [run if run.reason else run_without(run, metric) for run in runs if metric not in run.scores]
    settings = {name: value for name, value in scored[0].settings.items() if name != SEED and value}
    words = [shlex.quote(f"{name}={value}") for name, value in settings.items()]
    return SweepSummary(scored, failed, score_names(scored, metric), importances(scored, metric), words, _notes(runs))


def _notes(runs: Sequence[SweepRun]) -> list[str]:
    earlier = [run.name for run in runs if run.is_earlier]
    if not earlier:
        return []
    return [
        f"{listed(earlier)} {'is' if len(earlier) == 1 else 'are'} of an earlier sweep in the same folder, and "
        "compared all the same: remove what you do not want, or give each sweep its own hydra.sweep.dir"
    ]


def run_without(run: SweepRun, metric: str) -> SweepRun:
    """A finished run that lacks the score."""
    return SweepRun(run.name, run.settings, run.scores, f"has no {metric}")


def write_sweep_report(folder: Path, summary: SweepSummary, path: Path) -> Path:
    """Writes the page.

    Args:
        folder: Of the sweep, for its name.
        summary: Of its runs.
        path: The file to write.
    """
    metric = summary.scores[0]
    page = page_template("sweep.html").render(
        name=folder.resolve().name,
        metric=metric,
        facts=_facts(summary, metric),
        settings=list(summary.runs[0].settings),
        scores=summary.scores,
        runs=summary.runs,
        failed=summary.failed,
        notes=summary.notes,
        repeats=repeats(summary.runs, summary.scores),
        importance=summary.importance,
        maps=[_shaded(each) for each in _maps(summary, metric)],
        lines=parallel_coordinates(summary.runs, metric, _axes(summary)),
        frame=sweep_lines,
        words=" ".join(summary.words),
        names=short_names(list(summary.runs[0].settings)),
        short=short_text,
        title=score_title,
    )
    with whole_file(path) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def score_title(name: str) -> str:
    """Head of a column, short: mIoU of a stage has the name of the stage.

    Example:
        >>> [score_title(name) for name in ("val/miou", "val/par_miou", "val/cam_par_miou", "val/class_f1", "x/y")]
        ['branch', 'branch + PAR', 'CAM + PAR', 'classes, F1', 'x/y']
    """
    if name == CLASS_F1:
        return "classes, F1"
    stage = BRANCH if name == stage_key(BRANCH) else name.removeprefix("val/").removesuffix("_miou")
    return stage_title(stage).removeprefix("segmentation ") if stage_key(stage) == name else name.removeprefix("val/")


def _facts(summary: SweepSummary, metric: str) -> list[tuple[str, str]]:
    values = [run.scores[metric] for run in summary.runs]
    facts = [("best", f"{values[0]:.1f}"), ("mean", f"{fmean(values):.1f}"), ("worst", f"{values[-1]:.1f}")]
    return [*((f"{what} {metric}", text) for what, text in facts), ("runs", str(len(values)))] + (
        [("without a score", str(len(summary.failed)))] if summary.failed else []
    )


def _axes(summary: SweepSummary) -> list[str]:
    """The most important settings, in the order of the table."""
    chosen = {one.setting for one in summary.importance[:MOST_AXES]}
    return [name for name in summary.runs[0].settings if name in chosen]


def _maps(summary: SweepSummary, metric: str) -> list[HeatMap]:
    chosen = [one.setting for one in summary.importance if one.setting != SEED][:MOST_IN_MAPS]
    return [heat_map(summary.runs, metric, row, column) for row, column in combinations(chosen, 2)]


class Cell(NamedTuple):
    """A mean score and its strength of color in percent; no text where no run is."""

    text: str
    strength: float


def _shaded(each: HeatMap) -> Mapping[str, object]:
    """A heat map with colors: 0 for its lowest mean, 100 for its highest."""
    values = [value for row in each.cells for value in row if value is not None]
    low, high = min(values), max(values)
    span = high - low or 1.0
    cells = [
        [Cell("", 0.0) if value is None else Cell(f"{value:.1f}", 100 * (value - low) / span) for value in row]
        for row in each.cells
    ]
    return {**each._asdict(), "cells": cells}
