"""What the labels of training call the photos' pixels, over training steps."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from afa_wsss.training.module import AFAModule
from afa_wsss.training.scores import named_shares
from afa_wsss.types import Batch


class LabelCurves(Callback):
    """Logs ``train/labels/foreground``, ``background``, ``unknown`` and ``class/<class>``, in percent of the pixels.

    Where the label maker finds its background scores itself, those too: ``train/thresholds/low`` and so on. At every
    step at which Lightning logs: the shares of all labels made since the last one. Between those steps the counts stay
    on the device, and where no labels were made nothing is logged.
    """

    def __init__(self) -> None:
        """No step has ended yet."""
        self.ended_step = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Called by Lightning."""
        self.ended_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Called by Lightning."""
        if trainer.global_step == self.ended_step:
            return  # gradients are still being accumulated
        self.ended_step = trainer.global_step
        logs = trainer.global_step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]  # set by Lightning
        if not (logs and isinstance(pl_module, AFAModule) and pl_module.label_shares.update_called):
            return
        shares = pl_module.label_shares.compute()  # of all processes, which have all made labels or none
        pl_module.log_dict(named_shares("train/labels", shares, pl_module.class_names))
        pl_module.label_shares.reset()
        if pl_module.label_memory is not None:
            found = pl_module.label_maker.thresholds(step=trainer.global_step - 1)
            pl_module.log_dict({f"train/thresholds/{name}": value for name, value in found.items()})
