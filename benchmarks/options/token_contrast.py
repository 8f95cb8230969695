"""Patch token contrast of Ru et al., "Token Contrast for Weakly-Supervised Semantic Segmentation" (CVPR 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.losses import LossTerm
from afa_wsss.ops.affinity import TokenLabels
from afa_wsss.types import AFAOutput, Targets, dense


def token_contrast(features: Float[Tensor, "b d h w"], labels: UInt8[Tensor, "b n n"]) -> Float[Tensor, ""]:
    """1/N+ sum over positive pairs of (1 - cos) + 1/N- sum over negative pairs of max(cos, 0) (ToCo, equation 3).

    A pair of a token with itself does not count. Tokens of two classes are asked for no more than a right angle.

    Args:
        features: Features of the tokens, n = h * w; cos is the cosine of two of them.
        labels: 1 for pairs of one class, 0 for pairs of two classes, 255 ignored.

    Returns:
        In [0, 3]; an empty set of pairs contributes 0.

    Example:
        >>> two = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # at right angles
        >>> [float(token_contrast(two, torch.full((1, 2, 2), kind, dtype=torch.uint8))) for kind in (0, 1)]
        [0.0, 1.0]
    """
    tokens = F.normalize(features.float().flatten(2), dim=1)
    with torch.autocast(tokens.device.type, enabled=False):  # in half precision 1 - cos of like tokens is noise
        cosine = tokens.transpose(1, 2) @ tokens
    apart = ~torch.eye(cosine.shape[1], dtype=torch.bool, device=cosine.device)
    positive, negative = (labels == 1) & apart, (labels == 0) & apart
    attract = torch.where(positive, 1 - cosine, 0).sum() / positive.sum().clamp(min=1)
    repel = torch.where(negative, cosine.relu(), 0).sum() / negative.sum().clamp(min=1)
    return attract + repel


class TokenContrastLoss(LossTerm):
    """``token_contrast`` of the last features and the affinity labels.

    ToCo takes the pairs from an auxiliary class branch on an intermediate layer, whose maps smooth less. Here they are
    the affinity labels that the label maker makes of reliable pixels.
    """

    needs = ("affinity_label",)
    reads_seg_logits = False

    def __init__(self, *, weight: float = 0.2, first_step: int = 0, radius: int | None = None) -> None:
        """Settings; the weight is the paper's.

        Args:
            weight: Lambda in the total.
            first_step: Counted from 0.
            radius: Pairs farther apart (Chebyshev, in tokens) do not count; None for all pairs, as in the paper.
                Affinity labels that are given as a tensor keep their own window.

        Raises:
            UserError: For a radius below 1, a negative weight or step.
        """
        super().__init__(weight=weight, first_step=first_step)
        if radius is not None and radius < 1:
            raise UserError(f"need radius of at least 1, or none for all pairs, got {radius}", arguments=("radius",))
        self.radius = radius

    def forward(self, output: AFAOutput, targets: Targets) -> Float[Tensor, ""]:
        """The loss, not yet weighted.

        Raises:
            UserError: For an output without features, or whose features do not lie on the grid of the labels.
        """
        pairs, features = targets.pair_labels, output.features
        if features is None or pairs is None:
            raise UserError(
                "need the features of the network's forward pass and affinity labels, got an output without"
            )
        labels = dense(TokenLabels(pairs.tokens, self.radius) if isinstance(pairs, TokenLabels) else pairs)
        if features.shape[-2:].numel() != labels.shape[-1]:
            raise UserError(
                f"need a feature for each of the {labels.shape[-1]} tokens, got a map of {tuple(features.shape[-2:])}; "
                "take a backbone whose last features lie on the token grid"
            )
        return token_contrast(features, labels)
