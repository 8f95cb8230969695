"""AFA as a LightningModule: the training step reads like the paper, validation shows what each stage adds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import lightning
import numpy as np
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from afa_wsss.evaluation.metrics import BackgroundSweep, MultiLabelScores, SegmentationScores
from afa_wsss.inference import crf_labels, multi_scale_logits
from afa_wsss.losses import LossTerm
from afa_wsss.models import AFA
from afa_wsss.ops.image import normalize
from afa_wsss.ops.pseudo_label import box_mask, strongest
from afa_wsss.supervision import LabelStages, Supervision
from afa_wsss.training.maps import make_maps, make_targets, read_stages
from afa_wsss.types import IGNORE_INDEX, AFAOutput, Batch, Targets

MakeOptimizer = Callable[[AFA], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]

STAGES = ("cam", "cam_par", "walk", "pseudo_label")
"""Readings before the segmentation branch, each logged as ``val/<name>_miou``; the pseudo label is walk and PAR."""

READINGS = (*STAGES, "segmentation", "crf")


class Inspection(NamedTuple):
    """What validation looks at for a batch; padding is 255 in ``masks`` and anything elsewhere.

    Attributes:
        stages: Labels after each stage, from the photo's own classes.
        prediction: Of the segmentation branch, which knows no classes beforehand.
        class_logits: Of the class branch.
        cam: Normalised maps; those of classes that no photo needs a slot for are 0.
        affinity: Of the largest scale, on ``affinity_grid``.
        affinity_grid: Height and width of its token grid.
        refined: The prediction after the dense CRF; None without.
    """

    stages: LabelStages
    prediction: Tensor
    class_logits: Tensor
    cam: Tensor
    affinity: Tensor
    affinity_grid: tuple[int, int]
    refined: Tensor | None = None


class AFAModule(lightning.LightningModule):
    """Trains the three branches of ``network`` from image labels alone."""

    def __init__(
        self,
        network: AFA,
        supervision: Supervision,
        losses: Mapping[str, LossTerm],
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler,
        *,
        class_names: Sequence[str],
        palette: NDArray[np.uint8],
        cam_scales: Sequence[float] = (1.0, 0.5, 1.5),
        eval_scales: Sequence[float] = (1.0,),
        eval_mirror: bool = False,
    ) -> None:
        """Puts the parts together.

        Args:
            network: The model.
            supervision: How class activation maps become targets.
            losses: The terms of the total by name.
            optimizer: Makes the optimizer of the network.
            scheduler: Makes the schedule, by step, of the optimizer.
            class_names: Foreground classes.
            palette: (k + 1, 3) colours of the classes.
            cam_scales: Scales of the class activation maps.
            eval_scales: Scales of the segmentation logits in validation.
            eval_mirror: Whether validation also looks at mirror images.
        """
        super().__init__()
        self.network, self.supervision = network, supervision
        self.losses = dict(losses)
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.class_names, self.palette = tuple(class_names), palette
        self.cam_scales, self.eval_scales, self.eval_mirror = cam_scales, eval_scales, eval_mirror
        classes = len(self.class_names) + 1
        scores = nn.ModuleDict({name: SegmentationScores(classes) for name in READINGS})
        self.scores: Mapping[str, SegmentationScores] = scores  # type: ignore[assignment]  # torch types no values
        self.sweep = BackgroundSweep(classes)
        self.class_scores = MultiLabelScores(len(self.class_names))
        self.validated_step = -1
        self.crf = False  # whether validation reads the dense CRF too: for the last one, as it takes time

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """L = L_cls + lambda_1 L_seg + lambda_2 L_aff + ..., each term from its own first step on."""
        images = normalize(batch.images)
        output = self.network(images)
        targets = self.supervise(batch, images, output)
        losses = {name: term(output, targets) for name, term in self.active_losses().items()}
        total = sum((self.losses[name].weight * loss for name, loss in losses.items()), start=_nothing(output))
        self.log_dict({f"train/{name}_loss": loss.detach() for name, loss in losses.items()})
        self.log("train/loss", total.detach())
        return total

    def supervise(self, batch: Batch, images: Tensor, output: AFAOutput) -> Targets:
        """Targets of this step: class labels alone before ``supervision.first_step``, when no map is even made."""
        step = self.global_step
        if step < self.supervision.first_step:
            return Targets(batch.image_labels)
        maps = make_maps(self.network, batch, images, output, scales=self.cam_scales)
        grid, classes = self.network.grid(*images.shape[-2:]), self.network.num_classes
        return make_targets(self.supervision, batch, maps, grid=grid, step=step, classes=classes)

    def active_losses(self) -> dict[str, LossTerm]:
        """The terms that count at this step."""
        return {name: term for name, term in self.losses.items() if term.is_active(self.global_step)}

    def inspect(self, batch: Batch) -> Inspection:
        """Everything that validation scores and pictures show of a batch."""
        images = normalize(batch.images)
        output = self.network(images)
        maps = make_maps(self.network, batch, images, output, scales=self.cam_scales)
        scales, mirror = self.eval_scales, self.eval_mirror
        logits = multi_scale_logits(self.network, images, scales=scales, mirror=mirror, known=output)
        refined = crf_labels(batch.images, logits, batch.boxes) if self.crf else None
        return Inspection(
            read_stages(self.supervision, batch, maps),
            strongest(logits),
            output.class_logits,
            maps.of_classes(self.network.num_classes),
            maps.affinity,
            maps.grid,
            refined,
        )

    def validation_step(self, batch: Batch, batch_index: int) -> Inspection:  # type: ignore[override]  # for callbacks
        """Updates the scores; the inspection goes on to the callbacks that draw."""
        found = self.inspect(batch)
        self.class_scores.update(found.class_logits, batch.image_labels)
        if batch.masks is not None:
            inside = box_mask(batch.boxes, *batch.masks.shape[-2:])
            truth = batch.masks.masked_fill(~inside, IGNORE_INDEX)
            readings = (*found.stages, found.prediction, found.refined)
            for name, reading in zip(READINGS, readings, strict=True):
                if reading is not None:
                    self.scores[name].update(reading, truth)
            self.sweep.update(found.cam, batch.image_labels, truth)
        return found

    def on_validation_epoch_end(self) -> None:
        """Logs every score and starts anew; torchmetrics summed over all processes, so all have the same to log."""
        self.log_dict(self.validation_scores(), sync_dist=True)
        self.validated_step = self.global_step
        for metric in self.validation_metrics():
            metric.reset()

    def validation_metrics(self) -> Iterable[Any]:
        """All metrics of validation."""
        return (*self.scores.values(), self.sweep, self.class_scores)

    def validation_scores(self) -> dict[str, Tensor]:
        """``val/miou`` and its kind, in percent; without masks the scores of the class branch alone."""
        scores = {f"val/{name}": value for name, value in self.class_scores.compute().items()}
        if not self.scores["segmentation"].has_truth():
            return scores
        segmentation = self.scores["segmentation"].compute()
        shown = [name for name in (*STAGES, "crf") if self.scores[name].has_truth()]
        scores |= {f"val/{name}_miou": self.scores[name].compute().miou for name in shown}
        best = self.sweep.compute()
        scores |= {"val/cam_best_miou": best.miou, "val/cam_best_background": best.background}
        scores |= {"val/miou": segmentation.miou, "val/pixel_accuracy": segmentation.pixel_accuracy}
        names = ("background", *self.class_names)
        return scores | {f"val/iou/{name}": iou for name, iou in zip(names, segmentation.iou, strict=True)}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW and its schedule, stepped after every batch."""
        optimizer = self.make_optimizer(self.network)
        schedule = {"scheduler": self.make_scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}  # type: ignore[return-value]  # a TypedDict of lightning


def _nothing(output: AFAOutput) -> Tensor:
    """0 that depends on every head, so that each has a gradient in every step: DDP waits for all of them."""
    return 0.0 * (output.class_logits.mean() + output.seg_logits.mean() + output.affinity.mean())
