"""Writes what a checkpoint says of each photo as a palette PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback

from afa_wsss.data.files.lists import stays_inside
from afa_wsss.data.files.photos import write_mask
from afa_wsss.errors import UserError
from afa_wsss.training.module import AFAModule, Inspection
from afa_wsss.types import Batch


class MaskWriter(Callback):
    """Writes ``<folder>/<name>.png`` for every validated photo, from all processes."""

    def __init__(self, folder: str, *, reading: str = "segmentation") -> None:
        """``reading``: "segmentation" for that branch (after the CRF, if any), "pseudo_label" for walk and PAR."""
        if reading not in ("segmentation", "pseudo_label"):
            raise UserError(f"need a reading of segmentation or pseudo_label, got {reading!r}")
        self.folder, self.reading = Path(folder), reading

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Called by Lightning."""
        if not isinstance(outputs, Inspection) or not isinstance(pl_module, AFAModule):
            return
        predicted = outputs.prediction if outputs.refined is None else outputs.refined
        labels = predicted if self.reading == "segmentation" else outputs.stages.walk_par
        for label, name, box in zip(labels.cpu().numpy(), batch.names, batch.boxes.tolist(), strict=True):
            if not stays_inside(name):
                raise UserError(f"need names of photos inside their folder, got {name!r}; mend the data set's names")
            y0, y1, x0, x1 = box
            write_mask(self.folder / f"{name}.png", label[y0:y1, x0:x1].astype(np.uint8), pl_module.palette)
