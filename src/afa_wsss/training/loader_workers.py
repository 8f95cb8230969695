"""What a loader's worker does before its first photo."""

from __future__ import annotations

import signal

from lightning.fabric.utilities.seed import pl_worker_init_function


def prepare_worker(worker: int) -> None:
    """Seeds a worker as Lightning does, and leaves signals to the process that the worker belongs to.

    Ctrl-C in a terminal and SLURM's signals reach workers too. They have to load on: training stops after a whole step.
    The second SIGTERM ends a worker, because torch and Python send it to those that are left over.
    """
    pl_worker_init_function(worker)
    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
