"""Pictures of validation: photo | heat maps | affinity of a point | pseudo label | prediction | target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from afa_wsss.report.inspection import Shown, montage_row
from afa_wsss.report.montage import montage
from afa_wsss.training.module import AFAModule, Inspection
from afa_wsss.training.scores import BRANCH
from afa_wsss.types import Batch, affinity_row

MOST_LEGEND_ENTRIES = 30
"""A legend of more classes would be longer than the pictures."""


class Montages(Callback):
    """Draws the first photos of each validation, to ``folder`` and to the loggers that take pictures."""

    def __init__(self, folder: str, *, photos: int = 6, cell: int = 192) -> None:
        """Draws ``photos`` rows of cells ``cell`` pixels wide."""
        self.folder, self.photos, self.cell = Path(folder), photos, cell
        self.rows: list[Mapping[str, NDArray[np.uint8]]] = []

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Starts a new picture."""
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
        """Draws what is still missing."""
        if not trainer.is_global_zero or not isinstance(outputs, Inspection) or not isinstance(pl_module, AFAModule):
            return
        for index in range(min(len(batch.names), self.photos - len(self.rows))):
            self.rows.append(montage_row(shown(batch, outputs, index), pl_module.palette))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes and logs the picture."""
        if not self.rows or not isinstance(pl_module, AFAModule):
            return
        names, colors = ("background", *pl_module.class_names), pl_module.palette.tolist()
        legend = list(zip(names, colors, strict=True)) if len(names) <= MOST_LEGEND_ENTRIES else []
        picture = montage(self.rows, cell=self.cell, legend=legend)
        self.folder.mkdir(parents=True, exist_ok=True)
        stage = "sanity" if trainer.sanity_checking else f"step_{trainer.global_step:06d}"
        Image.fromarray(picture).save(self.folder / f"{stage}.png")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("val/montage", [Image.fromarray(picture)])
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/montage", picture, trainer.global_step, dataformats="HWC")


def shown(batch: Batch, found: Inspection, index: int) -> Shown:
    """What is drawn of one photo, cut to its box: heat maps of stages with scores, the last stage, the branch."""
    y0, y1, x0, x1 = batch.boxes[index].tolist()

    def cut(maps: Tensor) -> NDArray[Any]:
        return maps[..., y0:y1, x0:x1].detach().cpu().numpy()

    heat = {
        name: cut(stage.scores[index].float()).max(axis=0)
        for name, stage in found.stages.items()
        if stage.scores is not None
    }
    last = list(found.stages)[-1:]
    labels = {name: cut(found.stages[name].labels[index]) for name in last}
    labels[BRANCH] = cut(found.branch[BRANCH].labels[index])
    affinity, point = _affinity_of_peak(heat, found, index, batch.images.shape[-2:])
    return Shown(
        photo=cut(batch.images[index]).transpose(1, 2, 0),
        heat=heat,
        labels=labels,
        affinity=affinity,
        point=point,
        target=None if batch.masks is None else cut(batch.masks[index]),
    )


def _affinity_of_peak(
    heat: Mapping[str, NDArray[Any]], found: Inspection, index: int, size: tuple[int, ...]
) -> tuple[NDArray[Any] | None, tuple[int, int] | None]:
    """Affinity of the token under the highest score of the first heat map with all others; None without heat maps."""
    if not heat:
        return None, None
    first = next(iter(heat.values()))
    rows, columns = found.grid
    row, column = (int(place) for place in np.unravel_index(int(first.argmax()), first.shape))
    token = int(row * rows / size[0]) * columns + int(column * columns / size[1])
    affinity = affinity_row(found.affinity, index, token).view(rows, columns).float().cpu().numpy()
    inside = affinity[: -(-first.shape[0] * rows // size[0]), : -(-first.shape[1] * columns // size[1])]
    return inside, (row, column)
