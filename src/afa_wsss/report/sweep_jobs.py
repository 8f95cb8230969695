"""``job.json``: what became of one job of a sweep; written into the job's folder when it starts and when it ends."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from afa_wsss.data.files.whole import whole_file

JOB_FILE = "job.json"

SWEEP_FILE = "multirun.yaml"
"""What Hydra writes into the folder of a sweep when it begins."""

CLOCKS = 2.0
"""Seconds that the clocks of two machines may differ by."""

RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"


@dataclass(frozen=True)
class SweepJob:
    """One job.

    Attributes:
        number: Its number in the sweep, from 0.
        words: Its words of the command line.
        started: Time of its start in seconds since 1970.
        status: ``running`` until it ends; a job that was killed keeps it. ``done``, ``failed``, or ``stopped`` by the
            user or the system.
        seconds: How long it ran; None until it ends.
        score: What it returned to the sweeper; None where that was nothing or no number.
        error: Why it failed, in one line.
    """

    number: int
    words: tuple[str, ...]
    started: float
    status: str = RUNNING
    seconds: float | None = None
    score: float | None = None
    error: str | None = None

    @property
    def reason(self) -> str | None:
        """Why there is no result; None for a job that is done."""
        killed = "ended without a message: killed, or still running"
        return None if self.status == DONE else self.error or (killed if self.status == RUNNING else self.status)


def write_job(folder: Path, job: SweepJob) -> None:
    """Writes ``job.json``; a reader never sees half of it."""
    with whole_file(folder / JOB_FILE) as part:
        part.write_text(json.dumps(asdict(job), indent=1) + "\n", encoding="utf-8")


def read_job(folder: Path) -> SweepJob | None:
    """The job of a folder; None where there is none, or nothing that can be read."""
    try:
        content: dict[str, Any] = json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))
        job = SweepJob(**{**content, "words": tuple(map(str, content["words"]))})
        return job if finite(job.number) is not None and finite(job.started) is not None else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def sweep_jobs(folder: Path, *, since: float = 0.0) -> dict[Path, SweepJob]:
    """The jobs whose folders are anywhere below ``folder``, by their folders, in the order of their numbers.

    Args:
        folder: Of the sweep.
        since: Leaves out jobs that started before; in seconds since 1970.
    """
    found = dict(_read_all(folder))
    recent = {place: job for place, job in found.items() if job.started >= since}
    return dict(sorted(recent.items(), key=lambda entry: (entry[1].number, entry[0])))


def _read_all(folder: Path) -> Iterator[tuple[Path, SweepJob]]:
    for path in folder.rglob(JOB_FILE):
        if (job := read_job(path.parent)) is not None:
            yield path.parent, job


def of_earlier_sweep(place: Path, job: SweepJob) -> bool:
    """Whether a later sweep, of fewer jobs, began in the folder above and left this job as it was.

    Jobs whose folders are named otherwise than by their numbers may be added to by a sweep of other words.
    """
    later = place.parent / SWEEP_FILE
    named = place.name == str(job.number) and later.is_file()
    return named and job.started < later.stat().st_mtime - CLOCKS


def varied_words(jobs: Sequence[SweepJob]) -> dict[int, list[str]]:
    """The words of each job, by its number, that not all jobs have; all words of a job that is alone."""
    shared = set.intersection(*(set(job.words) for job in jobs)) if len(jobs) > 1 else set()
    return {job.number: [word for word in job.words if word not in shared] for job in jobs}


def finite(value: object) -> float | None:
    """``value`` where it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
