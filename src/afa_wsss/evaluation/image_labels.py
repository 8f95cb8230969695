"""Scores of the class branch on held-out photos: F1, precision and recall of each class, and the best threshold."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MultilabelF1Score,
    MultilabelPrecision,
    MultilabelPrecisionRecallCurve,
    MultilabelRecall,
)

THRESHOLDS = 99
"""Probabilities that are tried as thresholds: 0.01, 0.02, ..., 0.99."""


class ImageLabelResult(NamedTuple):
    """Scores in percent; of a class that no photo has, everything but ``photos`` is NaN.

    torchmetrics makes the values of a single class scalars.

    Attributes:
        f1: Mean of ``class_f1`` over the classes that some photo has.
        accuracy: Share of right image labels.
        photos: Number of photos with each class.
        class_f1: F1 of each class at probability 0.5, as are precision and recall.
        class_precision: Share of the photos predicted to have the class that have it; 0 where none is predicted.
        class_recall: Share of the photos with the class that are predicted to have it.
        class_threshold: Probability in (0, 1) with the highest F1 of each class; of equals the one closest to 0.5.
        class_best_f1: F1 at that threshold.
    """

    f1: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]
    photos: Int[Tensor, " k"]
    class_f1: Float[Tensor, " k"]
    class_precision: Float[Tensor, " k"]
    class_recall: Float[Tensor, " k"]
    class_threshold: Float[Tensor, " k"]
    class_best_f1: Float[Tensor, " k"]


class ImageLabelScores(Metric):
    """Scores of the class branch, one class or many, in memory that does not grow with the data.

    Example:
        >>> scores = ImageLabelScores(2)
        >>> scores.update(torch.tensor([[3.0, -1.0], [2.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        >>> found = scores.compute()
        >>> found.f1.item(), found.accuracy.item(), found.class_f1.tolist()
        (100.0, 75.0, [100.0, nan])
    """

    full_state_update = False
    correct: Tensor
    total: Tensor
    photos: Tensor

    def __init__(self, classes: int, **settings: Any) -> None:
        """``classes`` is the number of foreground classes."""
        super().__init__(**settings)
        kind: dict[str, Any] = {"num_labels": classes, "validate_args": False}
        at_half = (MultilabelF1Score, MultilabelPrecision, MultilabelRecall)
        self.at_half = MetricCollection([metric(average=None, **kind) for metric in at_half])
        tried = torch.arange(1, THRESHOLDS + 1) / (THRESHOLDS + 1)
        self.curve = MultilabelPrecisionRecallCurve(thresholds=tried, **kind)
        for name, shape in (("correct", ()), ("total", ()), ("photos", (classes,))):
            self.add_state(name, default=torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Float[Tensor, "b k"], target: Float[Tensor, "b k"]) -> None:
        """Adds a batch.

        Args:
            preds: Class logits; a class is predicted where its logit is above 0, its probability above 0.5.
            target: Multi-hot image labels; a photo without any class counts, too.
        """
        predicted, wanted = preds > 0, target.bool()
        self.at_half.update(predicted.long(), wanted.long())
        self.curve.update(preds.float().sigmoid(), wanted.long())
        self.correct += (predicted == wanted).sum()
        self.total += target.numel()
        self.photos += wanted.sum(dim=0)

    def compute(self) -> ImageLabelResult | None:
        """Scores of all batches; None where no photo has a label, as in VOC's ``test``."""
        if not self.photos.any():
            return None
        shown = self.photos > 0

        def known(values: Tensor) -> Tensor:
            return torch.where(shown, values, torch.nan)

        f1, precision, recall = (known(100 * value) for value in self.at_half.compute().values())
        best_f1, threshold = self._best()
        accuracy = 100 * self.correct / self.total.clamp(min=1)
        return ImageLabelResult(
            f1.nanmean(), accuracy, self.photos.clone(), f1, precision, recall, known(threshold), known(best_f1)
        )

    def _best(self) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
        """The highest F1 of each class in percent, and its threshold."""
        # torchmetrics adds an end point without a threshold.
        precision, recall, tried = (torch.as_tensor(values)[..., :THRESHOLDS] for values in self.curve.compute())
        f1 = 200 * torch.nan_to_num(precision * recall / (precision + recall))
        best = f1.max(dim=1, keepdim=True).values
        distance = (tried - 0.5).abs().masked_fill(f1 < best, torch.inf)
        return best[:, 0], tried[distance.argmin(dim=1)]

    def reset(self) -> None:
        """Forgets all batches."""
        super().reset()
        self.at_half.reset()
        self.curve.reset()
