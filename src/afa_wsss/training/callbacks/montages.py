"""Pictures of validation: photo | heat maps | affinity of a point | pseudo label | prediction | target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from afa_wsss.data.files.whole import whole_file
from afa_wsss.data.loading.frames import frames
from afa_wsss.data.loading.shrink import shrunk
from afa_wsss.ops.image import sample_centers
from afa_wsss.report.inspection import Shown, montage_row
from afa_wsss.report.montage import montage
from afa_wsss.training.module import AFAModule, Inspection
from afa_wsss.types import Batch, affinity_row

LONGEST_SIDE = 1024
"""Photos are drawn from at most this many pixels a side: a cell has fewer."""

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
        if not trainer.is_global_zero or not isinstance(outputs, list) or not isinstance(pl_module, AFAModule):
            return
        for frame, found, index in first_photos(batch, outputs, self.photos - len(self.rows)):
            self.rows.append(montage_row(shown(frame, found, index), pl_module.palette))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes and logs the picture."""
        if not self.rows or not isinstance(pl_module, AFAModule):
            return
        names, colors = ("background", *pl_module.class_names), pl_module.palette.tolist()
        legend = list(zip(names, colors, strict=True)) if len(names) <= MOST_LEGEND_ENTRIES else []
        picture = montage(self.rows, cell=self.cell, legend=legend)
        with whole_file(self.folder / f"{_title(trainer)}.png") as part:
            Image.fromarray(picture).save(part, format="PNG")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("val/montage", [Image.fromarray(picture)])
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/montage", picture, trainer.global_step, dataformats="HWC")


def _title(trainer: lightning.Trainer) -> str:
    """Name of the picture: the step of the training, or what it shows of an evaluation alone, which has no steps."""
    if trainer.state.fn != TrainerFn.FITTING and trainer.global_step == 0:
        return "held_out_photos"
    return "sanity" if trainer.sanity_checking else f"step_{trainer.global_step:06d}"


def first_photos(batch: Batch, outputs: Sequence[Inspection], most: int) -> Iterator[tuple[Batch, Inspection, int]]:
    """At most so many photos of a validation batch: their frame, what was found in it, and their place there."""
    photos = (
        (frame, found, index)
        for frame, found in zip(frames(batch), outputs, strict=True)
        for index in range(len(frame.names))
    )
    return islice(photos, most)


def shown(batch: Batch, found: Inspection, index: int) -> Shown:
    """What is drawn of one photo: heat maps of stages with scores, the last stage, the prediction of the branch.

    Args:
        batch: Photos that fill their frames.
        found: What validation found in them.
        index: Which photo.
    """
    photo = shrunk(batch.images[index].permute(1, 2, 0).cpu().numpy(), LONGEST_SIDE)
    size = (photo.shape[0], photo.shape[1])
    heat = {
        name: sampled(stage.scores[index].float().amax(dim=0), size)
        for name, stage in found.stages.items()
        if stage.scores is not None
    }
    last = list(found.stages)[-1:]
    labels = {name: sampled(found.stages[name].labels[index], size) for name in last}
    labels |= {name: sampled(found.branch[name].labels[index], size) for name in list(found.branch)[-1:]}
    affinity, point = _affinity_of_peak(heat, found, index)
    target = None if batch.masks is None else sampled(batch.masks[index], size)
    return Shown(photo=photo, heat=heat, labels=labels, affinity=affinity, point=point, target=target)


def sampled(maps: Tensor, size: tuple[int, int]) -> NDArray[Any]:
    """``sample_centers`` of (H, W) maps on any device, as an array (h, w)."""
    return sample_centers(maps, size).detach().cpu().numpy()


def _affinity_of_peak(
    heat: Mapping[str, NDArray[Any]], found: Inspection, index: int
) -> tuple[NDArray[Any] | None, tuple[int, int] | None]:
    """Affinity of the token under the highest score of the first heat map with all others; None without heat maps."""
    if not heat:
        return None, None
    first = next(iter(heat.values()))
    rows, columns = found.grid
    row, column = (int(place) for place in np.unravel_index(int(first.argmax()), first.shape))
    token = int(row * rows / first.shape[0]) * columns + int(column * columns / first.shape[1])
    affinity = affinity_row(found.affinity, index, token).view(rows, columns).float().cpu().numpy()
    return affinity, (row, column)
