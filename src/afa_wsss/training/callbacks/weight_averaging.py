"""Moves an average of the network's weights after each step, and keeps both in checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from afa_wsss.training.callbacks.nonfinite import NonFinite
from afa_wsss.training.callbacks.uneven_validation import equal_buffers
from afa_wsss.training.module import AFAModule
from afa_wsss.training.weight_average import VALIDATION, WeightAverage
from afa_wsss.types import Batch

AVERAGE_KEY = "weight_average"
"""Where a checkpoint has the average, its number of updates, and the trained weights."""

_NETWORK = "network."
"""Prefix of the network's tensors in the module."""


class WeightAveraging(Callback):
    """Gives the module a ``WeightAverage``. A step that is left out, or accumulates gradients, does not move it.

    Where validation reads the average, so does whoever opens a checkpoint: the weights in its ``state_dict`` are the
    averaged ones. A run that is resumed goes on with both.
    """

    def __init__(self, decay: float, uses: Sequence[str]) -> None:
        """See ``WeightAverage``."""
        self.decay, self.uses = decay, tuple(uses)
        self.average: WeightAverage | None = None
        self.stored: dict[str, Any] | None = None
        self.step = 0

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lightning has loaded ``state_dict``, the average perhaps; training goes on with the trained weights."""
        self.stored = checkpoint.get(AVERAGE_KEY)
        if self.stored is not None and isinstance(pl_module, AFAModule):
            pl_module.network.load_state_dict(self.stored["trained"])

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The network is on its device by now, with its batch norms of all processes."""
        if isinstance(pl_module, AFAModule):
            self.average = WeightAverage(pl_module.network, decay=self.decay, uses=self.uses)
            if self.stored is not None:
                self.average.load(self.stored)
            pl_module.average, self.stored = self.average, None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Steps are counted from here."""
        self.step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """After the optimizer's step, which ``NonFinite`` has judged on the device."""
        if self.average is not None and isinstance(pl_module, AFAModule) and trainer.global_step != self.step:
            self.step = trainer.global_step
            self.average.update(pl_module.network, left_out=_left_out(trainer))

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Lightning moves the module, which the average is no part of; neither does DDP make its buffers equal."""
        if self.average is not None:
            self.average.network.to(pl_module.device)
            equal_buffers(trainer, self.average.network)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Lightning moves the module to the CPU."""
        if self.average is not None:
            self.average.network.cpu()

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called by Lightning."""
        if self.average is None:
            return
        weights = checkpoint["state_dict"]
        trained = {name.removeprefix(_NETWORK): one for name, one in weights.items() if name.startswith(_NETWORK)}
        state = self.average.state()
        checkpoint[AVERAGE_KEY] = {**state, "trained": trained}
        if VALIDATION in self.uses:
            averaged = {f"{_NETWORK}{name}": value for name, value in state["network"].items()}
            checkpoint["state_dict"] = {**weights, **averaged}


def _left_out(trainer: lightning.Trainer) -> Tensor | None:
    """Whether the last step was left out, on its device; None where nobody decides."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by a connector
        if isinstance(callback, NonFinite) and callback.steps is not None:
            left_out, _, over = callback.steps.state
            return torch.maximum(left_out, over) > 0
    return None
