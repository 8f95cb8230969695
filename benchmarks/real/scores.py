"""Mean and spread over seeds of every prediction stage, from the metrics.json of finished runs.

    python -m benchmarks.real scores runs/seed0 runs/seed1 runs/seed2
    python -m benchmarks.real scores runs --ceiling oracle_runs

A folder of runs stands for all of them. Runs of one seed on several folds (``seed0_fold0``, ``seed0_fold1``, ...) count
as one, their mean.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from afa_wsss.errors import UserError
from benchmarks.real.tables import console_of, markdown, show_figures

FIGURES = {
    "CAM at its best": "val/cam_best_miou",
    "CAM and PAR": "val/cam_par_miou",
    "walk": "val/walk_miou",
    "pseudo label": "val/pseudo_label_miou",
    "branch": "val/miou",
    "branch after PAR": "val/par_miou",
    "branch after CRF": "val/crf_miou",
    "image labels, F1": "val/class_f1",
}
"""Names of the scores in metrics.json by what they are, in the order of the method.

The pseudo label is the one that training ended with: after walk and PAR, or of CAM and PAR where the walk was left out.
"""

CEILED = ("branch", "branch after PAR", "branch after CRF")
"""Scores that a network trained on true masks has, too; the best of its own is the ceiling of all that are mIoU."""

Scores = Mapping[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Finished runs."""
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, or folders that hold some")
    parser.add_argument("--ceiling", type=Path, nargs="+", help="runs on true masks: adds the share of their best mIoU")
    parser.add_argument("--markdown", type=Path, help="a file to append the Markdown table to, beside the terminal")


def run(settings: argparse.Namespace) -> None:
    """Prints both tables."""
    scores = by_seed(finished(settings.runs))
    ceiling = None if settings.ceiling is None else ceiling_of(by_seed(finished(settings.ceiling)))
    show(scores, ceiling=ceiling, file=settings.markdown)


def show(scores: Mapping[str, Scores], *, ceiling: float | None = None, file: Path | None = None) -> None:
    """Prints the scores by stage, as a table and as Markdown.

    Args:
        scores: By seed.
        ceiling: mIoU that true masks reach; None where it is not known.
        file: Gets the Markdown table, too.
    """
    head = ("stage", "mean", "±", *([] if ceiling is None else ["% of ceiling"]), *scores)
    rows = table_rows(scores, ceiling)
    show_figures("mIoU in percent; ± is the standard deviation over the runs", head, rows)
    text = markdown(head, rows)
    console_of().print(f"\n{text}", soft_wrap=True, markup=False)
    if file is not None:
        with file.open("a", encoding="utf-8") as opened:
            opened.write(text + "\n")


def finished(folders: Sequence[Path]) -> dict[Path, Scores]:
    """Scores of each finished run, by its folder.

    Raises:
        UserError: Where a folder holds none.
    """
    found: dict[Path, Scores] = {}
    for folder in folders:
        own = folder / "metrics.json"
        files = [own] if own.is_file() else sorted(folder.glob("*/metrics.json"))
        if not files:
            raise UserError(f"need the folder of a finished run, or one that holds some; {folder} has no metrics.json")
        found |= {file.parent: json.loads(file.read_text(encoding="utf-8")) for file in files}
    return found


def by_seed(runs: Mapping[Path, Scores]) -> dict[str, Scores]:
    """Scores by the folder's name; those of several folds are one row, their mean."""
    grouped: dict[str, list[Scores]] = {}
    for folder, scores in runs.items():
        grouped.setdefault(re.sub(r"_fold\d+$", "", _title(folder, runs)), []).append(scores)
    return {
        title: {name: mean(one[name] for one in alike) for name in alike[0] if all(_number(one, name) for one in alike)}
        for title, alike in grouped.items()
    }


def _title(folder: Path, runs: Mapping[Path, Any]) -> str:
    """The folder's name, with its parent's where several have the name."""
    alike = sum(other.name == folder.name for other in runs)
    return folder.name if alike == 1 else f"{folder.parent.name}/{folder.name}"


def _number(scores: Scores, name: str) -> bool:
    return isinstance(scores.get(name), int | float)


def ceiling_of(scores: Mapping[str, Scores]) -> float:
    """The best mean score of a network trained on true masks.

    Raises:
        UserError: Where its runs have no mIoU.
    """
    means = [
        mean(one[FIGURES[title]] for one in scores.values())
        for title in CEILED
        if all(FIGURES[title] in one for one in scores.values())
    ]
    if not means:
        raise UserError("need runs with val/miou as the ceiling, these have none")
    return max(means)


def table_rows(
    scores: Mapping[str, Scores], ceiling: float | None = None
) -> list[tuple[str, list[float | str | None]]]:
    """A row for each stage that any run has: mean, spread, share of the ceiling, and each run."""
    rows: list[tuple[str, list[float | str | None]]] = []
    for title, name in FIGURES.items():
        values = [one[name] for one in scores.values() if name in one]
        if not values:
            continue
        spread = stdev(values) if len(values) > 1 else None
        counts = ceiling is not None and title != "image labels, F1"
        share = [] if ceiling is None else [100 * mean(values) / ceiling if counts else None]
        rows.append((title, [mean(values), spread, *share, *(one.get(name) for one in scores.values())]))
    return rows
