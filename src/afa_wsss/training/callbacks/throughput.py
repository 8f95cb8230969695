"""Images per second, over all processes."""

from __future__ import annotations

import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from afa_wsss.types import Batch


class Throughput(Callback):
    """Logs ``train/images_per_second`` at every logging step, without the time of validations."""

    def __init__(self) -> None:
        """The clock starts at the first batch."""
        self.images, self.seconds, self.started, self.ended_step = 0, 0.0, 0.0, 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Called by Lightning."""
        self.ended_step = trainer.global_step

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Starts the clock if it is stopped."""
        self.started = self.started or time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Counts images, and logs at the steps at which Lightning logs."""
        self.images += len(batch.names) * trainer.world_size
        if trainer.global_step == self.ended_step:
            return  # gradients are still being accumulated
        self.ended_step = trainer.global_step
        if (trainer.global_step % trainer.log_every_n_steps) == 0:  # type: ignore[attr-defined]  # set by Lightning
            elapsed = self.seconds + time.perf_counter() - self.started
            pl_module.log("train/images_per_second", self.images / elapsed)
            self.images, self.seconds, self.started = 0, 0.0, time.perf_counter()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stops the clock."""
        if self.started:
            self.seconds += time.perf_counter() - self.started
            self.started = 0.0
