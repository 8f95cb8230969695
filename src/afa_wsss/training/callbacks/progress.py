"""The progress bar: rich, counting steps of the whole run instead of epochs."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import RichProgressBar


class ProgressBar(RichProgressBar):
    """``RichProgressBar`` over ``max_steps``, with the loss and without Lightning's version number."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """Arguments of ``RichProgressBar``."""
        super().__init__(*arguments, **settings)
        self.shown: dict[str, float] = {}

    @property
    def total_train_batches(self) -> int | float:
        """Steps of the whole run, because runs are measured in steps, not in epochs."""
        return self.trainer.max_steps

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Starts one bar at the first epoch and keeps it for the others."""
        if self.train_progress_bar_id is None:
            super().on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts steps of the run."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, trainer.global_step - 1)

    def _get_train_description(self, current_epoch: int) -> str:
        return "train"

    def get_metrics(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The loss of the first step and of logged steps only, because reading it syncs the device."""
        logged = trainer.global_step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]  # set by Lightning
        if (logged or not self.shown) and "train/loss" in trainer.callback_metrics:
            self.shown = {"train/loss": trainer.callback_metrics["train/loss"].item()}
        return {**self.shown}
