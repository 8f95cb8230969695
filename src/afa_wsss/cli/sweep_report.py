"""``afa-sweep-report FOLDER``: the runs of a sweep side by side, in the terminal and as one HTML file."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from afa_wsss.api.sweep_report import SweepReportSettings, sweep_report
from afa_wsss.cli.compose import Composed
from afa_wsss.cli.output import say, say_files
from afa_wsss.cli.shell import Command
from afa_wsss.report.sweep_page import SweepSummary
from afa_wsss.report.sweep_values import short_names, short_text
from afa_wsss.report.tables import plain_table

ROWS = 12
"""Runs that are printed; the page has all."""


def compare_runs(composed: Composed[SweepReportSettings]) -> None:
    """Prints the best runs and what their settings have to do with the score, and names the runs without one."""
    found = sweep_report(composed.settings)
    console = Console(width=max(Console().width, 100))
    for table in (runs_table(found.summary), importance_table(found.summary)):
        console.print(table)
    for run in found.summary.failed:
        say(f"{run.name}: {run.reason}", style="yellow")
    for note in found.summary.notes:
        say(note, style="yellow")
    if found.summary.words:
        say(f"the best settings: {' '.join(found.summary.words)}")
    say_files({"report": found.written})


def runs_table(summary: SweepSummary) -> Table:
    """The best runs with the settings that vary."""
    metric = summary.scores[0]
    table = plain_table(f"{metric}, {len(summary.runs)} runs")
    table.add_column("run")
    for name in (*short_names(list(summary.runs[0].settings)).values(), metric):
        table.add_column(name, justify="right", overflow="fold")
    for run in summary.runs[:ROWS]:
        table.add_row(run.name, *map(short_text, run.settings.values()), f"{run.scores[metric]:.1f}")
    return table


def importance_table(summary: SweepSummary) -> Table:
    """The share of the variance that lies between the values of each setting."""
    table = plain_table("importance: share of the variance, in percent")
    for column in ("setting", "share", "best at", "mean there"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for one in summary.importance:
        share = "-" if one.share is None else f"{one.share:.0f}"
        table.add_row(one.setting, share, short_text(one.best), f"{one.mean:.1f}")
    return table


COMMAND = Command("sweep_report", SweepReportSettings, compare_runs)


def main() -> None:
    """Entry point of ``afa-sweep-report``; a word without ``=`` is the folder."""
    sys.argv[1:] = [word if "=" in word or word.startswith("-") else folder_word(word) for word in sys.argv[1:]]
    COMMAND.run()


def folder_word(folder: str) -> str:
    """``folder=...`` as Hydra reads it."""
    quoted = folder.replace("\\", "\\\\").replace("'", "\\'")
    return f"folder='{quoted}'"


if __name__ == "__main__":
    main()
