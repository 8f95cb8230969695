"""Consistency on pixels without a label, after DuPL (Wu et al., CVPR 2024): there the branch learns what it is sure of.

DuPL compares a strongly with a weakly perturbed view. A loss sees the training pass alone, with its dropout, dropped
paths and batch statistics; the weak view here is the mirrored crop in evaluation mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.losses import LossTerm
from afa_wsss.models.encoders.training_parts import evaluating
from afa_wsss.ops.pseudo_label import box_mask
from afa_wsss.supervision import AFALabels, Network
from afa_wsss.types import IGNORE_INDEX, AFAOutput, Batch, Targets
from benchmarks.options.networks import whole


def sure_where_unknown(
    logits: Float[Tensor, "b c h w"],
    labels: UInt8[Tensor, "b H W"],
    batch: Batch,
    *,
    confidence: float,
) -> Float[Tensor, "b c h w"]:
    """Probabilities at the pixels that have no label and whose likeliest class is surely there; 0 at all others.

    Labels and boxes are sampled by nearest neighbor.

    Args:
        logits: Segmentation logits of a weak view, background first.
        labels: 255 where unknown.
        batch: Its image labels and boxes: a pixel counts inside the photo alone, and not where its likeliest class is
            absent from the photo.
        confidence: Least probability of the likeliest class.
    """
    probabilities = logits.float().softmax(dim=1)
    best, classes = probabilities.max(dim=1)
    inside = box_mask(batch.boxes, labels.shape[-2], labels.shape[-1])
    unknown = ((labels == IGNORE_INDEX) & inside)[:, None].float()
    unknown = F.interpolate(unknown, size=logits.shape[-2:], mode="nearest")[:, 0] == 1
    present = F.pad(batch.image_labels, (1, 0), value=1).bool()
    there = present.gather(1, classes.flatten(1)).view_as(classes)
    return probabilities * (unknown & there & (best > confidence))[:, None]


@dataclass(frozen=True)
class ConsistencyLabels(AFALabels):
    """AFA's labels, and the target ``soft_target`` of ``ConsistencyLoss``: see ``sure_where_unknown``.

    It costs a pass of the mirrored crop without gradient.

    Attributes:
        confidence: Least probability of the likeliest class of a pixel that counts.
    """

    makes: ClassVar[tuple[str, ...]] = (*AFALabels.makes, "soft_target")  # type: ignore[assignment]  # one more

    confidence: float = 0.9

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For a confidence outside [0, 1), and for what AFA's labels refuse.
        """
        super().__post_init__()
        if not 0 <= self.confidence < 1:
            raise UserError(f"need 0 <= confidence < 1, got {self.confidence}", arguments=("confidence",))

    @torch.no_grad()
    def targets(
        self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput, *, step: int
    ) -> Targets:
        """AFA's targets, and probabilities of the mirrored crop where they leave pixels without a label."""
        made = super().targets(network, batch, images, output, step=step)
        if made.pseudo_label is None:
            return made
        model = whole(network, purpose="to segment the mirrored crop")
        with evaluating(model):
            logits = model.segment(images.flip(-1)).flip(-1)
        soft = sure_where_unknown(logits, made.pseudo_label, batch, confidence=self.confidence)
        return Targets.of(
            batch,
            pseudo_label=made.pseudo_label,
            affinity_label=made.pair_labels,
            **{**made.others, "soft_target": soft},
        )


def consistency(logits: Float[Tensor, "b c h w"], soft_target: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Mean of -sum_c p_c log q_c over the pixels with a target p, q the softmax of the logits; 0 without any."""
    entropy = -(soft_target * logits.float().log_softmax(dim=1)).sum(dim=1)
    return entropy.sum() / (soft_target.sum(dim=1) > 0).sum().clamp(min=1)


class ConsistencyLoss(LossTerm):
    """``consistency`` of the segmentation logits with the ``soft_target`` of ``ConsistencyLabels``."""

    needs = ("soft_target",)

    def forward(self, output: AFAOutput, targets: Targets) -> Float[Tensor, ""]:
        """The loss, not yet weighted."""
        return consistency(output.seg_logits, targets.others["soft_target"])
