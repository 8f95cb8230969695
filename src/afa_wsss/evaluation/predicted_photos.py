"""In how many photos each class is predicted."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torchmetrics import Metric

from afa_wsss.evaluation.label_shares import thinned

LEAST_AREA = 0.001
"""A class is predicted in a photo where it covers at least this part of it: less is specks."""


class PredictedPhotosResult(NamedTuple):
    """Numbers of photos; torchmetrics makes the values of a single class scalars.

    Attributes:
        photos: All of them.
        classes: Those in which each foreground class is predicted.
    """

    photos: Int[Tensor, ""]
    classes: Int[Tensor, " k"]


class PredictedPhotos(Metric):
    """Photos in which labels show each class, summed over batches and processes; ``update`` reads no value.

    Example:
        >>> predicted = PredictedPhotos(2)
        >>> predicted.update(torch.tensor([[[0, 1]], [[1, 1]]], dtype=torch.uint8))
        >>> predicted.compute().classes.tolist()
        [2, 0]
    """

    full_state_update = False
    photos: Tensor
    classes: Tensor

    def __init__(self, classes: int, **settings: Any) -> None:
        """``classes`` is the number of foreground classes."""
        super().__init__(**settings)
        self.add_state("photos", default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("classes", default=torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, labels: UInt8[Tensor, "b H W"] | Int[Tensor, "b H W"]) -> None:
        """Adds a batch of photos that fill their frames: background 0; what is no class is unknown, such as 255.

        Of photos with more than 256 rows or columns every second, third, ... one stands for all.
        """
        values = thinned(labels).flatten(1).long().clamp(max=len(self.classes) + 1)
        pixels = values.new_zeros(len(values), len(self.classes) + 2)
        pixels.scatter_add_(1, values, torch.ones_like(values))
        self.classes += (pixels[:, 1:-1] >= LEAST_AREA * values.shape[1]).sum(dim=0)
        self.photos += len(values)

    def compute(self) -> PredictedPhotosResult:
        """Numbers over all batches."""
        return PredictedPhotosResult(self.photos.clone(), self.classes.clone())
