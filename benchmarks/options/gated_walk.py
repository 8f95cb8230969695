"""A walk in which classes that the class branch does not find have no scores.

An image label says that a class is in the photo, not that it is in the crop. The walk moves each class by itself, so
scores set to 0 after each step are the same as scores set to 0 after the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.supervision import AFALabels, Network, Walk
from afa_wsss.supervision.maps import Maps
from afa_wsss.supervision.scores import walked
from afa_wsss.types import AFAOutput, AffinityPairs, Batch, affinity_row, dense


class GatedPairs(NamedTuple):
    """An affinity after whose walk only some classes have scores.

    Attributes:
        pairs: The affinity.
        gate: 1 for background and the slots that keep their scores, else 0.
    """

    pairs: AffinityPairs | Tensor
    gate: Float[Tensor, "b c"]

    def dense(self) -> Float[Tensor, "b n n"]:
        """That of the pairs."""
        return dense(self.pairs)

    def row(self, image: int, token: int) -> Float[Tensor, " n"]:
        """That of the pairs."""
        return affinity_row(self.pairs, image, token)

    def detach(self) -> GatedPairs:
        """The same without gradient."""
        return GatedPairs(self.pairs.detach(), self.gate)

    def walked(self, scores: Float[Tensor, "b c h w"], walk: Walk) -> Float[Tensor, "b c h w"]:
        """The walk along the pairs, gated; scores of several thresholds lie one after the other."""
        gate = self.gate.repeat(1, scores.shape[1] // self.gate.shape[1])
        return walked(scores, self.pairs, walk) * gate[..., None, None]


@dataclass(frozen=True)
class GatedWalkLabels(AFALabels):
    """AFA's labels without those that the walk gives to classes whose probability is below ``gate``.

    Labels from the CAM, and affinity labels made of it, stay as they are. ``walk_steps`` sets the steps of the walk.

    Attributes:
        gate: Least probability of a class in the class branch, in [0, 1].
    """

    gate: float = 0.5

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For a gate outside [0, 1], and for what AFA's labels refuse.
        """
        super().__post_init__()
        if not 0 <= self.gate <= 1:
            raise UserError(f"need a gate between 0 and 1, got {self.gate}", arguments=("gate",))

    def maps(self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput) -> Maps:
        """AFA's maps with ``GatedPairs`` in place of the affinity."""
        maps = super().maps(network, batch, images, output)
        found = output.class_logits.detach().sigmoid().gather(1, maps.present.classes) >= self.gate
        gate = F.pad(found.to(maps.cam.dtype), (1, 0), value=1)  # the background is always there
        return maps._replace(affinity=GatedPairs(maps.affinity, gate))
