"""Processes that torchrun or srun has started, each with the same command; needs neither torch nor Lightning."""

from __future__ import annotations

import os

STARTERS = (("torchrun", "TORCHELASTIC_RUN_ID", "WORLD_SIZE"), ("srun", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS"))
"""Who starts processes, a variable by which they know, and the one that has their number.

The script of ``sbatch`` itself is one process, whatever the tasks of its job: it has no number of a step's tasks.
"""


def started_processes() -> tuple[str, int]:
    """Who has started how many processes of this command; ``("", 1)`` where it runs alone."""
    found = ((by, os.environ.get(count, "")) for by, mark, count in STARTERS if mark in os.environ)
    return next(((by, int(count)) for by, count in found if count.isdigit()), ("", 1))
