"""The scores of validation, by the names of the stages alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import Metric

from afa_wsss.errors import UserError
from afa_wsss.evaluation.image_labels import ImageLabelScores
from afa_wsss.evaluation.label_shares import LabelShareResult, LabelShares
from afa_wsss.evaluation.metrics import BackgroundSweep, SegmentationScores
from afa_wsss.ops.processes import sum_over_processes, world_size
from afa_wsss.ops.pseudo_label import box_mask
from afa_wsss.report.stages import BRANCH, REFINED_BRANCH, stage_key
from afa_wsss.types import IGNORE_INDEX, Batch, Labels

Kind = TypeVar("Kind", bound=Metric)


class ValidationScores(nn.Module):
    """Metrics of every stage that is seen, and of the class branch; in percent.

    Without masks the class branch is scored, and how much of the photos the labels of each stage call what.

    Attributes:
        stages: Names of the label maker's stages and of the branch, in the order of the method, as last seen.
        confusion: Pixels of the last ``compute`` by target and class of the branch; None before, and without masks.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        """``class_names`` are the foreground classes."""
        super().__init__()
        self.class_names = tuple(class_names)
        self.classes = len(self.class_names) + 1
        self.stages: tuple[str, ...] = ()
        self.confusion: Tensor | None = None
        self._keys: dict[str, str] = {}
        self.labels = nn.ModuleDict()
        self.sweeps = nn.ModuleDict()
        self.shares = nn.ModuleDict()
        self.image_labels = ImageLabelScores(len(self.class_names))

    def update(
        self,
        stages: Mapping[str, Labels],
        branch: Mapping[str, Labels],
        class_logits: Float[Tensor, "b k"],
        batch: Batch,
    ) -> None:
        """Adds a batch; without masks nothing is compared with a target but the image labels.

        Raises:
            UserError: For a stage of the label maker with a name of the segmentation branch's, and for stages other
                than those of the batches before.
        """
        taken = stages.keys() & {BRANCH, *REFINED_BRANCH}
        if taken:
            raise UserError(f"need names of stages other than those of the segmentation branch, got {', '.join(taken)}")
        shown = {**stages, **branch}
        if self.image_labels.update_called and tuple(shown) != self.stages:
            before, now = (", ".join(names) for names in (self.stages, shown))
            raise UserError(f"need the same stages of all photos from the label maker, got {now} after {before}")
        self.image_labels.update(class_logits, batch.image_labels)
        self.stages = tuple(shown)
        for name, found in shown.items():
            self._shares_of(name, like=found.labels).update(found.labels, batch.boxes)
        if batch.masks is None:
            return
        inside = box_mask(batch.boxes, *batch.masks.shape[-2:])
        target = batch.masks.masked_fill(~inside, IGNORE_INDEX)
        for name, found in shown.items():
            self._labels_of(name, like=target).update(found.labels, target)
            if found.scores is not None:
                self._sweep_of(name, like=target).update(found.scores, batch.image_labels, target)

    def _key(self, stage: str) -> str:
        """A key of the module tables for a stage: torch does not take every name, as none with a dot."""
        return self._keys.setdefault(stage, str(len(self._keys)))

    @property
    def swept(self) -> tuple[str, ...]:
        """Names of the stages that are also scored at every background score."""
        return tuple(name for name in self.stages if self._key(name) in self.sweeps)

    def _metric_of(self, table: nn.ModuleDict, name: str, make: Callable[[], Kind], like: Tensor) -> Kind:
        """The metric of a stage, made where it is first seen: the label maker alone knows its stages."""
        key = self._key(name)
        if key not in table:
            table[key] = make().to(like.device)
        metric: Kind = table[key]  # type: ignore[assignment]  # torch types no values
        return metric

    def _labels_of(self, name: str, *, like: Tensor) -> SegmentationScores:
        return self._metric_of(self.labels, name, lambda: SegmentationScores(self.classes), like)

    def _sweep_of(self, name: str, *, like: Tensor) -> BackgroundSweep:
        return self._metric_of(self.sweeps, name, lambda: BackgroundSweep(self.classes), like)

    def _shares_of(self, name: str, *, like: Tensor) -> LabelShares:
        return self._metric_of(self.shares, name, lambda: LabelShares(len(self.class_names)), like)

    def compute(self) -> dict[str, Tensor]:
        """``val/miou`` of the branch, ``val/<stage>_miou`` of the others, ``val/iou/<class>``, ``val/class_f1``, ...

        Called in every process, also where all photos of one are without masks.
        """
        scores = self._image_label_scores() | self._label_shares()
        self._meet_other_processes()
        labels, sweeps = dict(self.labels.items()), dict(self.sweeps.items())
        for name in self.stages:
            metric, sweep = labels.get(self._key(name)), sweeps.get(self._key(name))
            if isinstance(metric, SegmentationScores) and metric.update_called:
                scores |= self._branch_scores(metric) if name == BRANCH else {stage_key(name): metric.compute().miou}
            if isinstance(sweep, BackgroundSweep) and sweep.update_called:
                best = sweep.compute()
                scores |= {f"val/{name}_best_miou": best.miou, f"val/{name}_best_background": best.background}
        return scores

    def _meet_other_processes(self) -> None:
        """Makes the metrics that another process has: a sum over processes needs every one of them."""
        if world_size() == 1:
            return
        tables = ((self.labels, self._labels_of), (self.sweeps, self._sweep_of))
        keys = [self._key(name) for name in self.stages]
        own = [[int(key in table and _is_updated(table[key])) for key in keys] for table, _ in tables]
        there = sum_over_processes(torch.tensor(own, device=self.image_labels.total.device))
        for (_, metric_of), row in zip(tables, there.tolist(), strict=True):
            for name, processes in zip(self.stages, row, strict=True):
                if processes > 0:
                    metric = metric_of(name, like=there)
                    metric._update_count = max(metric._update_count, 1)  # else torchmetrics warns that it is empty

    def _image_label_scores(self) -> dict[str, Tensor]:
        """Scores of the class branch; NaN for a class that no held-out photo has, which no mean counts."""
        found = self.image_labels.compute()
        if found is None:
            return {}
        scores = {"val/class_f1": found.f1, "val/class_accuracy": found.accuracy}
        for what in ("photos", "f1", "precision", "recall", "threshold", "best_f1"):
            values = (found.photos.float() if what == "photos" else getattr(found, f"class_{what}")).view(-1)
            scores |= {f"val/class_{what}/{name}": value for name, value in zip(self.class_names, values, strict=True)}
        return scores

    def class_thresholds(self, scores: Mapping[str, Tensor]) -> dict[str, float]:
        """Of the scores of ``compute``, the threshold with the best F1 of each class that some held-out photo has."""
        found = {name: float(scores.get(f"val/class_threshold/{name}", math.nan)) for name in self.class_names}
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def _label_shares(self) -> dict[str, Tensor]:
        """Shares of the pixels after each stage; by class for the label maker's last stage and the branch."""
        made = [name for name in self.stages if name not in (BRANCH, *REFINED_BRANCH)]
        scores: dict[str, Tensor] = {}
        for name in self.stages:
            metric = dict(self.shares.items()).get(self._key(name))
            if isinstance(metric, LabelShares):
                classes = self.class_names if name in (*made[-1:], BRANCH) else ()
                scores |= named_shares(f"val/labels/{name}", metric.compute(), classes)
        return scores

    def _branch_scores(self, metric: SegmentationScores) -> dict[str, Tensor]:
        found = metric.compute()
        self.confusion = found.confusion
        names = ("background", *self.class_names)
        each = {f"val/iou/{name}": iou for name, iou in zip(names, found.iou, strict=True)}
        return {"val/miou": found.miou, "val/pixel_accuracy": found.pixel_accuracy} | each

    def reset(self) -> None:
        """Starts anew."""
        for metric in (*self.labels.values(), *self.sweeps.values(), *self.shares.values(), self.image_labels):
            metric.reset()  # type: ignore[operator]  # torch types no values


def _is_updated(metric: nn.Module) -> bool:
    return isinstance(metric, Metric) and metric.update_called


def named_shares(prefix: str, shares: LabelShareResult, class_names: Sequence[str]) -> dict[str, Tensor]:
    """``<prefix>/foreground``, ``background`` and ``unknown``, and ``<prefix>/class/<class>`` of the names given."""
    scores = {f"{prefix}/{what}": getattr(shares, what) for what in ("foreground", "background", "unknown")}
    by_class = zip(class_names, shares.classes.view(-1) if class_names else (), strict=True)
    return scores | {f"{prefix}/class/{name}": share for name, share in by_class}
