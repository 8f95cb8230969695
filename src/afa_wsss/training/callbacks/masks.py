"""Writes the labels of one prediction stage for each photo as a palette PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback

from afa_wsss.data.files.lists import stays_inside
from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.loading.frames import frames
from afa_wsss.errors import UserError
from afa_wsss.report.stages import BRANCH
from afa_wsss.training.module import AFAModule, Inspection
from afa_wsss.types import Batch, Labels


class MaskWriter(Callback):
    """Writes ``<folder>/<name>.png`` at full size for every validated photo, from all processes."""

    def __init__(self, folder: str, *, stage: str | None = BRANCH) -> None:
        """Writes to ``folder``.

        Args:
            folder: Where to.
            stage: ``segmentation`` for the segmentation branch (after the dense CRF, if any), the name of a stage of
                the label maker, or None for its last one.
        """
        self.folder, self.stage = Path(folder), stage

    def labels(self, found: Inspection) -> Labels:
        """The labels to write.

        Raises:
            UserError: For a stage that there is not, and where the last one is wanted of a label maker without any.
        """
        if self.stage == BRANCH:
            return list(found.branch.values())[-1]
        known = (BRANCH, *found.stages)
        stage = known[-1] if self.stage is None else self.stage
        if stage not in found.stages:
            wanted = f"need a stage of {', '.join(known)}; got {stage!r}"
            without = "need a label maker with pixel labels of its own to write them, this one makes none of photos"
            raise UserError(wanted if found.stages else without, arguments=("stage",) if found.stages else ())
        return found.stages[stage]

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
        if not isinstance(outputs, list) or not isinstance(pl_module, AFAModule):
            return
        for frame, found in zip(frames(batch), outputs, strict=True):
            labels = self.labels(found).labels.cpu().numpy()
            for label, name in zip(labels, frame.names, strict=True):
                if not stays_inside(name):
                    raise UserError(f"need names of photos inside their folder, got {name!r}; fix the data set's names")
                names = ("background", *pl_module.class_names)
                write_mask(self.folder / f"{name}.png", label.astype(np.uint8), pl_module.palette, names=names)
