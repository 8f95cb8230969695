"""Writes the best and the last checkpoint, also when a run is interrupted; a resumed run repeats it bit for bit."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng

from afa_wsss.data.files.whole import copy_whole
from afa_wsss.errors import UserError
from afa_wsss.training.callbacks.signals import Stopped
from afa_wsss.training.finite_steps import first_not_finite
from afa_wsss.training.loggers import wandb_ids
from afa_wsss.training.module import AFAModule
from afa_wsss.training.run_files import BEST, LAST, OTHER_BEST, is_whole
from afa_wsss.training.run_state import ProcessState, of_all_processes, process_state, restore, start_anew
from afa_wsss.types import Batch

VALIDATION = "epoch_loop.val_loop.batch_progress"
"""Where Lightning's state of the training loop has the progress of a validation."""


class Position(NamedTuple):
    """Where a run is between two steps.

    Attributes:
        step: Training steps done.
        loops: State of Lightning's loops.
        process: State of this process.
    """

    step: int
    loops: dict[str, Any]
    process: ProcessState


class Checkpoints(Checkpoint):
    """Writes ``last.ckpt`` every few steps, around every validation and whenever training ends, and ``best.ckpt``.

    What is due after a step is written when the next one starts: its values have been logged by then. Before a
    validation the checkpoint says that it is due, so that a run which is killed in it validates when it is resumed.

    Attributes:
        best_score: The highest value of ``monitor`` so far; None before the first.
        written_step: Training step of ``last.ckpt``.
        metrics: All values that were logged last, as the last checkpoint has them.
    """

    def __init__(
        self,
        folder: str,
        *,
        monitor: str = "val/miou",
        every_n_steps: int = 500,
        scored_on: str | None = None,
        seed: int = 0,
        forgets_scores: bool = False,
    ) -> None:
        """Nothing is written yet.

        Args:
            folder: Folder of both files.
            monitor: Logged score, higher is better; without it no ``best.ckpt`` is written.
            every_n_steps: Steps between two writes of ``last.ckpt``, independent of validations.
            scored_on: Fingerprint of what ``monitor`` is measured on; scores of another are not compared. None where
                it is not known.
            seed: Seed of the run, for processes that a checkpoint knows nothing of.
            forgets_scores: Whether a resumed run knows no scores of its checkpoint: those of the same weights would be
                others now.

        Raises:
            UserError: For ``every_n_steps`` below 1.
        """
        if every_n_steps < 1:
            raise UserError(f"need at least 1 step between checkpoints, got {every_n_steps}")
        self.best, self.last = Path(folder) / BEST, Path(folder) / LAST
        self.monitor, self.every_n_steps, self.scored_on, self.seed = monitor, every_n_steps, scored_on, seed
        self.forgets_scores = forgets_scores
        self.best_score: float | None = None
        self.written_step = self.ended_step = 0
        self.due = self.gathering = self.validates = self.is_of_other_data = False
        self.position: Position | None = None
        self.metrics: dict[str, float] = {}
        self.processes: list[ProcessState] = []
        self.wandb: list[str] = []

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """A resumed run knows the last scores before its first validation, and the best one while its file is there."""
        if self.best_score is not None and not trainer.strategy.broadcast(is_whole(self.best)):
            self.best_score = None
            note = "no whole %s is beside the checkpoint: the next validation begins a new one"
            logging.getLogger(__name__).info(note, self.best.name)
        if self.forgets_scores and isinstance(pl_module, AFAModule):
            self.metrics = {name: value for name, value in self.metrics.items() if not name.startswith("val/")}
            pl_module.validated_step, pl_module.scores.stages = -1, ()
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self.metrics.items()})

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The checkpoint that a resumed run starts from is already on disk; its generators go on from there.

        The ``best.ckpt`` of other held-out photos loses its name, now that all processes have read their checkpoint.
        """
        self.written_step = self.ended_step = trainer.global_step
        if self.is_of_other_data and trainer.is_global_zero and self.best.is_file():
            self.best.replace(self.best.with_name(OTHER_BEST))
        if not isinstance(pl_module, AFAModule) or not trainer.global_step:
            return
        rank = trainer.global_rank
        if rank < len(self.processes):
            restore(pl_module, self.processes[rank])
        else:
            start_anew(seed=self.seed, step=trainer.global_step, rank=rank)
        if len(self.processes) != trainer.world_size:
            logging.getLogger(__name__).info(
                "the checkpoint has the random generators of %d processes, not of %d: what follows is not what the run "
                "would have done",
                len(self.processes),
                trainer.world_size,
            )

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Saves what is due."""
        if self.due:
            self.save(trainer)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Keeps where the run is after each step."""
        self.gathering = trainer.global_step == self.ended_step
        if self.gathering:
            return  # gradients are still being accumulated
        self.ended_step = trainer.global_step
        self.keep(trainer, pl_module)
        self.due = trainer.global_step % self.every_n_steps == 0

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Saves the weights of the last step, validated or not."""
        missing = not trainer.strategy.broadcast(self.last.is_file())  # the first process alone writes, to its own disk
        if self.due or self.written_step < trainer.global_step or missing:
            self.save(trainer)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Saves that a validation is due."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self.keep(trainer, pl_module, validates=True)
            self.save(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Saves during training; a validation after training scores ``last.ckpt``, which may become the best."""
        if trainer.sanity_checking:
            return
        score = float(trainer.callback_metrics.get(self.monitor, math.nan))
        improved = math.isfinite(score) and (self.best_score is None or score > self.best_score)
        if improved:
            self.best_score = score
        if trainer.state.fn == TrainerFn.FITTING:
            self.keep(trainer, pl_module)
            # The best first: a run that is killed in between validates again.
            for path in (*([self.best] if improved else []), self.last):
                self.save(trainer, path)
        elif improved and trainer.is_global_zero and self.last.is_file():
            copy_whole(self.last, self.best)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """A run that was killed after its last step logs the scores where it would have: same step, same epoch."""
        skipped = trainer.global_step > 0 and self.written_step == 0
        if skipped and not self.validates:
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
            trainer.fit_loop.epoch_progress.increment_processed()
            trainer.fit_loop.epoch_progress.increment_completed()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Saves the steps since the last write, which Ctrl-C, a signal of the scheduler or an error would lose."""
        full = isinstance(exception, UserError) and exception.kind == "not_written"
        if trainer.state.fn != TrainerFn.FITTING or trainer.global_step <= self.written_step or full:
            return
        self.gather(trainer, together=isinstance(exception, Stopped))
        # Not save_checkpoint(): it waits for the other processes, which may hang or have exited.
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        step = int(checkpoint["global_step"])  # NonFinite goes back to the step before one that is not finite
        if step > self.written_step and first_not_finite(checkpoint["state_dict"]) is None:
            trainer.strategy.save_checkpoint(checkpoint, self.last)
            self.written_step = step

    def keep(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *, validates: bool = False
    ) -> None:
        """Remembers where the run is; in the middle of a step, as its start: a resumed run repeats that.

        Args:
            trainer: Trainer whose loops are remembered.
            pl_module: Module whose random generators and label counts are remembered.
            validates: Whether a validation is about to begin.
        """
        if self.gathering or not isinstance(pl_module, AFAModule):
            return
        loops = trainer._checkpoint_connector._get_loops_state_dict()
        _set_validation(loops["fit_loop"][VALIDATION], begun=validates)
        _set_epoch(loops["fit_loop"]["epoch_progress"])
        self.validates = validates
        self.position = Position(trainer.global_step, loops, process_state(pl_module))

    def save(self, trainer: lightning.Trainer, path: Path | None = None) -> None:
        """Writes ``last.ckpt``, or a checkpoint to another path; has to be called in every process."""
        with isolate_rng(include_cuda=False):  # whatever loggers draw
            self.gather(trainer, together=True)
            trainer.save_checkpoint(path or self.last, weights_only=False)
        if path in (None, self.last):
            self.written_step, self.due = trainer.global_step, False

    def gather(self, trainer: lightning.Trainer, *, together: bool) -> None:
        """Collects what a checkpoint holds beside weights; loggers write what they have, which belongs to it.

        Args:
            trainer: Trainer with the scores and loggers.
            together: Whether all processes are here; otherwise the generators of this one alone are stored.
        """
        for logger in trainer.loggers:
            logger.save()
        if self.position is not None:
            own = self.position.process
            self.processes = of_all_processes(own) if together else [own]
        self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.wandb = wandb_ids(trainer.loggers)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The loops are those of the last step that ended: a batch that has not changed the weights is repeated."""
        if self.position is not None and self.position.step == checkpoint["global_step"]:
            checkpoint["loops"] = self.position.loops

    def state_dict(self) -> dict[str, Any]:
        """Stored in the checkpoint: a resumed run compares with the best score so far, and repeats the run exactly."""
        names = ("best_score", "scored_on", "metrics", "processes", "validates", "wandb")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called by Lightning; up to version 0.2.0 there was the best score alone."""
        self.is_of_other_data = state_dict.get("scored_on") not in (None, self.scored_on)
        if not self.is_of_other_data:
            self.best_score = state_dict["best_score"]
        self.metrics, self.processes = state_dict.get("metrics", {}), state_dict.get("processes", [])
        self.validates = state_dict.get("validates", False)


def _set_epoch(progress: dict[str, Any]) -> None:
    """Lets Lightning know that the epoch after those that are processed has begun.

    Its own counts say that none has, in the first epoch after it went on from the end of one; from such a checkpoint
    it would repeat the epoch.
    """
    for counts in (progress["total"], progress["current"]):
        ended = counts["processed"]
        counts |= {"ready": ended + 1, "started": ended + 1, "completed": ended}


def _set_validation(progress: dict[str, Any], *, begun: bool) -> None:
    """Lets Lightning go back to a validation that has ``begun``, or know that the last one has ended.

    Its own counts stay behind after a validation was repeated, and it would repeat that again.
    """
    ended = progress["total"]["ready"]
    progress["total"] |= dict.fromkeys(("processed", "completed"), ended)
    progress["total"] |= dict.fromkeys(("ready", "started"), ended + begun)
    if begun:
        progress["current"] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
