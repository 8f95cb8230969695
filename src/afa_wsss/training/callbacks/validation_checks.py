"""What validation measures to know what goes wrong: nothing here compares pixels, so masks are not needed."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from afa_wsss.data.loading.frames import frames
from afa_wsss.evaluation.affinity_values import AffinityValues
from afa_wsss.evaluation.cam_border import CamBorder
from afa_wsss.evaluation.class_evidence import ClassEvidence
from afa_wsss.evaluation.predicted_photos import PredictedPhotos
from afa_wsss.report.stages import BRANCH
from afa_wsss.supervision import LabelMaker
from afa_wsss.training.module import AFAModule, Inspection
from afa_wsss.types import Batch

RADIUS = 8
"""Pairs of tokens at most this far apart are looked at, fewer where the label maker has a smaller ``radius``."""


class Measures(nn.Module):
    """The measures of one validation, with their names."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        """``class_names`` are the foreground classes."""
        super().__init__()
        self.class_names, count = class_names, len(class_names)
        self.border, self.evidence = CamBorder(count), ClassEvidence(count)
        self.affinity, self.predicted = AffinityValues(), PredictedPhotos(count)

    def update(self, found: Inspection, image_labels: Tensor, *, radius: int) -> None:
        """Adds a batch of photos of one size; reads no value, so that nothing waits for the device."""
        self.border.update(found.cam, image_labels)
        self.evidence.update(found.cam, image_labels)
        self.affinity.update(found.affinity, found.grid, radius=radius)
        self.predicted.update(found.branch[BRANCH].labels)

    def compute(self) -> dict[str, Tensor]:
        """The measures of all processes by the names that they are logged under; NaN for what cannot be known."""
        border, evidence, predicted = self.border.compute(), self.evidence.compute(), self.predicted.compute()
        by_class = {
            "cam_border": border.classes,
            "inside_auc": evidence.inside,
            "outside_auc": evidence.outside,
            "outside_evidence": evidence.share,
            "predicted_photos": predicted.classes.float(),
        }
        scores = {f"val/affinity/{name}": value for name, value in self.affinity.compute()._asdict().items()}
        scores |= {"val/photos": predicted.photos.float(), "val/cam_border": border.share}
        means = ("inside_auc", "outside_auc", "outside_evidence")
        scores |= {f"val/{what}": by_class[what].nanmean() for what in means}
        for what, values in by_class.items():
            each = zip(self.class_names, values.view(-1), strict=True)
            scores |= {f"val/{what}/{name}": value for name, value in each}
        return scores


class ValidationChecks(Callback):
    """Logs where the class branch looks, what the segmentation branch predicts, and how the affinity is distributed.

    As ``val/cam_border``, ``inside_auc``, ``outside_auc``, ``outside_evidence`` and, by class, ``val/<what>/<class>``;
    ``val/predicted_photos/<class>`` of ``val/photos``; ``val/affinity/mean``, ``spread``, ``below`` and ``above``.
    ``report.checks`` judges them.
    """

    def __init__(self) -> None:
        """Nothing is measured yet."""
        self.measures = Measures(())

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Starts anew."""
        if isinstance(pl_module, AFAModule):
            self.measures = Measures(pl_module.class_names).to(pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Adds what was found in a batch."""
        if not isinstance(outputs, list) or not isinstance(pl_module, AFAModule):
            return
        radius = _radius(pl_module.label_maker)
        for frame, found in zip(frames(batch), outputs, strict=True):
            self.measures.update(found, frame.image_labels, radius=radius)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Logs; torchmetrics sums over all processes, so all log the same."""
        pl_module.log_dict(self.measures.compute(), sync_dist=True)


def _radius(label_maker: LabelMaker) -> int:
    """The label maker's own radius, if it has a smaller one: pairs beyond are neither trained nor read."""
    own = getattr(label_maker, "radius", None)
    return min(own, RADIUS) if isinstance(own, int) else RADIUS
