"""The checkpoints of a run, and where the newest run is; needs neither torch nor Lightning."""

from __future__ import annotations

import zipfile
from pathlib import Path

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints inside that of the run."""

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
"""Names of the checkpoints of a run; ``previous.ckpt`` is what ``last.ckpt`` was before it was written again."""

OTHER_BEST = "best_of_other_data.ckpt"
"""What ``best.ckpt`` is called once a run goes on with other held-out photos: scores of both are not compared."""

AUTO = "auto"
"""Value of ``resume`` for the newest whole checkpoint of the run's folder, if there is one."""


def newest_run(runs: Path) -> Path:
    """The folder of ``runs`` with the newest checkpoint; ``runs/auto`` where none has any, for a run to begin in."""
    found = [path for name in (LAST, PREVIOUS) for path in runs.glob(f"*/{CHECKPOINTS}/{name}")]
    newest = max(found, key=lambda path: path.stat().st_mtime_ns, default=runs / AUTO / CHECKPOINTS / LAST)
    return newest.parents[1]


def is_whole(path: Path) -> bool:
    """Whether there is a checkpoint that was not cut off: the directory of torch's archive is at its end."""
    return path.is_file() and zipfile.is_zipfile(path)
