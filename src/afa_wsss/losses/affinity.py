"""The loss of the affinity branch (AFA, equation 6, with its two sets exchanged so that A is a similarity)."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from afa_wsss.losses.reduction import check_reduction, reduced_counts
from afa_wsss.losses.term import LossTerm
from afa_wsss.ops.affinity import TokenAffinity, TokenLabels
from afa_wsss.ops.window_affinity import TilePairs, near_affinity, near_pairs, tiles_of
from afa_wsss.types import IGNORE_INDEX, AFAOutput, Targets


def affinity_loss(
    affinity: Float[Tensor, "b n n"], labels: UInt8[Tensor, "b n n"], *, reduction: str = "process"
) -> Float[Tensor, ""]:
    """Half of sum over positive pairs of (1 - A) / (count + 1), and half of sum over negative pairs of A / (count + 1).

    Args:
        affinity: In (0, 1).
        labels: 1 for pairs of one class, 0 for pairs of two classes, 255 ignored.
        reduction: Whose pairs are counted: see ``losses.reduction``.

    Example:
        >>> labels = torch.tensor([[[1, 0], [0, 1]]], dtype=torch.uint8)
        >>> good = torch.tensor([[[0.9, 0.1], [0.1, 0.9]]])
        >>> bool(affinity_loss(good, labels) < affinity_loss(1 - good, labels))
        True
    """
    affinity = affinity.float()
    positive, negative = labels == 1, labels == 0
    (positives, negatives), factor = reduced_counts(positive.sum(), negative.sum(), reduction=reduction)
    apart = torch.where(positive, 1 - affinity, 0).sum() / (positives + 1)
    together = torch.where(negative, affinity, 0).sum() / (negatives + 1)
    return 0.5 * factor * (apart + together)


def window_affinity_loss(
    affinity: TokenAffinity, labels: TokenLabels, *, reduction: str = "process"
) -> Float[Tensor, ""]:
    """``affinity_loss`` of ``affinity.dense()`` and ``labels.dense()`` from the pairs within the radius alone.

    Args:
        affinity: Vectors of the tokens.
        labels: Labels of the same tokens, with a radius.
        reduction: Whose pairs are counted: see ``losses.reduction``.
    """
    height, width = labels.tokens.shape[-2:]
    tiles = tiles_of((height, width), radius=cast(int, labels.radius))
    classes = tiles.cut(labels.tokens.flatten(1)[..., None], fill=IGNORE_INDEX)
    pairs = near_pairs(tiles, len(labels.tokens), classes.device)
    kinds = [_kinds(classes, part) for part in pairs]
    own = [
        torch.stack([(kind.sum(dim=(0, 1)) * part.orders).sum() for kind, part in zip(same, pairs, strict=True)]).sum()
        for same in zip(*kinds, strict=True)
    ]
    (positives, negatives), factor = reduced_counts(*own, reduction=reduction)
    # 1 - A over positive and A over negative pairs is one sum with a weight for each pair, and a constant.
    loss: Tensor = own[0] / (positives + 1)
    for part, (positive, negative), near in zip(pairs, kinds, near_affinity(affinity, tiles, pairs), strict=True):
        weights = torch.where(negative, part.orders / (negatives + 1), 0)
        loss = loss + (torch.where(positive, -part.orders / (positives + 1), weights) * near).sum()
    return loss * (factor / 2)


def _kinds(classes: Tensor, pairs: TilePairs) -> tuple[Tensor, Tensor]:
    """Which pairs are positive, and which negative."""
    own, near = classes[: pairs.neighbors.tiles], pairs.neighbors.of(classes).transpose(1, 2)
    there = pairs.there[:, None] & (near != IGNORE_INDEX)
    known, same = pairs.close & there & (own != IGNORE_INDEX), own == near
    return known & same, known & ~same


class AffinityLoss(LossTerm):
    """``affinity_loss`` of the affinity and the affinity labels; its window form where both are given by tokens."""

    needs = ("affinity_label",)
    reads_seg_logits = False

    def __init__(self, *, weight: float = 1.0, first_step: int = 0, reduction: str = "global") -> None:
        """With ``reduction`` as in ``losses.reduction``; ``process`` is that of the official code.

        Raises:
            UserError: For another reduction.
        """
        super().__init__(weight=weight, first_step=first_step)
        self.reduction = check_reduction(reduction)

    def forward(self, output: AFAOutput, targets: Targets) -> Float[Tensor, ""]:
        """The loss, not yet weighted."""
        pairs, labels = output.pairs, targets.pair_labels
        if isinstance(pairs, TokenAffinity) and isinstance(labels, TokenLabels) and labels.radius is not None:
            return window_affinity_loss(pairs, labels, reduction=self.reduction)
        return affinity_loss(output.affinity, cast(Tensor, targets.affinity_label), reduction=self.reduction)
