"""Pictures of validation: photo | CAM | affinity of a point | pseudo label | prediction | truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from afa_wsss.report import colorize, heat_map, mark, montage, overlay
from afa_wsss.training.module import AFAModule, Inspection
from afa_wsss.types import Batch

Picture = NDArray[np.uint8]
TITLES = ("photo", "CAM", "affinity of a point", "pseudo label", "prediction", "truth")


class Montages(Callback):
    """Draws the first photos of each validation, to ``folder`` and to the loggers that take pictures."""

    def __init__(self, folder: str, *, photos: int = 6, cell: int = 192) -> None:
        """Draws ``photos`` rows of cells ``cell`` pixels wide."""
        self.folder, self.photos, self.cell = Path(folder), photos, cell
        self.rows: list[list[Picture]] = []

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
            self.rows.append(draw_row(batch, outputs, index, pl_module.palette))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes and logs the picture."""
        if not self.rows or not isinstance(pl_module, AFAModule):
            return
        names = ("background", *pl_module.class_names)
        colours = pl_module.palette.tolist()
        legend = list(zip(names, colours, strict=True)) if len(names) <= 30 else []
        picture = montage(self.rows, TITLES, cell=self.cell, legend=legend)
        self.folder.mkdir(parents=True, exist_ok=True)
        stage = "sanity" if trainer.sanity_checking else f"step_{trainer.global_step:06d}"
        Image.fromarray(picture).save(self.folder / f"{stage}.png")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("val/montage", [Image.fromarray(picture)])
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/montage", picture, trainer.global_step, dataformats="HWC")


def draw_row(batch: Batch, found: Inspection, index: int, palette: Picture) -> list[Picture]:
    """One photo's row; without a mask the last cell stays empty."""
    y0, y1, x0, x1 = batch.boxes[index].tolist()

    def cut(maps: Tensor) -> NDArray[Any]:
        return maps[..., y0:y1, x0:x1].detach().float().cpu().numpy()

    photo = cut(batch.images[index]).transpose(1, 2, 0).astype(np.uint8)
    cam = cut(found.cam[index] * batch.image_labels[index][:, None, None]).max(axis=0)
    pseudo = cut(found.stages.walk_par[index]).astype(np.uint8)
    prediction = cut(found.prediction[index]).astype(np.uint8)
    truth = np.zeros_like(prediction) if batch.masks is None else cut(batch.masks[index]).astype(np.uint8)
    return [
        photo,
        heat_map(photo, cam),
        _affinity_of_peak(photo, cam, found, index, batch.images.shape[-2:]),
        overlay(photo, pseudo, palette),
        overlay(photo, prediction, palette),
        colorize(truth, palette),
    ]


def _affinity_of_peak(
    photo: Picture, cam: NDArray[Any], found: Inspection, index: int, size: tuple[int, ...]
) -> Picture:
    """Affinity of the token under the highest activation with all others."""
    rows, columns = found.affinity_grid
    row, column = np.unravel_index(int(cam.argmax()), cam.shape)
    token = int(row * rows / size[0]) * columns + int(column * columns / size[1])
    affinity = found.affinity[index, token].view(rows, columns).float().cpu().numpy()
    inside = affinity[: -(-photo.shape[0] * rows // size[0]), : -(-photo.shape[1] * columns // size[1])]
    return mark(heat_map(photo, inside), int(row), int(column), arm=max(4, photo.shape[0] // 30))
