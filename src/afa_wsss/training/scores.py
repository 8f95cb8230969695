"""The scores of validation, by the names of the stages alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.evaluation.metrics import BackgroundSweep, MultiLabelScores, SegmentationScores
from afa_wsss.ops.pseudo_label import box_mask
from afa_wsss.types import IGNORE_INDEX, Batch, Labels

BRANCH, REFINED_BRANCH = "segmentation", "crf"
"""Stages that the label maker does not make: the segmentation branch, and the same after the dense CRF."""


class ValidationScores(nn.Module):
    """Metrics of every stage that is seen, and of the class branch; in percent.

    Attributes:
        stages: Names of the label maker's stages and of the branch, in the order of the method.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        """``class_names`` are the foreground classes."""
        super().__init__()
        self.class_names = tuple(class_names)
        self.classes = len(self.class_names) + 1
        self.stages: tuple[str, ...] = ()
        self.labels = nn.ModuleDict()
        self.sweeps = nn.ModuleDict()
        self.image_labels = MultiLabelScores(len(self.class_names))

    def update(
        self,
        stages: Mapping[str, Labels],
        branch: Mapping[str, Labels],
        class_logits: Float[Tensor, "b k"],
        batch: Batch,
    ) -> None:
        """Adds a batch; without masks the class branch alone is scored.

        Raises:
            UserError: For a stage of the label maker with a name of the segmentation branch's.
        """
        taken = stages.keys() & {BRANCH, REFINED_BRANCH}
        if taken:
            raise UserError(f"need names of stages other than those of the segmentation branch, got {', '.join(taken)}")
        self.image_labels.update(class_logits, batch.image_labels)
        shown = {**stages, **branch}
        self.stages = tuple(shown)
        if batch.masks is None:
            return
        inside = box_mask(batch.boxes, *batch.masks.shape[-2:])
        target = batch.masks.masked_fill(~inside, IGNORE_INDEX)
        for name, found in shown.items():
            self._labels_of(name, like=target).update(found.labels, target)
            if found.scores is not None:
                self._sweep_of(name, like=target).update(found.scores, batch.image_labels, target)

    def _labels_of(self, name: str, *, like: Tensor) -> SegmentationScores:
        """The metric of a stage, made where it is first seen: the label maker alone knows its stages."""
        if name not in self.labels:
            self.labels[name] = SegmentationScores(self.classes).to(like.device)
        metric: SegmentationScores = self.labels[name]  # type: ignore[assignment]  # torch types no values
        return metric

    def _sweep_of(self, name: str, *, like: Tensor) -> BackgroundSweep:
        if name not in self.sweeps:
            self.sweeps[name] = BackgroundSweep(self.classes).to(like.device)
        metric: BackgroundSweep = self.sweeps[name]  # type: ignore[assignment]  # torch types no values
        return metric

    def compute(self) -> dict[str, Tensor]:
        """``val/miou`` of the branch, ``val/<stage>_miou`` of the others, ``val/iou/<class>``, ``val/class_f1``, ..."""
        scores = {f"val/{name}": value for name, value in self.image_labels.compute().items()}
        labels, sweeps = dict(self.labels.items()), dict(self.sweeps.items())
        for name in self.stages:
            metric, sweep = labels.get(name), sweeps.get(name)
            if isinstance(metric, SegmentationScores) and metric.has_target():
                scores |= self._branch_scores(metric) if name == BRANCH else {f"val/{name}_miou": metric.compute().miou}
            if isinstance(sweep, BackgroundSweep) and sweep.update_called:
                best = sweep.compute()
                scores |= {f"val/{name}_best_miou": best.miou, f"val/{name}_best_background": best.background}
        return scores

    def _branch_scores(self, metric: SegmentationScores) -> dict[str, Tensor]:
        found = metric.compute()
        names = ("background", *self.class_names)
        each = {f"val/iou/{name}": iou for name, iou in zip(names, found.iou, strict=True)}
        return {"val/miou": found.miou, "val/pixel_accuracy": found.pixel_accuracy} | each

    def reset(self) -> None:
        """Starts anew."""
        for metric in (*self.labels.values(), *self.sweeps.values(), self.image_labels):
            metric.reset()  # type: ignore[operator]  # torch types no values
