"""Gradient checkpointing runs blocks a second time; what they count is counted once."""

from __future__ import annotations

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from afa_wsss.training.module import AFAModule


class Recomputation(Callback):
    """Keeps the encoder's buffers through the backward pass: batch norms would move their statistics twice a step."""

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self.kept: list[Tensor] = []

    def on_before_backward(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, loss: Tensor
    ) -> None:
        """After the forward pass."""
        if isinstance(pl_module, AFAModule):
            self.kept = [buffer.clone() for buffer in pl_module.network.encoder.buffers()]

    @torch.no_grad()
    def on_after_backward(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Before the optimizer's step."""
        if isinstance(pl_module, AFAModule):
            for buffer, kept in zip(pl_module.network.encoder.buffers(), self.kept, strict=True):
                buffer.copy_(kept)
        self.kept = []
