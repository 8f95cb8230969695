"""The regularisation L_reg (AFA, section 4.1): the gated dense energy of Tang et al. (ECCV 2018)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.losses.term import LossTerm
from afa_wsss.ops.dense_energy import dense_energy, energy_gate
from afa_wsss.ops.image import resize
from afa_wsss.ops.pseudo_label import box_mask
from afa_wsss.types import AFAOutput, Targets


def _nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """``maps`` (b, ..., H, W) read at ``size`` by nearest neighbour."""
    shown = maps if maps.ndim == 4 else maps[:, None]
    return F.interpolate(shown.float(), size=size, mode="nearest").view(*maps.shape[:-2], *size)


def dense_energy_loss(
    logits: Float[Tensor, "b c h w"],
    labels: Shaped[Tensor, "b H W"],
    photos: Shaped[Tensor, "b 3 H W"],
    boxes: Int[Tensor, "b 4"],
    *,
    scale: float = 0.5,
    sigma_rgb: float = 15.0,
    sigma_xy: float = 100.0,
) -> Float[Tensor, ""]:
    """``dense_energy`` of the softmax at a part of the photo's size.

    The softmax of the logits at full size is made smaller bilinearly; photo, labels and boxes by nearest neighbour.

    Args:
        logits: Background first; resized bilinearly to the labels' size.
        labels: Classes, 255 where unknown: there the gate is 1, elsewhere 1 - the highest probability.
        photos: In 0-255, of any type.
        boxes: Pixels outside of (y0, y1, x0, x1) take no part.
        scale: Of the sides, rounded down.
        sigma_rgb: Width of the kernel in colours.
        sigma_xy: Its width in pixels of the photo at full size.
    """
    height, width = labels.shape[-2:]
    size = (max(int(height * scale), 1), max(int(width * scale), 1))
    inside = _nearest(box_mask(boxes, height, width), size).bool()
    softmax = resize(resize(logits.float(), (height, width)).softmax(dim=1), size)
    probabilities = softmax * inside[:, None]
    gate = energy_gate(probabilities, _nearest(labels, size), inside)
    return dense_energy(_nearest(photos, size), probabilities, gate, sigma_rgb=sigma_rgb, sigma_xy=sigma_xy * scale)


class DenseEnergyLoss(LossTerm):
    """``dense_energy_loss`` of the segmentation logits; 0 where there is no pseudo label yet.

    The official weight is 0.01 * 1e-7: the energy is a sum over all pairs of pixels.
    """

    def __init__(
        self,
        weight: float = 1e-9,
        first_step: int = 0,
        *,
        scale: float = 0.5,
        sigma_rgb: float = 15.0,
        sigma_xy: float = 100.0,
    ) -> None:
        """Checks the settings once, where they enter."""
        super().__init__(weight, first_step)
        if not 0 < scale <= 1 or min(sigma_rgb, sigma_xy) <= 0:
            raise UserError(
                "need 0 < scale <= 1 and a sigma_rgb and sigma_xy above 0 in the dense energy, "
                f"got {scale}, {sigma_rgb} and {sigma_xy}"
            )
        self.scale, self.sigma_rgb, self.sigma_xy = scale, sigma_rgb, sigma_xy

    def forward(self, output: AFAOutput, targets: Targets) -> Float[Tensor, ""]:
        """The loss, not yet weighted."""
        if targets.pseudo_label is None or targets.photos is None or targets.boxes is None:
            return output.seg_logits.new_zeros(())
        return dense_energy_loss(
            output.seg_logits,
            targets.pseudo_label,
            targets.photos,
            targets.boxes,
            scale=self.scale,
            sigma_rgb=self.sigma_rgb,
            sigma_xy=self.sigma_xy,
        )
