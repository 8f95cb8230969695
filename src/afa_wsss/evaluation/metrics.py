"""Scores as torchmetrics: summed over all batches and processes, in memory that does not grow with the photos."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix, MultilabelF1Score

from afa_wsss.types import IGNORE_INDEX


class SegmentationResult(NamedTuple):
    """In percent; a class that neither truth nor prediction shows has NaN and counts nowhere."""

    miou: Float[Tensor, ""]
    iou: Float[Tensor, " c"]
    pixel_accuracy: Float[Tensor, ""]


class BackgroundResult(NamedTuple):
    """The best background score, its mIoU in percent, and the mIoU at each score tried."""

    background: Float[Tensor, ""]
    miou: Float[Tensor, ""]
    curve: Float[Tensor, " t"]


def iou_of(confusion: Shaped[Tensor, "... c c"]) -> Float[Tensor, "... c"]:
    """Intersection over union of each class in percent, NaN where the union is empty; rows are the truth."""
    confusion = confusion.double()
    hits = confusion.diagonal(dim1=-2, dim2=-1)
    union = confusion.sum(dim=-1) + confusion.sum(dim=-2) - hits
    return torch.where(union > 0, 100 * hits / union, torch.nan).float()


class SegmentationScores(MulticlassConfusionMatrix):
    """mIoU, IoU of each class and pixel accuracy, from torchmetrics' confusion matrix; 255 is ignored.

    Example:
        >>> scores = SegmentationScores(2)
        >>> scores.update(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 0]]]))
        >>> scores.compute().iou.tolist()
        [50.0, 0.0]
    """

    def __init__(self, classes: int) -> None:
        """``classes`` includes the background."""
        super().__init__(num_classes=classes, ignore_index=IGNORE_INDEX, validate_args=False)

    def update(self, prediction: Shaped[Tensor, "b H W"], truth: Shaped[Tensor, "b H W"]) -> None:
        """Adds the pixels of a batch."""
        super().update(prediction.long(), truth.long())

    def has_target(self) -> bool:
        """Whether any batch was added, in this process."""
        return self._update_count > 0

    def compute(self) -> SegmentationResult:  # type: ignore[override]  # a named tuple instead of the bare matrix
        """Scores of everything added."""
        confusion = self.confmat
        iou = iou_of(confusion)
        accuracy = 100 * confusion.diagonal().sum() / confusion.sum().clamp(min=1)
        return SegmentationResult(iou.nanmean(), iou, accuracy)


class BackgroundSweep(Metric):
    """A class activation map read at every background score in one pass.

    Each pixel is counted by its highest activation's bin, that class, and its truth; from the counts follows the
    confusion matrix at every threshold, as if the maps had been read once for each.
    """

    full_state_update = False
    higher_is_better = True
    counts: Tensor

    def __init__(self, classes: int, *, bins: int = 100, **settings: Any) -> None:
        """``classes`` includes the background; thresholds lie at 1 / bins, 2 / bins, ... below 1."""
        super().__init__(**settings)
        self.classes, self.bins = classes, bins
        counts = torch.zeros(bins, classes - 1, classes, dtype=torch.long)
        self.add_state("counts", default=counts, dist_reduce_fx="sum")

    def update(
        self, cam: Float[Tensor, "b k H W"], image_labels: Float[Tensor, "b k"], truth: Shaped[Tensor, "b H W"]
    ) -> None:
        """Adds a batch of normalised maps."""
        value, best = (cam * image_labels[..., None, None]).max(dim=1)
        bin_of = (value * self.bins).long().clamp(0, self.bins - 1)
        place = (bin_of * (self.classes - 1) + best) * self.classes + truth.long()
        known = truth != IGNORE_INDEX
        self.counts += torch.bincount(place[known], minlength=self.counts.numel()).view_as(self.counts)

    def compute(self) -> BackgroundResult:
        """The best threshold and the curve over all."""
        below = self.counts.sum(dim=1).cumsum(dim=0)[:-1]
        above = self.counts.flip(0).cumsum(dim=0).flip(0)[1:]
        confusion = torch.cat([below[:, None], above], dim=1).transpose(1, 2)
        curve = iou_of(confusion).nanmean(dim=-1)
        best = curve.argmax()
        return BackgroundResult((best + 1) / self.bins, curve[best], curve)


class MultiLabelScores(Metric):
    """How well the class branch knows the classes of a photo: F1 over classes, and the share of right labels."""

    full_state_update = False
    correct: Tensor
    total: Tensor
    present: Tensor

    def __init__(self, classes: int, **settings: Any) -> None:
        """``classes`` are foreground classes."""
        super().__init__(**settings)
        self.f1 = MultilabelF1Score(num_labels=classes, average="macro", validate_args=False)
        self.add_state("correct", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("present", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, class_logits: Float[Tensor, "b k"], image_labels: Float[Tensor, "b k"]) -> None:
        """Adds a batch; a class is predicted where its logit is above 0."""
        predicted = class_logits > 0
        self.f1.update(predicted.long(), image_labels.long())
        self.correct += (predicted == image_labels.bool()).sum()
        self.total += image_labels.numel()
        self.present += image_labels.bool().sum()

    def compute(self) -> dict[str, Tensor]:
        """``class_f1`` and ``class_accuracy`` in percent; neither where no photo has labels, as in VOC's ``test``."""
        if not self.present:
            return {}
        return {"class_f1": 100 * self.f1.compute(), "class_accuracy": 100 * self.correct / self.total.clamp(min=1)}

    def reset(self) -> None:
        """Starts anew."""
        super().reset()
        self.f1.reset()
