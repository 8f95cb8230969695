"""Processes that Lightning starts for ``trainer.devices`` above 1: each runs the command again, for one job."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, read_write

RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
"""Variables that Lightning sets for the processes it starts, and that make it believe they are already running."""


@contextmanager
def one_job() -> Iterator[None]:
    """Lets a job of a sweep have processes of its own.

    Lightning starts a process by this command's own words and ``hydra.run.dir``. Within a sweep those words stand for
    all jobs, and the folder is not this job's: for the time of the job both are replaced. What the job leaves in the
    environment is taken away, so that the next one starts its own processes.
    """
    words, surroundings = sys.argv, {name: os.environ.get(name) for name in RENDEZVOUS}
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:
        sys.argv = [words[0], *job.overrides.task, "hydra.mode=RUN"]  # a sweep=... among the words must not start one
        with read_write(cast(DictConfig, job)):
            job.run.dir = job.runtime.output_dir
    try:
        yield
        if "torch" in sys.modules:  # afa-data does without
            _leave_processes()
    finally:
        sys.argv = words
        for name, value in surroundings.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _leave_processes() -> None:
    import torch.distributed

    from afa_wsss.ops.processes import is_distributed

    if is_distributed():
        torch.distributed.destroy_process_group()
