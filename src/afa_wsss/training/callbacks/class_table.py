"""IoU of each class as a table in the loggers that take one, and what wandb draws of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
import wandb
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor

from afa_wsss.training.module import AFAModule

PREFIX = "val/iou/"

MOST_CLASSES = 100
"""wandb draws at most 10,000 rows of a table: the cells of a confusion matrix of so many classes."""


class ClassTable(Callback):
    """Logs ``val/iou_table`` after each validation: class, IoU in percent.

    wandb also draws it, as ``val/iou_bars``, and the branch's ``val/confusion_matrix`` in pixels.
    """

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Called by Lightning."""
        scores = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith(PREFIX)}
        if trainer.sanity_checking or not trainer.is_global_zero or not scores:
            return
        rows = [[key.removeprefix(PREFIX), round(value, 2)] for key, value in scores.items()]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table("val/iou_table", columns=["class", "IoU"], data=rows)
                logger.log_metrics(_charts(rows, pl_module))
            elif isinstance(logger, TensorBoardLogger):
                lines = ["class | IoU", "--- | ---", *(f"{name} | {value}" for name, value in rows)]
                logger.experiment.add_text("val/iou_table", "\n".join(lines), trainer.global_step)


def _charts(rows: Sequence[Sequence[Any]], module: lightning.LightningModule) -> dict[str, Any]:
    """Charts of wandb by name."""
    table = wandb.Table(columns=["class", "IoU"], data=[list(row) for row in rows])
    charts = {"val/iou_bars": wandb.plot.bar(table, "class", "IoU", title="IoU of each class, percent")}
    if isinstance(module, AFAModule) and module.scores.confusion is not None and len(rows) <= MOST_CLASSES:
        names = ("background", *module.class_names)
        charts["val/confusion_matrix"] = confusion_chart(module.scores.confusion, names)
    return charts


def confusion_chart(confusion: Tensor, names: Sequence[str]) -> Any:
    """The chart that wandb itself has for a confusion matrix, from counts.

    Args:
        confusion: (c, c) pixels; rows are targets, columns predictions.
        names: Names of the c classes, background first.
    """
    columns: list[str | int] = ["Actual", "Predicted", "nPredictions"]
    rows = [
        [actual, predicted, count]
        for actual, counts in zip(names, confusion.tolist(), strict=True)
        for predicted, count in zip(names, counts, strict=True)
    ]
    return wandb.plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",
        data_table=wandb.Table(columns=columns, data=rows),
        fields={str(column): str(column) for column in columns},
        string_fields={"title": "pixels by class"},
    )
