"""Lets processes validate different numbers of batches."""

from __future__ import annotations

import lightning
import torch.distributed
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class UnevenValidation(Callback):
    """Makes the processes' buffers equal once before validation, instead of DDP's broadcast before every batch.

    Photos are dealt out without repeats, so a process may have a batch more than another. A broadcast in that batch
    would meet whatever the others do next: a hang, or wrong scores.
    """

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Broadcasts the buffers of process 0 (running moments of batch norm) once, and not before each batch."""
        wrapped = trainer.strategy.model
        if isinstance(wrapped, DistributedDataParallel):
            equal_buffers(trainer, pl_module)
            wrapped.broadcast_buffers = False

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Restores DDP's broadcast for training."""
        wrapped = trainer.strategy.model
        if isinstance(wrapped, DistributedDataParallel):
            wrapped.broadcast_buffers = True


def equal_buffers(trainer: lightning.Trainer, module: nn.Module) -> None:
    """Broadcasts the buffers of process 0, as DDP does before each batch of training; does nothing without DDP."""
    if isinstance(trainer.strategy.model, DistributedDataParallel):
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)
