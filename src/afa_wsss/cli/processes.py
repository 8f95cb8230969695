"""Processes that Lightning starts for ``trainer.devices`` above 1: each runs the command again, for one job."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, read_write

OBSERVER = "child-process-observer"
"""Lightning's thread that ends a process once one of those that it has started ended with an error."""

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
        # A sweep=... among the words must not start one; recipes of one's own have to be found.
        sys.argv = [words[0], *_where_recipes_are(words[1:]), *job.overrides.task, "hydra.mode=RUN"]
        with read_write(cast(DictConfig, job)):
            job.run.dir = job.runtime.output_dir
    try:
        yield
    except BaseException:
        if job.mode == RunMode.MULTIRUN:
            _end_processes()
        raise
    else:
        _leave_processes()
    finally:
        sys.argv = words
        for name, value in surroundings.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _where_recipes_are(words: Sequence[str]) -> list[str]:
    """``--config-dir FOLDER`` and ``hydra.searchpath=...``, as they were given."""
    found = [word for word in words if word.startswith(("--config-dir=", "hydra.searchpath="))]
    for flag, folder in pairwise(words):
        found += [flag, folder] if flag in ("--config-dir", "-cd") else []
    return found


def _end_processes() -> None:
    """Ends the processes of a job that failed: the thread that watches them would end this one, and the whole sweep."""
    for thread in threading.enumerate():
        if thread.name == OBSERVER:
            watched: list[subprocess.Popen[bytes]] = getattr(thread, "_child_processes", [])
            children = [*watched]
            watched.clear()
            for child in children:
                child.kill()
                child.wait()
    _leave_processes()


def _leave_processes() -> None:
    if "torch" not in sys.modules:  # afa-data does without
        return
    import torch.distributed

    from afa_wsss.ops.processes import is_distributed

    if is_distributed():
        torch.distributed.destroy_process_group()
