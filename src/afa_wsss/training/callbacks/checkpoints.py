"""Writes the best and the last checkpoint, also when a run is interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from afa_wsss.errors import UserError
from afa_wsss.types import Batch


class Checkpoints(Checkpoint):
    """Writes ``last.ckpt`` every few steps, after every validation and whenever training ends, and ``best.ckpt``.

    Attributes:
        best_score: The highest value of ``monitor`` so far; None before the first.
        written_step: Training step of ``last.ckpt``.
    """

    def __init__(self, folder: str, *, monitor: str = "val/miou", every_n_steps: int = 500) -> None:
        """Nothing is written yet.

        Args:
            folder: Folder of both files.
            monitor: Logged score, higher is better; without it no ``best.ckpt`` is written.
            every_n_steps: Steps between two writes of ``last.ckpt``, independent of validations.

        Raises:
            UserError: For ``every_n_steps`` below 1.
        """
        if every_n_steps < 1:
            raise UserError(f"need at least 1 step between checkpoints, got {every_n_steps}")
        self.best, self.last = Path(folder) / "best.ckpt", Path(folder) / "last.ckpt"
        self.monitor, self.every_n_steps = monitor, every_n_steps
        self.best_score: float | None = None
        self.written_step = self.ended_step = 0
        self.progress: dict[str, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The checkpoint that a resumed run starts from is already on disk."""
        self.written_step = self.ended_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Saves every few steps, and keeps the state of the loops after each step."""
        if trainer.global_step == self.ended_step:
            return  # gradients are still being accumulated
        self.ended_step = trainer.global_step
        self.progress = trainer._checkpoint_connector._get_loops_state_dict()
        if trainer.global_step % self.every_n_steps == 0:
            self.save(trainer)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Saves the weights of the last step, validated or not."""
        self.save(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Saves during training; a validation after training scores ``last.ckpt``, which may become the best."""
        if trainer.sanity_checking:
            return
        score = trainer.callback_metrics.get(self.monitor)
        improved = score is not None and (self.best_score is None or float(score) > self.best_score)
        if score is not None and improved:
            self.best_score = float(score)
        if trainer.state.fn == TrainerFn.FITTING:
            self.save(trainer)
        if improved and trainer.is_global_zero and self.last.is_file():
            shutil.copyfile(self.last, self.best)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Saves the steps since the last write, which Ctrl-C, a signal of the scheduler or an error would lose."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.global_step <= self.written_step:
            return
        # Not save_checkpoint(): it waits for the other processes, which may hang or have exited.
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if trainer.global_step == self.ended_step:
            # The loops are inside a batch that has not changed the weights; a resumed run has to repeat it.
            checkpoint["loops"] = self.progress
        trainer.strategy.save_checkpoint(checkpoint, self.last)
        self.written_step = trainer.global_step

    def save(self, trainer: lightning.Trainer) -> None:
        """Writes ``last.ckpt``; has to be called in every process."""
        trainer.save_checkpoint(self.last, weights_only=False)
        self.written_step = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """Stored in the checkpoint, so that a resumed run compares with the best score so far."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called by Lightning."""
        self.best_score = state_dict["best_score"]
