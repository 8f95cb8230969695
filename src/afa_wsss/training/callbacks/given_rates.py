"""Lets a run that is resumed with other settings have the learning rates that it was given."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch.optim.lr_scheduler import LambdaLR

from afa_wsss.types import Batch


class GivenRates(Callback):
    """Keeps what the optimizer was made with, and puts it back after Lightning has restored the checkpoint's.

    Moments and steps stay those of the checkpoint; the schedule goes on at its step with its new shape.
    """

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self.groups: list[list[dict[str, Any]]] = []

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The optimizer is made by now, and not restored."""
        self.groups = [
            [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
            for optimizer in trainer.optimizers
        ]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Puts the settings back, with the rates of the schedule at this step."""
        for optimizer, groups in zip(trainer.optimizers, self.groups, strict=True):
            for group, given in zip(optimizer.param_groups, groups, strict=True):
                group.update(given)
        for scheduler in (config.scheduler for config in trainer.lr_scheduler_configs):
            if isinstance(scheduler, LambdaLR):
                groups = scheduler.optimizer.param_groups
                scheduler.base_lrs = [group["initial_lr"] for group in groups]
                for group, factor in zip(groups, scheduler.lr_lambdas, strict=True):
                    group["lr"] = group["initial_lr"] * factor(scheduler.last_epoch)

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Values are logged by training steps; Lightning is one behind where other validations are due than before."""
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
