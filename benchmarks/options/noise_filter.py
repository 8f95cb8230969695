"""Adaptive noise filtering of pixel labels by their losses, after DuPL.

Wu et al., "DuPL: Dual Student with Trustworthy Progressive Learning for Robust Weakly Supervised Semantic Segmentation"
(CVPR 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.ops.image import resize
from afa_wsss.supervision import AFALabels, Network
from afa_wsss.types import IGNORE_INDEX, AFAOutput, Batch, Targets
from benchmarks.options.mixture import fit_mixture

GAMMA, ETA = 0.9, 1.0
"""Least probability of a noisy pixel, and least distance of the two means, in nats."""


def noisy_pixels(
    losses: Float[Tensor, "b H W"], foreground: Bool[Tensor, "b H W"], *, gamma: float = GAMMA, eta: float = ETA
) -> Bool[Tensor, "b H W"]:
    """Foreground pixels whose label is likely wrong: those of the component of a photo's losses with the higher mean.

    The losses of the photo's foreground are a mixture of two Gaussians, clean and noisy. A pixel is noisy where
    P(noisy | loss) > gamma, in photos with mean(noisy) - mean(clean) > eta.

    Args:
        losses: Loss of each pixel's label.
        foreground: Pixels labeled as a class other than background.
        gamma: In [0, 1].
        eta: At least 0.
    """
    flat, counted = losses.flatten(1), foreground.flatten(1)
    mixture = fit_mixture(flat, counted)
    apart = mixture.means[:, 1] - mixture.means[:, 0] > eta
    noisy = mixture.posteriors(flat)[:, 1] > gamma
    return (noisy & counted & apart[:, None]).view_as(foreground)


def filtered(
    labels: UInt8[Tensor, "b H W"], logits: Float[Tensor, "b c h w"], *, gamma: float = GAMMA, eta: float = ETA
) -> UInt8[Tensor, "b H W"]:
    """``labels`` with 255 at the ``noisy_pixels`` of the cross entropy of ``logits``, resized bilinearly."""
    entropy = F.cross_entropy(
        resize(logits.float(), labels.shape[-2:]), labels.long(), ignore_index=IGNORE_INDEX, reduction="none"
    )
    foreground = (labels != 0) & (labels != IGNORE_INDEX)
    return labels.masked_fill(noisy_pixels(entropy, foreground, gamma=gamma, eta=eta), IGNORE_INDEX)


@dataclass(frozen=True)
class NoiseFilteredLabels(AFALabels):
    """AFA's labels without the foreground pixels that the segmentation branch finds hard to learn in their photo.

    Affinity labels stay as they are.

    Attributes:
        gamma: See ``noisy_pixels``.
        eta: See ``noisy_pixels``.
        filter_after: Steps with labels before the filter begins: the losses of an untrained branch say nothing.
    """

    reads_seg_logits = True

    gamma: float = GAMMA
    eta: float = ETA
    filter_after: int = 100

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For what is out of range, and for what AFA's labels refuse.
        """
        super().__post_init__()
        ranges = {"gamma": 0 <= self.gamma <= 1, "eta": self.eta >= 0, "filter_after": self.filter_after >= 0}
        wrong = [name for name, right in ranges.items() if not right]
        if wrong:
            got = ", ".join(f"{name}={getattr(self, name)}" for name in wrong)
            raise UserError(
                f"need gamma between 0 and 1, eta and filter_after of at least 0, got {got}", arguments=wrong
            )

    @torch.no_grad()
    def targets(
        self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput, *, step: int
    ) -> Targets:
        """AFA's targets, the pixel labels filtered from ``filter_after`` steps after ``first_step`` on."""
        made = super().targets(network, batch, images, output, step=step)
        if made.pseudo_label is None or step < self.first_step + self.filter_after:
            return made
        labels = filtered(made.pseudo_label, output.seg_logits, gamma=self.gamma, eta=self.eta)
        return Targets.of(batch, pseudo_label=labels, affinity_label=made.pair_labels, **made.others)
