"""Compares the runs of a sweep, and writes the report of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from afa_wsss.report.sweep_page import SweepSummary, summary_of, write_sweep_report


@dataclass(frozen=True)
class SweepReportSettings:
    """What is compared.

    Attributes:
        folder: Folder of the sweep, or any with runs below it.
        metric: Score that the runs are sorted by, as in ``metrics.json``; higher is better. None for ``val/miou``, or
            ``val/class_f1`` where no run has it, as without masks.
        output: File of the report; None for ``sweep.html`` in ``folder``.
    """

    folder: str
    metric: str | None = None
    output: str | None = None


class SweepReport(NamedTuple):
    """A report of a sweep: its runs, and the file."""

    summary: SweepSummary
    written: Path


def sweep_report(settings: SweepReportSettings) -> SweepReport:
    """Reads the runs and writes the page.

    Raises:
        UserError: For a folder without runs, and a metric that none has.
    """
    folder = Path(settings.folder).expanduser()
    summary = summary_of(folder, settings.metric)
    path = Path(settings.output).expanduser() if settings.output else folder / "sweep.html"
    return SweepReport(summary, write_sweep_report(folder, summary, path))
