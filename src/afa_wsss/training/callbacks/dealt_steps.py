"""A run that is resumed on other devices, or with other batches, goes on at the same step and photo."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.training.callbacks.plain_config import CONFIG_KEY
from afa_wsss.training.datamodule import AFADataModule
from afa_wsss.training.step_batches import StepBatches, in_other_batches, step_batches

STEP_KEY = "step_batches"
"""Where a checkpoint says how the photos of a step were dealt."""


class DealtSteps(Callback):
    """Deals the photos of a step to devices and batches, and counts batches anew where that has changed.

    Attributes:
        now: The steps of this run; of no photo before ``deal``.
    """

    def __init__(self) -> None:
        """Nothing is dealt yet: the Trainer finds the devices."""
        self.now = StepBatches(0, 1, 1)

    def deal(self, settings: DataSettings, trainer: lightning.Trainer, data: AFADataModule) -> StepBatches:
        """Tells a Trainer of one batch a step, and the loaders, how the photos of a step are dealt.

        Raises:
            UserError: As ``step_batches``.
        """
        accumulated, processes = trainer.accumulate_grad_batches, trainer.num_devices * trainer.num_nodes
        self.now = step_batches(settings, accumulated=accumulated, processes=processes)
        if self.now.accumulated != accumulated:
            trainer.accumulate_grad_batches = self.now.accumulated
            trainer.val_check_interval *= self.now.accumulated  # Lightning counts validation in batches
        data.batch_size = self.now.crops
        return self.now

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called by Lightning."""
        checkpoint[STEP_KEY] = self.now._asdict()

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called by Lightning before it reads how far its loops were."""
        loops = checkpoint.get("loops", {}).get("fit_loop", {})
        if "epoch_loop.batch_progress" in loops:
            in_other_batches(loops["epoch_loop.batch_progress"], self._earlier(checkpoint), self.now)

    def _earlier(self, checkpoint: dict[str, Any]) -> StepBatches:
        """As stored; of version 0.2.0 as the settings say, on as many devices."""
        if STEP_KEY in checkpoint:
            return StepBatches(**checkpoint[STEP_KEY])
        config = checkpoint.get(CONFIG_KEY, {})
        crops = config.get("data", {}).get("batch_size", self.now.crops)
        accumulated = config.get("trainer", {}).get("accumulate_grad_batches", self.now.accumulated)
        return StepBatches(crops, accumulated, self.now.processes)
