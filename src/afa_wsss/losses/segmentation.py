"""The loss of the segmentation branch (AFA, section 3.5)."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from afa_wsss.losses.reduction import check_reduction, reduced_counts
from afa_wsss.losses.term import LossTerm
from afa_wsss.ops.image import resize
from afa_wsss.types import IGNORE_INDEX, AFAOutput, Targets


def balanced_cross_entropy(
    logits: Float[Tensor, "b c h w"], labels: Shaped[Tensor, "b H W"], *, reduction: str = "process"
) -> Float[Tensor, ""]:
    """Half the mean cross entropy over background pixels plus half the mean over foreground pixels.

    Args:
        logits: Background first; resized bilinearly where the labels have another size.
        labels: Classes, 255 ignored.
        reduction: Whose pixels are counted: see ``losses.reduction``.

    Returns:
        The loss; an empty set contributes 0, where the official code gives NaN.

    Example:
        >>> unknown = torch.full((1, 4, 4), 255)
        >>> float(balanced_cross_entropy(torch.randn(1, 3, 4, 4), unknown))
        0.0
    """
    logits, labels = resize(logits.float(), labels.shape[-2:]), labels.long()
    entropy = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")
    background = labels == 0
    foreground = ~background & (labels != IGNORE_INDEX)
    counts, factor = reduced_counts(background.sum(), foreground.sum(), reduction=reduction)
    sums = [torch.where(chosen, entropy, 0).sum() for chosen in (background, foreground)]
    return 0.5 * factor * (sums[0] / counts[0].clamp(min=1) + sums[1] / counts[1].clamp(min=1))


class SegmentationLoss(LossTerm):
    """``balanced_cross_entropy`` of the segmentation logits and the pseudo label."""

    needs = ("pseudo_label",)

    def __init__(self, *, weight: float = 1.0, first_step: int = 0, reduction: str = "global") -> None:
        """With ``reduction`` as in ``losses.reduction``; ``process`` is that of the official code.

        Raises:
            UserError: For another reduction.
        """
        super().__init__(weight=weight, first_step=first_step)
        self.reduction = check_reduction(reduction)

    def forward(self, output: AFAOutput, targets: Targets) -> Float[Tensor, ""]:
        """The loss, not yet weighted."""
        return balanced_cross_entropy(output.seg_logits, cast(Tensor, targets.pseudo_label), reduction=self.reduction)
