"""Sweeps: a job that fails is reported and counted, the others run, and the exit code says so."""

from __future__ import annotations

import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from afa_wsss.cli.messages import DEBUG_VARIABLE, user_message
from afa_wsss.cli.output import say
from afa_wsss.errors import UserError
from afa_wsss.report.sweep_jobs import DONE, FAILED, STOPPED, SweepJob, finite, sweep_jobs, varied_words, write_job

GRID = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
"""Hydra's own sweeper. It asks for no score, and ends at the first job that raises an error."""

WITHOUT_SCORE = ("predict", "pseudo_label")
"""Commands whose jobs give no score, as ``hydra.job.name`` has them."""


class JobFailedError(UserError):
    """A job of a sweep has failed, and has said why; sweepers that count failures catch it."""


class SweepFolder(Callback):
    """Hydra calls it when a run or a sweep begins; ``counted_jobs`` then knows where its jobs are.

    Attributes:
        begun: Folder and time of the sweep of this command; None where there is none.
        made: The setting that names the folder which Hydra makes next, and the folder.
    """

    begun: tuple[Path, float] | None = None
    made: tuple[str, Path] | None = None

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Keeps the folder."""
        SweepFolder.made = ("output_dir", Path(str(config.hydra.run.dir)))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Keeps the folder and the time."""
        folder = Path(str(config.hydra.sweep.dir))
        SweepFolder.begun, SweepFolder.made = (folder, time.time()), ("hydra.sweep.dir", folder)


def register_resolvers() -> None:
    """Makes known what conf/ asks of sweeps.

    ``${by_sweeper:GRID,SPACE}`` has values for a grid, and a space for other sweepers. ``${in_sweep:WHAT,OTHERWISE}``
    is the ``folder`` of the sweep that a job is of, its ``kind`` or ``_NUMBER`` of the job, and ``OTHERWISE`` for a run
    alone.
    """
    OmegaConf.register_new_resolver("by_sweeper", _by_sweeper, replace=True)
    OmegaConf.register_new_resolver("in_sweep", _in_sweep, replace=True)


def _by_sweeper(grid: str, space: str, *, _root_: DictConfig) -> str:
    return str(grid if _root_.hydra.sweeper._target_ == GRID else space)


def _in_sweep(what: str, otherwise: str | None) -> str | None:
    """The kind is that step of the ablation which a job trains, or ``sweep``."""
    if not HydraConfig.initialized() or not is_sweep():
        return otherwise
    place = HydraConfig.get()
    if what == "folder":
        return Path(str(place.sweep.dir)).name
    return f"_{place.job.num}" if what == "number" else str(place.runtime.choices.get("ablation") or "sweep")


def is_sweep() -> bool:
    """Whether the job that runs is one of a sweep."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def swept(run: Callable[[], Any]) -> Any:
    """Runs a job of a sweep, and keeps in ``job.json`` what became of it.

    Returns:
        What the job returns; NaN for a job that failed, where Hydra's own sweeper runs.

    Raises:
        JobFailedError: For other sweepers, which count failures themselves.
    """
    place = HydraConfig.get()
    folder, grid = Path(place.runtime.output_dir), place.sweeper._target_ == GRID
    words = tuple(word.lstrip("+") for word in place.overrides.task)
    job = SweepJob(int(place.job.num), words, time.time())
    write_job(folder, job)
    try:
        if not grid and place.job.name in WITHOUT_SCORE:
            raise UserError("need a command with a score for the sweeper, this one has none; leave out hydra/sweeper")
        result = run()
        if finite(result) is None and not grid:
            raise UserError("need a score for the sweeper, got none; give a validation split with masks")
    except Exception as error:  # noqa: BLE001  reported and counted: the other jobs run
        line = report_failure(error, job)
        write_job(folder, _ended(job, FAILED, error=line))
        if not grid:
            raise JobFailedError(f"job {job.number}: {line}") from None
        return float("nan")
    except BaseException:
        write_job(folder, _ended(job, STOPPED))
        raise
    write_job(folder, _ended(job, DONE, score=finite(result)))
    return result


def _ended(job: SweepJob, status: str, **found: Any) -> SweepJob:
    return replace(job, status=status, seconds=round(time.time() - job.started, 1), **found)


def report_failure(error: Exception, job: SweepJob) -> str:
    """Prints one line for a failed job and returns it; after the traceback where the mistake is not the user's."""
    message = user_message(error)
    if message is None or os.environ.get(DEBUG_VARIABLE):
        sys.stderr.write("".join(traceback.format_exception(error)))
    line = message or " ".join(f"{type(error).__name__}: {error}".split())
    sys.stderr.write(f"error: job {job.number}: {line}\n")
    return line


@contextmanager
def counted_jobs() -> Iterator[None]:
    """Ends a sweep with the number of its jobs, and with exit code 1 if one failed; other commands pass unchanged.

    A sweeper that ends the sweep because of failed jobs, as Optuna's beyond its failure rate, has nothing to add to
    what they said.
    """
    SweepFolder.begun = SweepFolder.made = None
    try:
        with _named_folder():
            yield
    except Exception as error:
        if not say_sweep():
            raise
        if not isinstance(error, JobFailedError):
            sys.stderr.write(f"error: the sweeper ended the sweep: {user_message(error) or error}\n")
        raise SystemExit(1) from None
    if say_sweep():
        raise SystemExit(1)


@contextmanager
def _named_folder() -> Iterator[None]:
    """Names the setting of a folder that Hydra cannot make; errors of jobs do not come here."""
    try:
        yield
    except OSError as error:
        setting, folder = SweepFolder.made or ("", Path())
        where = Path(error.filename).absolute() if isinstance(error.filename, str) else None
        if not setting or where is None or where not in (folder.absolute(), *folder.absolute().parents):
            raise
        message = f"need a folder that can be written to, got {error.filename} ({error.strerror}); choose another"
        raise UserError(message, arguments=(setting,)) from error


def say_sweep() -> int:
    """Prints how many jobs of this sweep were done and why others were not; the number of those.

    Jobs of earlier sweeps in the same folder are left out.
    """
    if SweepFolder.begun is None:
        return 0
    folder, since = SweepFolder.begun
    jobs = list(sweep_jobs(folder, since=since).values())
    failed = [job for job in jobs if job.status != DONE]
    if not jobs:
        return 0
    say(f"sweep: {len(jobs) - len(failed)} of {len(jobs)} jobs done{f', {len(failed)} failed' if failed else ''}")
    varied = varied_words(jobs)
    for job in failed:
        say(f"  job {job.number} ({' '.join(varied[job.number])}): {job.reason}", style="yellow")
    say(f"compare them: afa-sweep-report {shlex.quote(str(folder))}")
    return len(failed)
