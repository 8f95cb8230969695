"""Keeps the best and the last weights, and loses nothing where a run is cut short."""

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
    """``last.ckpt`` every few steps, after every validation and when training ends, however it does; ``best.ckpt``.

    Attributes:
        best_score: The highest value of ``monitor`` so far; None before the first.
        written_step: Of ``last.ckpt``.
    """

    def __init__(self, folder: str, *, monitor: str = "val/miou", every_n_steps: int = 500) -> None:
        """Starts with nothing written.

        Args:
            folder: Where both lie.
            monitor: The score, higher is better; without it there is no best.
            every_n_steps: Between two writes of ``last.ckpt``, whenever validations are.

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
        """What a resumed run starts from is on the disk already."""
        self.written_step = self.ended_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Saves every few steps, and notes after each step where the loops stand."""
        if trainer.global_step == self.ended_step:
            return  # gradients are still being gathered
        self.ended_step = trainer.global_step
        self.progress = trainer._checkpoint_connector._get_loops_state_dict()
        if trainer.global_step % self.every_n_steps == 0:
            self.save(trainer)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The last step's weights, whenever they were validated last."""
        self.save(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Saves in training; a validation after training looks at ``last.ckpt``, which may then be the best."""
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
        """Saves what Ctrl-C, a signal of the scheduler or an error would lose: the steps since the last write."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.global_step <= self.written_step:
            return
        # Not save_checkpoint(): it waits for the other processes, and these may be stuck or gone.
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if trainer.global_step == self.ended_step:
            # The loops are amid a batch that changed nothing; resuming is to begin with it.
            checkpoint["loops"] = self.progress
        trainer.strategy.save_checkpoint(checkpoint, self.last)
        self.written_step = trainer.global_step

    def save(self, trainer: lightning.Trainer) -> None:
        """Writes ``last.ckpt``; every process has to call it."""
        trainer.save_checkpoint(self.last, weights_only=False)
        self.written_step = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """Stored in the checkpoint, so that a resumed run knows what to beat."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called by Lightning."""
        self.best_score = state_dict["best_score"]
