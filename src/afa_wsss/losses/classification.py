"""The loss of the class branch (AFA, equation 1)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from afa_wsss.losses.term import LossTerm
from afa_wsss.types import AFAOutput, Targets


def multilabel_soft_margin(class_logits: Float[Tensor, "b k"], image_labels: Float[Tensor, "b k"]) -> Float[Tensor, ""]:
    """-mean over classes of y log sigmoid(p) + (1 - y) log sigmoid(-p); the paper prints it without the minus sign."""
    return F.multilabel_soft_margin_loss(class_logits.float(), image_labels)


def label_distribution_cross_entropy(
    class_logits: Float[Tensor, "b k"], image_labels: Float[Tensor, "b k"]
) -> Float[Tensor, ""]:
    """Softmax cross entropy against the photo's labels in equal shares (Mahajan et al., ECCV 2018, section 2.2).

    With one label per photo it is the loss of ImageNet. Many classes are learned sooner with it than with a binary
    loss for each.
    """
    shares = image_labels / image_labels.sum(dim=1, keepdim=True).clamp(min=1)
    return F.cross_entropy(class_logits.float(), shares)


class ClassificationLoss(LossTerm):
    """``multilabel_soft_margin`` of the class logits and the image labels."""

    needs = ("image_labels",)
    reads_seg_logits = False

    def forward(self, output: AFAOutput, targets: Targets) -> Float[Tensor, ""]:
        """The loss, not yet weighted."""
        return multilabel_soft_margin(output.class_logits, targets.image_labels)


class LabelDistributionLoss(LossTerm):
    """``label_distribution_cross_entropy`` of the class logits and the image labels: pretrains a backbone."""

    needs = ("image_labels",)
    reads_seg_logits = False

    def forward(self, output: AFAOutput, targets: Targets) -> Float[Tensor, ""]:
        """The loss, not yet weighted."""
        return label_distribution_cross_entropy(output.class_logits, targets.image_labels)
