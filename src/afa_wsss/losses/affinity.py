"""The loss of the affinity branch (AFA, equation 6, with its two sets exchanged so that A is a similarity)."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from afa_wsss.losses.term import LossTerm
from afa_wsss.types import AFAOutput, Targets


def affinity_loss(affinity: Float[Tensor, "b n n"], labels: UInt8[Tensor, "b n n"]) -> Float[Tensor, ""]:
    """Half of sum over positive pairs of (1 - A) / (count + 1), and half of sum over negative pairs of A / (count + 1).

    Args:
        affinity: In (0, 1).
        labels: 1 for pairs of one class, 0 for pairs of two classes, 255 ignored.

    Example:
        >>> labels = torch.tensor([[[1, 0], [0, 1]]], dtype=torch.uint8)
        >>> good = torch.tensor([[[0.9, 0.1], [0.1, 0.9]]])
        >>> bool(affinity_loss(good, labels) < affinity_loss(1 - good, labels))
        True
    """
    affinity = affinity.float()
    positive, negative = labels == 1, labels == 0
    apart = torch.where(positive, 1 - affinity, 0).sum() / (positive.sum() + 1)
    together = torch.where(negative, affinity, 0).sum() / (negative.sum() + 1)
    return 0.5 * (apart + together)


class AffinityLoss(LossTerm):
    """``affinity_loss`` of the affinity and the affinity labels."""

    needs = ("affinity_label",)

    def forward(self, output: AFAOutput, targets: Targets) -> Float[Tensor, ""]:
        """The loss, not yet weighted."""
        return affinity_loss(output.affinity, cast(Tensor, targets.affinity_label))
