"""Trains one recipe for several seeds with the real command, and prints the scores of all.

    python -m benchmarks.real run --data voc_animals --out runs/voc --seeds 0 1 2 experiment=photos
    python -m benchmarks.real run --data voc_animals --out runs/voc_masks --seeds 0 1 2 --oracle experiment=photos

A run that has its metrics.json is not started again; one that fails is a line, and the next one starts. With --oracle
the words are those of the recipe: true masks replace its labels, and its words of ``supervision`` are left out but for
the radius. Where training photos have no masks, each seed trains on folds of the held-out photos (see the command
``folds``); a recipe whose steps follow the number of photos needs ``trainer.max_steps`` then, to train as long.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from afa_wsss.errors import UserError
from benchmarks.real.folds import write_folds
from benchmarks.real.held_out import open_photos
from benchmarks.real.scores import by_seed, finished, show
from benchmarks.real.tables import console_of

SHARED = Path(__file__).parents[3] / "shared" / "real"
"""Where the data sets of the studies lie, beside the project."""

FOLDS = 3
"""Parts that held-out photos are dealt in where they alone have masks."""


class Planned(NamedTuple):
    """One run.

    Attributes:
        folder: Folder of the run.
        words: Words of ``afa-train``.
    """

    folder: Path
    words: list[str]

    def is_done(self) -> bool:
        """Whether it was scored."""
        return (self.folder / "metrics.json").is_file()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, seeds, and the words of the command."""
    parser.epilog = "All other words are those of afa-train: experiment=..., trainer.max_steps=..., ..."
    parser.add_argument("--data", required=True, help="a folder of photos, or the name of one in ../shared/real")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", nargs="+", default=["0", "1", "2"])
    parser.add_argument("--oracle", action="store_true", help="true masks as targets")
    parser.add_argument("--folds", type=int, default=FOLDS, help="for --oracle where training photos have no masks")


def run(settings: argparse.Namespace) -> None:
    """Trains what is not done yet; ends with the scores, and with status 1 if a run failed."""
    console, failed = console_of(), 0
    planned = list(plan(settings))
    for one in planned:
        if one.is_done():
            console.print(f"{one.folder}: done before")
            continue
        start = time.monotonic()
        problem = train(one)
        failed += problem is not None
        took = f"done in {(time.monotonic() - start) / 60:.0f} min"
        console.print(f"{one.folder}: {problem or took}", soft_wrap=True, markup=False)
    done = [one.folder for one in planned if one.is_done()]
    if done:
        show(by_seed(finished(done)))
    if failed:
        sys.exit(1)


def plan(settings: argparse.Namespace) -> Iterator[Planned]:
    """The runs of all seeds, and of all folds where there are some.

    Raises:
        UserError: For data that is not there, and what ``write_folds`` refuses.
    """
    root = data_root(settings.data)
    seeds = [int(word) for word in settings.seeds if word.isdigit()]
    words = [word for word in settings.seeds if not word.isdigit()] + settings.words  # argparse takes them for seeds
    words = oracle_words(words) if settings.oracle else words
    roots = {"": root}
    if settings.oracle and not has_training_masks(root):
        folds = write_folds(root, settings.out / "folds", folds=settings.folds)
        roots = {f"_fold{fold}": folder for fold, (folder, _, _) in enumerate(folds)}
    for seed in seeds:
        for suffix, data in roots.items():
            folder = settings.out / f"seed{seed}{suffix}"
            own = [f"data.root={data}", f"seed={seed}", f"name={folder.name}", f"output_dir={folder}"]
            yield Planned(folder, [f"data={kind_of(data)}", *words, *own])


def data_root(data: str) -> Path:
    """The folder of that path, or of that name beside the project.

    Raises:
        UserError: Where there is neither.
    """
    for root in (Path(data), SHARED / data):
        if root.is_dir():
            return root.resolve()
    raise UserError(f"need a folder of photos, found none at {data} or {SHARED / data}", kind="missing")


def kind_of(root: Path) -> str:
    """The option of ``data`` that reads the folder."""
    return "partshapes" if (root / "ImageSets").is_dir() else "folder"


def has_training_masks(root: Path) -> bool:
    """Whether every training photo has a mask."""
    photos = open_photos(root, "train")
    return photos.count_masks() == len(photos)


def oracle_words(words: Sequence[str]) -> list[str]:
    """The words of a recipe with true masks as its labels; the window of affinity labels is kept."""
    kept = [word for word in words if not word.startswith("supervision") or word.startswith("supervision.radius=")]
    return [*kept, "supervision=oracle"]


def train(planned: Planned) -> str | None:
    """Runs the real command, its output in ``train.log`` beside the run; what went wrong, in a line, or None."""
    planned.folder.mkdir(parents=True, exist_ok=True)
    log = planned.folder / "train.log"
    with log.open("w", encoding="utf-8") as output:
        ended = subprocess.run(
            [sys.executable, "-m", "afa_wsss.cli.train", *planned.words], stdout=output, stderr=subprocess.STDOUT
        )
    if ended.returncode == 0 and planned.is_done():
        return None
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"failed with status {ended.returncode}: {lines[-1].strip() if lines else 'it said nothing'} ({log})"
