"""Means of what candidates were like in recent photos, and how surely one candidate is better than another."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.ops.processes import sum_over_processes

LOOKED_AT = 16
"""Photos that are looked at, of a batch or of those with masks: each is refined once for every candidate."""

DECAY = 0.9
"""Weight of what was seen before for each ``LOOKED_AT`` photos with a class: about 160 photos are remembered."""

SLOW_DECAY = 0.95
"""The same for comparisons that need more photos: about 320 are remembered."""


class Lead(NamedTuple):
    """How much better some labels are than others in the same photos.

    Attributes:
        mean: Mean difference over the photos.
        error: Standard error of the mean; infinite for one photo.
    """

    mean: Tensor
    error: Tensor


class RecentSplits(nn.Module):
    """Weighted first and second moments of the color splits of labels, photo by photo; recent photos have more weight.

    Attributes:
        decay: Weight of what was seen before for each ``LOOKED_AT`` photos with a class.
        moments: Weighted sums, over photos, of the products of each two of 1 and the splits of ``n`` ways to label it:
            the first row holds the photos' weight and the sums of the splits.
    """

    def __init__(self, labels: int, *, decay: float = DECAY) -> None:
        """``labels``: how many ways to label a photo are compared."""
        super().__init__()
        self.decay = decay
        self.moments: Tensor
        self.register_buffer("moments", torch.zeros(1 + labels, 1 + labels))

    def add(self, splits: Float[Tensor, "b n"]) -> None:
        """Adds photos of all processes, so that they remember the same."""
        values = torch.cat([splits.new_ones(len(splits), 1), splits], dim=1).to(self.moments)
        new = sum_over_processes(values.T @ values)
        self.moments = self.moments * self.after(new[0, 0]) + new

    def after(self, photos: Tensor) -> Tensor:
        """Weight of what was seen before so many photos."""
        return self.decay ** (photos / LOOKED_AT)

    @property
    def weight(self) -> Float[Tensor, ""]:
        """Of all photos; 0 before the first one."""
        return self.moments[0, 0]

    @property
    def means(self) -> Float[Tensor, " n"]:
        """Of the splits; 0 before the first photo."""
        return self.moments[0, 1:] / self.weight.clamp(min=1)

    def lead(self, differences: Float[Tensor, "k n"]) -> Lead:
        """Mean and standard error of the weighted sum of a photo's splits that each row describes.

        Args:
            differences: Weights of the splits: 1 for the labels in question, -1 for those to compare them with.
        """
        # No matmul: TF32, where a GPU is set to it, rounds by more than splits differ.
        mean = (differences * self.means).sum(dim=1)
        products = differences[:, :, None] * self.moments[1:, 1:] * differences[:, None]
        square = products.sum(dim=(1, 2)) / self.weight.clamp(min=1)
        variance = (square - mean.square()).clamp(min=0)
        few = self.weight <= 1
        return Lead(mean, torch.where(few, torch.inf, variance / (self.weight - 1).clamp(min=1e-6)).sqrt())
