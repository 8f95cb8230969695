"""The configuration inside the checkpoint, as plain data, so that a checkpoint needs nothing beside it."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

CONFIG_KEY = "config"


class PlainConfig(Callback):
    """Stores nested dicts, lists, strings and numbers: ``torch.load(..., weights_only=True)`` reads them."""

    def __init__(self, config: dict[str, Any]) -> None:
        """``config`` is stored as it is."""
        self.config = config

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called by Lightning."""
        checkpoint[CONFIG_KEY] = self.config
