"""The recipe and options beside it, run after run, on the same data and seeds.

    python -m benchmarks.options.run --data partshapes --seeds 0 1 2
    python -m benchmarks.options.run --data photos --options ema,ptc --words data.root=PHOTOS trainer.max_steps=400

Each run is the command afa-train in a process of its own. A finished run is a row of the CSV file; runs that have one
are not done again. A run that fails is reported, and the next one begins.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from afa_wsss.errors import UserError
from benchmarks.options.table import BASELINE, OPTIONS, RECIPES

REPOSITORY = Path(__file__).parents[2]
METRICS = (
    "val/miou",
    "val/par_miou",
    "val/crf_miou",
    "val/cam_best_miou",
    "val/walk_miou",
    "val/pseudo_label_miou",
)
COLUMNS = ("option", "seed", *METRICS, "seconds")

Row = Mapping[str, str]


class Trial(NamedTuple):
    """One run.

    Attributes:
        option: Its name, a key of ``OPTIONS``.
        seed: Seed of the run.
        words: Words of ``afa-train``.
        folder: Folder of the run.
    """

    option: str
    seed: int
    words: tuple[str, ...]
    folder: Path


def trials(
    data: str, options: Sequence[str], seeds: Sequence[int], *, folder: Path, extra: Sequence[str] = ()
) -> list[Trial]:
    """All runs, one seed after the other, so that each option soon stands beside the baseline.

    Args:
        data: A key of ``RECIPES``.
        options: Keys of ``OPTIONS``.
        seeds: Seeds of the runs.
        folder: Folder of all runs; each gets one below.
        extra: Words for every run, after those of the recipe and before those of the option.
    """
    found = []
    for seed in seeds:
        for option in options:
            place = folder / f"{option}_{seed}"
            own = (f"seed={seed}", f"output_dir={place}")
            found.append(Trial(option, seed, (*RECIPES[data], *extra, *OPTIONS[option], *own), place))
    return found


def rows_of(path: Path) -> list[Row]:
    """The finished runs; none where there is no file.

    Raises:
        UserError: For a file with other columns.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            found = ", ".join(table.fieldnames or ())
            raise UserError(f"need the columns {', '.join(COLUMNS)} in {path}, got {found}; choose another --folder")
        return list(table)


def is_done(trial: Trial, rows: Sequence[Row]) -> bool:
    """Whether a row has the option and seed of a run."""
    return any(row["option"] == trial.option and row["seed"] == str(trial.seed) for row in rows)


