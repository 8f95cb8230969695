"""Loggers that a resumed run goes on with."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from afa_wsss.data.files.whole import whole_file

STEP = "trainer/global_step"
"""The axis on which Lightning's ``WandbLogger`` draws every curve."""


class MetricsCSV(CSVLogger):
    """``CSVLogger`` whose ``metrics.csv`` a resumed run goes on with; Lightning's own deletes it."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """Arguments of ``CSVLogger``."""
        super().__init__(*arguments, **settings)
        self.done_steps = 0

    @property
    @rank_zero_experiment
    def experiment(self) -> MetricsWriter:
        """Writes ``metrics.csv``; made at the first use."""
        if not isinstance(self._experiment, MetricsWriter):
            self._experiment = MetricsWriter(self.log_dir, done_steps=self.done_steps)
        return self._experiment


class MetricsWriter(ExperimentWriter):
    """Writes rows of scores; the file has whole rows at any time.

    A row of the same step and columns as an earlier one takes its place: a run that was killed repeats what it did
    after its last checkpoint.
    """

    def __init__(self, log_dir: str, *, done_steps: int = 0) -> None:
        """Starts anew, or goes on with the rows of the first ``done_steps`` steps in the file that is there."""
        super().__init__(log_dir)
        self.path, self.written = Path(self.metrics_file_path), False
        self.rows: dict[tuple[int, frozenset[str]], dict[str, Any]] = {}
        for row in read_rows(self.path) if done_steps else ():
            if int(row["step"]) < done_steps:
                self._add(row)

    def save(self) -> None:
        """Appends the new rows; writes the whole file beside and moves it where columns or earlier rows change."""
        new, self.metrics = self.metrics, []
        if not new and (self.written or not self.rows):
            return
        before = len(self.rows)
        for row in new:
            self._add(row)
        columns = sorted({name for row in self.rows.values() for name in row})
        if self.written and columns == self.metrics_keys and len(self.rows) == before + len(new):
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(_lines(columns, new))
            return
        self.metrics_keys, head = columns, dict(zip(columns, columns, strict=True))
        with whole_file(self.path) as part:
            part.write_text(_lines(columns, [head, *self.rows.values()]), encoding="utf-8", newline="")
        self.written = True

    def _add(self, row: dict[str, Any]) -> None:
        self.rows[int(row["step"]), frozenset(row)] = row

    def _check_log_dir_exists(self) -> None:
        """Lightning deletes the file here; ours is replaced when the first row is saved."""


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a ``metrics.csv``, each with its own columns alone; a last line that is cut off is left out."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    rows = csv.DictReader(io.StringIO(whole, newline=""))
    return [{name: value for name, value in row.items() if value} for row in rows if row.get("step")]


def _lines(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns).writerows(rows)
    return text.getvalue()


def wandb_ids(loggers: Sequence[Logger]) -> list[str]:
    """The ids of the wandb runs that are being written, in the order of their loggers."""
    return [str(logger.version) for logger in loggers if isinstance(logger, WandbLogger) and logger.version]


def wandb_runs(trainer: lightning.Trainer) -> list[Any]:
    """The ``wandb.Run`` of each ``WandbLogger`` of a Trainer; none in any process but the first."""
    if not trainer.is_global_zero:
        return []
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, WandbLogger)]


def go_on_with(loggers: Sequence[Logger], *, done_steps: int, ids: Sequence[str]) -> None:
    """Lets loggers go on with what a run of the same folder has written; call it before the first value is logged.

    Args:
        loggers: Loggers of the run that is resumed.
        done_steps: Training steps that its checkpoint has done.
        ids: Ids of its wandb runs, see ``wandb_ids``.
    """
    for logger in loggers:
        if isinstance(logger, MetricsCSV):
            logger.done_steps = done_steps
    waiting = [logger for logger in loggers if isinstance(logger, WandbLogger)]
    for logger, run in zip(waiting, ids, strict=False):
        if logger.version is None:
            logger._wandb_init["id"] = logger._id = run  # wandb.init is yet to come
