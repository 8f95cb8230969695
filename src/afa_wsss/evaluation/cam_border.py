"""How much of the class activation maps lies at the border of the photos."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from afa_wsss.ops.cam import normalize_cam

RING = 0.1
"""Width of the border, as a fraction of each side."""

EVEN_SHARE = 100 * (1 - (1 - 2 * RING) ** 2)
"""Share of the border in percent in the area, and so in a map that is spread evenly: 36."""


class CamBorderResult(NamedTuple):
    """Share of the maps' mass at the border, in percent; NaN where there is no map.

    torchmetrics makes the values of a single class scalars.

    Attributes:
        share: Mean over all photos and the classes present in them.
        classes: Mean of each class over the photos with it.
    """

    share: Float[Tensor, ""]
    classes: Float[Tensor, " k"]


class CamBorder(Metric):
    """``border_share`` of the classes present in each photo, averaged over batches and processes.

    Example:
        >>> border = CamBorder(2)
        >>> object_in_the_middle = torch.zeros(1, 2, 5, 5)
        >>> object_in_the_middle[..., 2, 2] = 1.0
        >>> border.update(object_in_the_middle, torch.tensor([[1.0, 0.0]]))
        >>> border.compute().classes.tolist()
        [0.0, nan]
    """

    full_state_update = False
    sums: Tensor
    counts: Tensor

    def __init__(self, classes: int, **settings: Any) -> None:
        """``classes`` is the number of foreground classes."""
        super().__init__(**settings)
        self.add_state("sums", default=torch.zeros(classes, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("counts", default=torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, cam: Float[Tensor, "b k h w"], image_labels: Float[Tensor, "b k"]) -> None:
        """Adds a batch of photos that fill their frames.

        Args:
            cam: Class scores of the tokens, before ReLU.
            image_labels: Multi-hot; classes that are absent are not counted, nor are maps without any activation.
        """
        share = border_share(cam)
        counted = image_labels.bool() & share.isfinite()
        self.sums += torch.where(counted, share, 0).sum(dim=0, dtype=torch.double)
        self.counts += counted.sum(dim=0)

    def compute(self) -> CamBorderResult:
        """Means over all batches."""
        overall = self.sums.sum() / self.counts.sum()
        return CamBorderResult(overall.float(), (self.sums / self.counts).float())


def border_share(cam: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k"]:
    """Share of each map's mass in the outermost tenth on each side of the photo, in percent.

    With M = ReLU(cam) minus its minimum, and r the part of each token that lies in the border: 100 * sum M r / sum M. A
    map that is spread evenly over the photo has ``EVEN_SHARE``, 36; one that marks an object inside has less. A map
    without any activation, or with the same everywhere, has NaN.

    Example:
        >>> border_share(torch.arange(25.0).view(1, 1, 5, 5)).round().item()
        36.0
    """
    maps = normalize_cam(F.relu(cam.float()))
    rows, columns = (_inner_part(length, cam.device) for length in cam.shape[-2:])
    ring = 1 - rows[:, None] * columns
    return 100 * (maps * ring).sum(dim=(-2, -1)) / maps.sum(dim=(-2, -1))


def _inner_part(length: int, device: torch.device) -> Float[Tensor, " length"]:
    """The part of each of ``length`` equal pieces of [0, 1] that lies in [RING, 1 - RING]."""
    edges = torch.arange(length + 1, device=device) / length
    inside = edges[1:].clamp(max=1 - RING) - edges[:-1].clamp(min=RING)
    return (inside * length).clamp(0, 1)
