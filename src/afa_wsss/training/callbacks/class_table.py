"""IoU of each class as a table in the loggers that take one."""

from __future__ import annotations

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

PREFIX = "val/iou/"


class ClassTable(Callback):
    """Logs ``val/iou_table`` after each validation: class, IoU in percent."""

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Called by Lightning."""
        scores = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith(PREFIX)}
        if trainer.sanity_checking or not trainer.is_global_zero or not scores:
            return
        rows = [[key.removeprefix(PREFIX), round(value, 2)] for key, value in scores.items()]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table("val/iou_table", columns=["class", "IoU"], data=rows)
            elif isinstance(logger, TensorBoardLogger):
                lines = ["class | IoU", "--- | ---", *(f"{name} | {value}" for name, value in rows)]
                logger.experiment.add_text("val/iou_table", "\n".join(lines), trainer.global_step)
