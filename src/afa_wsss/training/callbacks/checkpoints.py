"""Keeps the best and the last weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn


class Checkpoints(Checkpoint):
    """``last.ckpt`` after every validation and at the end of training; ``best.ckpt`` by ``monitor``.

    Attributes:
        best_score: The highest value of ``monitor`` so far; None before the first.
    """

    def __init__(self, folder: str, *, monitor: str = "val/miou") -> None:
        """``folder``: where both lie; ``monitor``: the score, higher is better; without it there is no best."""
        self.best, self.last = Path(folder) / "best.ckpt", Path(folder) / "last.ckpt"
        self.monitor = monitor
        self.best_score: float | None = None

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The last step's weights, whenever they were validated last."""
        trainer.save_checkpoint(self.last, weights_only=False)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Saves in training; a validation after training looks at ``last.ckpt``, which may then be the best."""
        if trainer.sanity_checking:
            return
        score = trainer.callback_metrics.get(self.monitor)
        improved = score is not None and (self.best_score is None or float(score) > self.best_score)
        if score is not None and improved:
            self.best_score = float(score)
        if trainer.state.fn == TrainerFn.FITTING:
            trainer.save_checkpoint(self.last, weights_only=False)
        if improved and trainer.is_global_zero and self.last.is_file():
            shutil.copyfile(self.last, self.best)

    def state_dict(self) -> dict[str, Any]:
        """Stored in the checkpoint, so that a resumed run knows what to beat."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called by Lightning."""
        self.best_score = state_dict["best_score"]