def add_row(path: Path, trial: Trial, metrics: Mapping[str, float], seconds: float) -> None:
    """Appends a finished run; scores that it does not have stay empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        if fresh:
            table.writerow(COLUMNS)
        scores = [f"{metrics[name]:.3f}" if name in metrics else "" for name in METRICS]
        table.writerow([trial.option, trial.seed, *scores, f"{seconds:.0f}"])


def train(trial: Trial) -> dict[str, float]:
    """The scores of one run of this repository's ``afa-train``, whose output goes to ``run.log`` in its folder.

    Raises:
        RuntimeError: With the last lines of the output, where the command fails.
    """
    trial.folder.mkdir(parents=True, exist_ok=True)
    log = trial.folder / "run.log"
    folders = (str(REPOSITORY), str(REPOSITORY / "src"), os.environ.get("PYTHONPATH"))
    path = os.pathsep.join(filter(None, folders))
    command = [sys.executable, "-m", "afa_wsss.cli.train", *trial.words]
    with log.open("w", encoding="utf-8") as output:
        code = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": path}, check=False
        ).returncode
    if code != 0:
        last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
        raise RuntimeError(f"afa-train ended with {code}; {log} ends:\n{last}")
    scores: dict[str, float] = json.loads((trial.folder / "metrics.json").read_text(encoding="utf-8"))
    return scores


def run_all(
    wanted: Sequence[Trial], path: Path, *, console: Console, job: Callable[[Trial], Mapping[str, float]] = train
) -> list[Trial]:
    """Does the runs that have no row yet, and appends theirs.

    Args:
        wanted: In their order.
        path: The CSV file.
        console: For a line on each run.
        job: Does one run and gives its scores.

    Returns:
        Those that failed.
    """
    failed = []
    for trial in wanted:
        name = f"{trial.option}, seed {trial.seed}"
        if is_done(trial, rows_of(path)):
            console.print(f"{name}: done before")
            continue
        start = time.perf_counter()
        try:
            metrics = job(trial)
        except (RuntimeError, OSError, ValueError) as error:
            failed.append(trial)
            console.print(f"{name}: failed: {error}", style="red", markup=False)
            continue
        seconds = time.perf_counter() - start
        add_row(path, trial, metrics, seconds)
        console.print(f"{name}: val/miou {metrics.get('val/miou', math.nan):.2f}, {seconds:.0f} s")
    return failed


def values_of(rows: Sequence[Row], option: str, column: str) -> dict[int, float]:
    """What the finished runs of an option have in a column, by seed."""
    return {int(row["seed"]): float(row[column]) for row in rows if row["option"] == option and row[column]}


def cell(rows: Sequence[Row], option: str, column: str) -> str:
    """Mean and standard deviation over the seeds, and the mean difference from the baseline at equal seeds.

    A difference is marked with ``*`` where it is more than the larger one of the two deviations; one seed has none.
    """
    own, base = (values_of(rows, name, column) for name in (option, BASELINE))
    if not own:
        return ""
    spreads = [stdev(values.values()) if len(values) > 1 else math.nan for values in (own, base)]
    shown = f"{mean(own.values()):.1f}" + (f" ± {spreads[0]:.1f}" if len(own) > 1 else "")
    shared = [own[seed] - base[seed] for seed in own if seed in base]
    if option == BASELINE or not shared:
        return shown
    difference = mean(shared)
    return f"{shown} ({difference:+.1f}{'*' if abs(difference) > max(spreads) else ''})"


def summary(rows: Sequence[Row]) -> Table:
    """A line for each option: see ``cell``."""
    names = list(dict.fromkeys(row["option"] for row in rows))
    table = Table(title="mean ± standard deviation over seeds (difference from the baseline; * beyond both deviations)")
    for title in ("option", "seeds", *METRICS, "seconds"):
        table.add_column(title.removeprefix("val/"), justify="left" if title == "option" else "right")
    for name in sorted(names, key=lambda name: name != BASELINE):
        seeds = str(len(values_of(rows, name, "seconds")))
        table.add_row(name, seeds, *(cell(rows, name, column) for column in (*METRICS, "seconds")))
    return table


def options_of(text: str) -> list[str]:
    """Names separated by commas, the baseline first.

    Raises:
        argparse.ArgumentTypeError: For an unknown one.
    """
    names = [name for name in dict.fromkeys(text.split(",")) if name and name != BASELINE]
    unknown = [name for name in names if name not in OPTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"need options of {', '.join(OPTIONS)}; got {', '.join(unknown)}")
    return [BASELINE, *names]


def main(words: Sequence[str] | None = None, *, job: Callable[[Trial], Mapping[str, float]] = train) -> None:
    """Runs, appends rows, prints the table; exits with 1 where a run failed, or the file is another's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=RECIPES, default="partshapes", help="the recipe")
    parser.add_argument("--options", type=options_of, default=list(OPTIONS), help="names with commas between; all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--words", nargs="+", default=[], metavar="WORD", help="words of afa-train for every run")
    parser.add_argument("--folder", type=Path, help="of runs and CSV file; without it outputs/options/DATA")
    settings = parser.parse_args(words)
    folder = (settings.folder or Path("outputs/options") / settings.data).absolute()
    path, console = folder / "runs.csv", Console()
    wanted = trials(settings.data, settings.options, settings.seeds, folder=folder, extra=settings.words)
    try:
        failed = run_all(wanted, path, console=console, job=job)
    except UserError as error:
        sys.exit(f"error: {error}")
    Console(width=max(console.width, 140)).print(summary(rows_of(path)))  # wider than many terminals, but never cut
    console.print(f"rows: {path}", soft_wrap=True)
    if failed:
        sys.exit("failed: " + ", ".join(f"{trial.option} with seed {trial.seed}" for trial in failed))


if __name__ == "__main__":
    main()
