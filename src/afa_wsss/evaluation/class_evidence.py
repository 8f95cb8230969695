"""Whether a class is recognized by what lies outside of the region that its class activation map marks."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

REGION = 0.2
"""Fraction of a photo's tokens that make up the region of a class: those with its highest scores."""

LEAST_PHOTOS = 10
"""Photos with a class, and photos without it, that a judgement needs."""

BINS, FINEST, LARGEST = 2048, 0.01, 1e3
"""Scores are counted in bins of asinh(score / FINEST) up to LARGEST: 0.0001 wide near 0, 1.2 % of large scores."""


class ClassEvidenceResult(NamedTuple):
    """Evidence of each class in percent; NaN with fewer than ``LEAST_PHOTOS`` photos with or without the class.

    torchmetrics makes the values of a single class scalars.

    Attributes:
        inside: Area under the ROC curve of the mean score inside of the region, for telling photos with the class from
            those without: 50 is chance, 100 is perfect.
        outside: Area under the ROC curve of the mean score outside of the region.
        share: How much the mean score outside rises where the class is present, of how much the one inside rises: near
            0 where the object alone tells the class, near 100 where every token of the photo does.
    """

    inside: Float[Tensor, " k"]
    outside: Float[Tensor, " k"]
    share: Float[Tensor, " k"]


class ClassEvidence(Metric):
    """Compares, for each class, the scores of tokens inside and outside of its region with the image labels.

    For a photo and a class, the region is the fifth of the tokens with the highest scores of the class. With I and O
    the mean of ReLU(score) inside and outside of it, P the photos with the class and N those without:

        inside  = 100 * P(I of a photo in P > I of a photo in N), of equals one half; outside the same with O
        share   = 100 * (mean of O over P - mean of O over N) / (mean of I over P - mean of I over N)

    A class that is recognized by its object has high scores in the region alone: the mean outside rises by a small part
    of what the mean inside does, because of a large object's other tokens and of tokens that have seen it. A class that
    is recognized by the background has high scores all over the photo: both rise alike, and both separate the photos.
    ReLU, as in the activation map, leaves out the evidence against a class that other objects are.

    Memory does not grow with the data; ``update`` reads no value.
    """

    full_state_update = False
    counts: Tensor
    sums: Tensor

    def __init__(self, classes: int, **settings: Any) -> None:
        """``classes`` is the number of foreground classes."""
        super().__init__(**settings)
        counts = torch.zeros(2, 2, classes, BINS, dtype=torch.long)  # inside, outside; absent, present
        self.add_state("counts", default=counts, dist_reduce_fx="sum")
        self.add_state("sums", default=torch.zeros(2, 2, classes, dtype=torch.double), dist_reduce_fx="sum")

    def update(self, cam: Float[Tensor, "b k h w"], image_labels: Float[Tensor, "b k"]) -> None:
        """Adds a batch of photos that fill their frames.

        Args:
            cam: Class scores of the tokens, before ReLU. Photos of a single token, which have no outside, are left out.
            image_labels: Multi-hot.
        """
        if cam.shape[-2] * cam.shape[-1] < 2:
            return
        means, present = torch.stack(region_means(cam)), image_labels.long()
        shown = torch.stack([1 - present, present])
        self.sums += torch.einsum("rbk,pbk->rpk", means.double(), shown.double())
        regions, classes = (torch.arange(length, device=cam.device) for length in (2, cam.shape[1]))
        rows = (regions[:, None, None] * 2 + present) * len(classes) + classes
        places = (rows * BINS + _bins(means)).flatten()
        self.counts.view(-1).scatter_add_(0, places, torch.ones_like(places))

    def compute(self) -> ClassEvidenceResult:
        """Evidence over all batches."""
        photos = self.counts[0].sum(dim=-1)
        enough = (photos >= LEAST_PHOTOS).all(dim=0)
        means = self.sums / photos
        rise = means[:, 1] - means[:, 0]
        share = torch.where(rise[0] > 0, 100 * rise[1] / rise[0], torch.nan)
        found = (*(_area(*counts) for counts in self.counts), share)
        return ClassEvidenceResult(*(torch.where(enough, value, torch.nan).float() for value in found))


def region_means(cam: Float[Tensor, "b k h w"]) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k"]]:
    """Mean of ReLU(score) of each class inside and outside of its region: ``REGION`` of the tokens, the highest scores.

    Example:
        >>> inside, outside = region_means(torch.tensor([[[[0.0, 1.0, 2.0, 3.0, 9.0]]]]))
        >>> inside.item(), outside.item()
        (9.0, 1.5)
    """
    scores = F.relu(cam.float()).flatten(2)
    tokens = scores.shape[2]
    size = min(max(1, round(REGION * tokens)), tokens - 1)
    inside = scores.topk(size, dim=2).values.sum(dim=2)
    return inside / size, (scores.sum(dim=2) - inside) / (tokens - size)


def _bins(scores: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """The bin of each score, in [0, BINS)."""
    places = (scores / FINEST).asinh() / math.asinh(LARGEST / FINEST)
    return ((places + 1) * (BINS / 2)).long().clamp(0, BINS - 1)


def _area(absent: Int[Tensor, "k bins"], present: Int[Tensor, "k bins"]) -> Float[Tensor, " k"]:
    """Area under the ROC curve in percent, from counts of scores."""
    below = absent.cumsum(dim=1) - absent
    wins = (present * (below + absent / 2)).sum(dim=1, dtype=torch.double)
    return 100 * wins / (present.sum(dim=1) * absent.sum(dim=1))
