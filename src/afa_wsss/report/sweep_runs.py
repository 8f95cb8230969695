"""The runs of a sweep: the settings in which they differ, and their scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from afa_wsss.errors import UserError
from afa_wsss.report.sweep_jobs import DONE, JOB_FILE, RUNNING, SweepJob, finite, of_earlier_sweep, read_job

NOT_COMPARED = ("output_dir", "name", "resume", "config", "sweep")
"""Words that name a run or where it is; those of ``hydra.`` are not compared either."""

SCORES_FILE = "metrics.json"

FIRST_SCORES = (
    "val/miou",
    "val/par_miou",
    "val/crf_miou",
    "val/pseudo_label_miou",
    "val/walk_miou",
    "val/cam_par_miou",
    "val/cam_miou",
    "val/class_f1",
)
"""Scores of the table, those that there are."""


@dataclass(frozen=True)
class SweepRun:
    """One run.

    Attributes:
        name: Its folder, below that of the sweep.
        settings: Those that vary over the runs, by full name; an empty text where it has none.
        scores: As in ``metrics.json``; empty where it has none.
        reason: Why there are no scores; None where there are.
        is_earlier: Whether a later sweep, of fewer jobs, was done in the same folder: the run may have other settings
            than those that are compared.
    """

    name: str
    settings: Mapping[str, str]
    scores: Mapping[str, float]
    reason: str | None = None
    is_earlier: bool = False


def read_sweep(folder: Path) -> list[SweepRun]:
    """The runs below a folder, in the order of their numbers or names.

    The words of the jobs tell which settings vary; where runs have no words of their own, or only one, their
    ``config.yaml`` does.

    Raises:
        UserError: Where there is no folder, or fewer than two runs in it.
    """
    if not folder.is_dir():
        raise UserError(f"need the folder of a sweep, found none at {folder}", arguments=("folder",))
    places = sorted(_run_folders(folder), key=_order)
    if len(places) < 2:
        raise UserError(
            f"need a folder with the runs of a sweep below it, {folder} has {len(places)}; give the one above the runs",
            arguments=("folder",),
        )
    configs = [flat(_yaml(place / "config.yaml")) for place in places]
    varying = _varying([_words(place) for place in places], configs) or _varying(configs, configs)
    earlier = {place for place in places if (job := read_job(place)) is not None and of_earlier_sweep(place, job)}
    earlier = set() if len(earlier) == len(places) else earlier  # a copy of a folder has other times
    runs = []
    for place, values in zip(places, varying or [{} for _ in places], strict=True):
        job = read_job(place)
        own = job is None or (job.status in (DONE, RUNNING) and not _is_older(place, job))
        scores = _scores(place) if own else {}
        reason = None if scores else (job.reason if job else None) or _without_scores(place, job)
        runs.append(SweepRun(str(place.relative_to(folder)), values, scores, reason, place in earlier))
    return runs


def _run_folders(folder: Path) -> set[Path]:
    """Folders with a job or the scores of a run; ``folder`` itself is none, nor is any inside a run's.

    Inside of a run's folder are evaluations of it, and what an earlier run left there.
    """
    marks = [path for name in (JOB_FILE, SCORES_FILE) for path in folder.rglob(name)]
    places = {path.parent for path in marks} - {folder}
    return {place for place in places if not places.intersection(place.parents)}


def _is_older(place: Path, job: SweepJob) -> bool:
    """Whether the scores of a folder were there before its job began, as those of a sweep before it."""
    scores = place / SCORES_FILE
    return scores.is_file() and scores.stat().st_mtime < job.started


def _order(place: Path) -> tuple[str, int, str]:
    job = read_job(place)
    return str(place.parent), -1 if job is None else job.number, place.name


def _scores(place: Path) -> dict[str, float]:
    try:
        content = json.loads((place / SCORES_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: number for name, value in content.items() if (number := finite(value)) is not None}


def _without_scores(place: Path, job: SweepJob | None) -> str:
    """Why a run that is not known to have failed has no scores."""
    if not (place / SCORES_FILE).is_file():
        return "has no metrics.json: not finished"
    older = job is not None and _is_older(place, job)
    return "has a metrics.json from before it began" if older else "has no scores that can be read in metrics.json"


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _words(place: Path) -> dict[str, str]:
    """The words of a run by their names: from ``job.json``, or as Hydra stores them."""
    job = read_job(place)
    words = job.words if job else _yaml(place / ".hydra" / "overrides.yaml") or ()
    split = [str(word).lstrip("+").partition("=") for word in words]
    return {name: value for name, _, value in split}


def flat(values: Any, above: str = "") -> dict[str, str]:
    """Settings by full name, as text; references between settings are left out."""
    return dict(_leaves(values, above))


def _leaves(values: Any, above: str) -> Iterator[tuple[str, str]]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _leaves(value, f"{above}.{name}" if above else str(name))
    elif above and "${" not in str(values):
        yield above, "null" if values is None else str(values)


def _varying(given: Sequence[Mapping[str, str]], configs: Sequence[Mapping[str, str]]) -> list[dict[str, str]] | None:
    """The settings of ``given`` that differ between runs, completed from their configurations; None if none do."""
    names = dict.fromkeys(name for one in given for name in one)
    kept = [name for name in names if name not in NOT_COMPARED and not name.startswith("hydra")]
    rows = [
        {name: one.get(name, config.get(name, "")) for name in kept} for one, config in zip(given, configs, strict=True)
    ]
    differing = [name for name in kept if len({row[name] for row in rows}) > 1]
    return [{name: row[name] for name in differing} for row in rows] if differing else None


def score_names(runs: Sequence[SweepRun], metric: str) -> list[str]:
    """The scores to show: ``metric`` first, then those of ``FIRST_SCORES`` that any run has."""
    there = {name for run in runs for name in run.scores}
    return [metric, *(name for name in FIRST_SCORES if name in there and name != metric)]
