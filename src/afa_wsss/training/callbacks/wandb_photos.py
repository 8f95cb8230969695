"""Photos of validation as a table of wandb, with the masks of every stage to switch on and off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
import wandb
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.seed import isolate_rng

from afa_wsss.report.overlay import heat_map
from afa_wsss.training.callbacks.montages import first_photos, sampled, shown
from afa_wsss.training.loggers import wandb_runs
from afa_wsss.training.module import AFAModule, Inspection
from afa_wsss.types import IGNORE_INDEX, Batch


class WandbPhotos(Callback):
    """Logs ``val/photo_table`` after each validation: name, classes, photo with masks, heat maps of stages with scores.

    The masks are those of every stage and of the target, with the names of the classes. Without a ``WandbLogger``
    nothing is done.
    """

    def __init__(self, photos: int = 6) -> None:
        """The first ``photos`` of each validation are logged."""
        self.photos = photos
        self.rows: list[dict[str, Any]] = []

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Starts a new table."""
        self.rows = []

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps what is still missing."""
        if trainer.sanity_checking or not isinstance(outputs, list) or not isinstance(pl_module, AFAModule):
            return
        if not wandb_runs(trainer):
            return
        with isolate_rng(include_cuda=False):  # wandb draws names of files
            for frame, found, index in first_photos(batch, outputs, self.photos - len(self.rows)):
                self.rows.append(photo_row(frame, found, index, pl_module.class_names))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Logs the table."""
        if not self.rows:
            return
        with isolate_rng(include_cuda=False):
            for run in wandb_runs(trainer):
                data = [list(row.values()) for row in self.rows]
                run.log({"val/photo_table": wandb.Table(columns=list(self.rows[0]), data=data)})
        self.rows = []


def photo_row(batch: Batch, found: Inspection, index: int, class_names: Sequence[str]) -> dict[str, Any]:
    """Cells of one photo by column.

    Args:
        batch: Photos that fill their frames.
        found: What validation found in them.
        index: Which photo.
        class_names: Foreground classes.
    """
    drawn = shown(batch, found, index)
    size = (drawn.photo.shape[0], drawn.photo.shape[1])
    names = dict(enumerate(("background", *class_names))) | {IGNORE_INDEX: "unknown"}
    masks = {name: sampled(stage.labels[index], size) for name, stage in {**found.stages, **found.branch}.items()}
    if drawn.target is not None:
        masks["target"] = drawn.target
    given = {name: {"mask_data": mask, "class_labels": names} for name, mask in masks.items()}
    has = [name for name, value in zip(class_names, batch.image_labels[index].tolist(), strict=True) if value > 0]
    row = {"photo": batch.names[index], "classes": ", ".join(has), "masks": wandb.Image(drawn.photo, masks=given)}
    return row | {f"{name} scores": wandb.Image(heat_map(drawn.photo, heat)) for name, heat in drawn.heat.items()}
