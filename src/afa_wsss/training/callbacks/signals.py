"""Signals that stop training: between two steps, saved, with the exit code that shells know."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

import lightning
import torch
import torch.distributed
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.trainer.connectors.signal_connector import _HandlersCompose

from afa_wsss.types import Batch

notes = logging.getLogger(__name__)


class Stopped(SystemExit):
    """A signal has stopped training.

    Attributes:
        code: Exit code, 128 and the signal's number.
        signum: The signal.
        requeues: Whether SLURM is to start the job again.
    """

    def __init__(self, signum: int, *, requeues: bool = False) -> None:
        """The signal that came first, in any process."""
        super().__init__(128 + signum)
        self.signum, self.requeues = signum, requeues


class Signals(Callback):
    """Ends training with ``Stopped`` before the next step, or the next batch of a validation, once a signal has come.

    Those are SIGTERM, SIGINT (Ctrl-C), and under SLURM the signal before a job's end or pre-emption (SIGUSR1, or what
    Lightning's ``SLURMEnvironment`` is set to). In training all processes stop at the same step, whichever of them got
    the signal. A second Ctrl-C ends the process at once; nothing is saved then.

    Attributes:
        received: The first signal that this process got; 0 before.
    """

    def __init__(self) -> None:
        """Nothing is listened to before training starts."""
        self.received, self.process = 0, 0
        self.trainer: lightning.Trainer | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Takes the place of Lightning's handlers, which Lightning takes away at the end of the run."""
        self.listen(trainer)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """As for training: a validation may be a run of its own."""
        self.listen(trainer)

    def listen(self, trainer: lightning.Trainer) -> None:
        """Installs the handlers, in the main thread alone: Python allows no other."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.trainer, self.process = trainer, os.getpid()
        if trainer.received_sigterm:  # while data and weights were opened
            self.received = self.received or signal.SIGTERM
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self.receive)
        requeue = requeue_signal(trainer)
        if requeue and isinstance(signal.getsignal(requeue), _HandlersCompose):  # Lightning's, and no one else's
            signal.signal(requeue, self.receive)

    def receive(self, signum: int, frame: FrameType | None) -> None:
        """The handler. A loader's worker has inherited it; the signal is none of its business."""
        if os.getpid() != self.process or self.trainer is None:
            return
        first = self.trainer.is_global_zero
        if signum == signal.SIGINT and self.received == signal.SIGINT and first:
            kill_launched(self.trainer)
            os._exit(128 + signum)
        if signum == signal.SIGINT and not self.received and first:
            # Not print(): it may be what the signal has interrupted.
            os.write(2, b"\nstopping after this step; Ctrl-C again ends at once, and saves nothing\n")
        self.received = self.received or signum

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Asks all processes. Lightning's loop has just waited for the device, where there are several."""
        signum = self.received
        if trainer.world_size > 1:
            asked = torch.tensor(signum, device=pl_module.device)
            torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
            signum = int(asked)
        self.stop(trainer, signum)

    def on_validation_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Asks this process alone: others may have fewer batches."""
        self.stop(trainer, self.received)

    def stop(self, trainer: lightning.Trainer, signum: int) -> None:
        """Ends training if there was a signal.

        Raises:
            Stopped: Which Lightning's Trainer passes on after callbacks have saved.
        """
        if signum:
            self.received = self.received or signum
            raise Stopped(signum, requeues=signum == requeue_signal(trainer))


def requeue_signal(trainer: lightning.Trainer) -> int:
    """The signal upon which SLURM is to start the job again; 0 where there is none."""
    environment: Any = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue and environment.requeue_signal:
        return int(environment.requeue_signal)
    return 0


def leave(trainer: lightning.Trainer, stopped: Stopped) -> NoReturn:
    """Ends a run that a signal has stopped, after its state was saved.

    Raises:
        KeyboardInterrupt: For Ctrl-C, as Python does.
        Stopped: For the other signals.
        SystemExit: In processes that Lightning has started: it kills the first one if another ends with an error.
    """
    if not trainer.is_global_zero and was_launched(trainer):
        raise SystemExit(0) from None
    if trainer.is_global_zero and stopped.requeues:
        requeue()
    kill_launched(trainer)
    if stopped.signum == signal.SIGINT:
        raise KeyboardInterrupt from None
    raise stopped


def requeue() -> None:
    """Has SLURM start this job again."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")
    try:
        code = subprocess.run(["scontrol", "requeue", job], check=False).returncode
    except OSError as error:
        notes.warning("warning: SLURM was not asked to start job %s again: scontrol: %s", job, error.strerror)
        return
    if code == 0:
        notes.warning("SLURM starts job %s again", job)
    else:
        notes.warning("warning: scontrol requeue %s failed with exit code %s", job, code)


def was_launched(trainer: lightning.Trainer) -> bool:
    """Whether Lightning itself has started the processes of the run, and neither torchrun nor SLURM has."""
    return isinstance(trainer._accelerator_connector.cluster_environment, LightningEnvironment)


def kill_launched(trainer: lightning.Trainer) -> None:
    """Kills the processes that this one has started for the run."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        with contextlib.suppress(OSError):
            launcher.kill(signal.SIGKILL)


@contextlib.contextmanager
def ctrl_c() -> Iterator[None]:
    """Lets Ctrl-C be what it is, where Lightning makes an exit with code 1 of it.

    Raises:
        KeyboardInterrupt: After Ctrl-C.
    """
    try:
        yield
    except SystemExit as ended:
        if interrupted(ended):
            raise KeyboardInterrupt from None
        raise


def interrupted(ended: SystemExit) -> bool:
    """Whether Lightning has made an exit of a Ctrl-C that came before or after training."""
    return not isinstance(ended, Stopped) and isinstance(ended.__context__, KeyboardInterrupt)
