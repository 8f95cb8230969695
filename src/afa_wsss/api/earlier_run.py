"""What an earlier run left in the folder of a run that starts anew: kept, and never taken for the new run's."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

from afa_wsss.errors import UserError
from afa_wsss.training.run_files import BEST, CHECKPOINTS, LAST, PREVIOUS

FILES = (
    *(f"{CHECKPOINTS}/{name}" for name in (LAST, PREVIOUS, BEST)),
    "metrics.json",
    "report.html",
    "config.yaml",
    "run.json",
    "logs/metrics.csv",
    "montages",
)
"""What a run is resumed from, what its results are read from, and how it was started; pictures are a folder."""


def set_aside(folder: Path) -> None:
    """Moves ``FILES`` to ``earlier_1`` below the folder, or the next number that is free, and says so.

    A run that came to nothing, with settings alone, leaves nothing to keep.
    """
    there = [name for name in FILES if (folder / name).exists()]
    if not set(there) - {"config.yaml", "run.json"}:
        return
    there += [path.name for path in folder.glob("code_*.diff")]
    aside = next(path for count in itertools.count(1) if not (path := folder / f"earlier_{count}").exists())
    for name in there:
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).replace(aside / name)
    logging.getLogger(__name__).info("checkpoints and scores of an earlier run in %s are in %s now", folder, aside.name)


def check_no_run(folder: Path) -> None:
    """Checks that a command other than training does not write over settings, scores and report of a run.

    Raises:
        UserError: For a folder with checkpoints.
    """
    if any((folder / CHECKPOINTS / name).is_file() for name in (LAST, PREVIOUS, BEST)):
        raise UserError(
            f"need an output_dir that is not the folder of a training run, {folder} has {CHECKPOINTS}: its settings, "
            "scores and report would be written over; give another folder, such as one inside it",
            arguments=("output_dir",),
        )
