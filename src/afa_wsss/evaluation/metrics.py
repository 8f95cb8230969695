"""Metrics of labels that have masks to compare with, in memory that does not grow with the data."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Integer, Shaped
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from afa_wsss.ops.full_size import strips
from afa_wsss.ops.pseudo_label import present_classes
from afa_wsss.types import IGNORE_INDEX


class SegmentationResult(NamedTuple):
    """Scores in percent.

    Attributes:
        miou: Mean of ``iou`` over the classes that are not NaN.
        iou: Intersection over union of each class, NaN for a class that no target has. Pixels wrongly given to such a
            class still count against the classes that they belong to.
        pixel_accuracy: Share of pixels whose class is right.
        confusion: Number of pixels by class; rows are targets, columns predictions. Those of unknown class are in none.
    """

    miou: Float[Tensor, ""]
    iou: Float[Tensor, " c"]
    pixel_accuracy: Float[Tensor, ""]
    confusion: Integer[Tensor, "c c"]


class BackgroundResult(NamedTuple):
    """mIoU of a class activation map by background score.

    Attributes:
        background: Background score with the highest mIoU, in (0, 1).
        miou: mIoU at that score, in percent.
        curve: mIoU at every score tried, in percent.
    """

    background: Float[Tensor, ""]
    miou: Float[Tensor, ""]
    curve: Float[Tensor, " t"]


def iou_of(confusion: Shaped[Tensor, "... c k"]) -> Float[Tensor, "... c"]:
    """Intersection over union of each class in percent, NaN where no target has the class; rows are targets.

    Columns beyond those of the classes are of pixels without a class: misses of their targets.
    """
    confusion = confusion.double()
    hits = confusion.diagonal(dim1=-2, dim2=-1)
    targets = confusion.sum(dim=-1)
    union = targets + confusion.sum(dim=-2)[..., : hits.shape[-1]] - hits
    return torch.where(targets > 0, 100 * hits / union, torch.nan).float()


class SegmentationScores(MulticlassConfusionMatrix):
    """mIoU, IoU of each class and pixel accuracy, from torchmetrics' confusion matrix; targets of 255 are ignored.

    Predictions that are no class, as 255 where labels are unknown, are wrong: they count in the union of their targets.

    Attributes:
        missed: Number of pixels of each class whose prediction is none.

    Example:
        >>> scores = SegmentationScores(2)
        >>> scores.update(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 0]]]))
        >>> scores.compute().iou.tolist()
        [50.0, nan]
    """

    missed: Tensor

    def __init__(self, classes: int) -> None:
        """``classes`` counts the background."""
        super().__init__(num_classes=classes, ignore_index=IGNORE_INDEX, validate_args=False)
        self.add_state("missed", default=torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Shaped[Tensor, "b H W"], target: Shaped[Tensor, "b H W"]) -> None:
        """Adds the pixels of a batch.

        Args:
            preds: Predicted classes, background 0; from the number of classes on, unknown.
            target: Classes, 255 ignored.
        """
        # One count of all pairs, whatever is ignored: 16 times as fast as selecting pixels first. Rows of targets that
        # are no class are dropped afterwards; the last column is of predictions that are none.
        classes, rows, columns = self.num_classes, IGNORE_INDEX + 1, self.num_classes + 1
        kind = torch.int16 if rows * columns < 2**15 else torch.int32
        pairs = (target.to(kind) * columns + preds.clamp(max=classes).to(kind)).flatten()
        counts = torch.bincount(pairs, minlength=rows * columns).view(rows, columns)[:classes]
        self.confmat += counts[:, :classes]
        self.missed += counts[:, classes]

    def compute(self) -> SegmentationResult:  # type: ignore[override]  # a named tuple instead of the bare matrix
        """Scores of all batches."""
        confusion = self.confmat
        iou = iou_of(torch.cat([confusion, self.missed[:, None]], dim=1))
        accuracy = 100 * confusion.diagonal().sum() / (confusion.sum() + self.missed.sum()).clamp(min=1)
        return SegmentationResult(iou.nanmean(), iou, accuracy, confusion.clone())


class BackgroundSweep(Metric):
    """mIoU of class activation maps at every background score, in one pass.

    Each pixel is counted by the bin of its highest activation, the class of that activation, and its target. The
    confusion matrix at every threshold follows from the counts.

    Example:
        >>> sweep = BackgroundSweep(2, bins=4)
        >>> sweep.update(torch.tensor([[[[0.1, 0.6]]]]), torch.ones(1, 1), torch.tensor([[[0, 1]]]))
        >>> sweep.compute().curve.tolist()  # at 0.25, 0.5 and 0.75
        [100.0, 100.0, 25.0]
    """

    full_state_update = False
    higher_is_better = True
    counts: Tensor

    def __init__(self, classes: int, *, bins: int = 100, **settings: Any) -> None:
        """``classes`` counts the background; thresholds are 1 / bins, 2 / bins, ..., below 1."""
        super().__init__(**settings)
        self.classes, self.bins = classes, bins
        counts = torch.zeros(bins, classes - 1, classes, dtype=torch.long)
        self.add_state("counts", default=counts, dist_reduce_fx="sum")

    def update(
        self, cam: Float[Tensor, "b k h w"], image_labels: Float[Tensor, "b k"], target: Shaped[Tensor, "b H W"]
    ) -> None:
        """Adds a batch.

        Args:
            cam: In [0, 1], resized bilinearly to the size of the targets.
            image_labels: Multi-hot; maps of absent classes count as 0.
            target: Classes, background 0, 255 ignored.
        """
        present = present_classes(image_labels, int(image_labels.sum(dim=1).max()))
        maps = cam.gather(1, present.classes[..., None, None].expand(-1, -1, *cam.shape[-2:]))
        for rows, part in strips(maps * present.labels[..., None, None], target.shape[-2:]):
            value, slot = part.max(dim=1)
            best = present.classes.gather(1, slot.flatten(1)).view_as(slot)
            self._count(value, best, target[:, rows])

    def _count(self, value: Tensor, best: Tensor, target: Tensor) -> None:
        bin_of = (value * self.bins).long().clamp(0, self.bins - 1)
        place = (bin_of * (self.classes - 1) + best) * self.classes + target.long()
        known = target != IGNORE_INDEX
        self.counts += torch.bincount(place[known], minlength=self.counts.numel()).view_as(self.counts)

    def compute(self) -> BackgroundResult:
        """The best threshold and the curve over all."""
        below = self.counts.sum(dim=1).cumsum(dim=0)[:-1]
        above = self.counts.flip(0).cumsum(dim=0).flip(0)[1:]
        confusion = torch.cat([below[:, None], above], dim=1).transpose(1, 2)
        curve = iou_of(confusion).nanmean(dim=-1)
        best = curve.argmax()
        return BackgroundResult((best + 1) / self.bins, curve[best], curve)
