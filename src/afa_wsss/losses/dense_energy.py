"""The regularization L_reg (AFA, section 4.1): the gated dense energy of Tang et al. (ECCV 2018)."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from afa_wsss.errors import UserError, check_above_0
from afa_wsss.losses.term import LossTerm
from afa_wsss.ops.dense_energy import dense_energy, energy_gate
from afa_wsss.ops.image import resize
from afa_wsss.ops.pseudo_label import box_mask
from afa_wsss.types import AFAOutput, Targets


def _nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """``maps`` (b, ..., H, W) sampled at ``size`` by nearest neighbor."""
    shown = maps if maps.ndim == 4 else maps[:, None]
    return F.interpolate(shown.float(), size=size, mode="nearest").view(*maps.shape[:-2], *size)


def dense_energy_loss(
    logits: Float[Tensor, "b c h w"],
    labels: Shaped[Tensor, "b _ _"],
    photos: Shaped[Tensor, "b 3 H W"],
    boxes: Int[Tensor, "b 4"],
    *,
    scale: float,
    sigma_rgb: float,
    sigma_xy: float,
    gated_gradient: bool = False,
) -> Float[Tensor, ""]:
    """``dense_energy`` of the softmax at a fraction of the photo's size; ``DenseEnergyLoss`` has the paper's settings.

    The softmax of the logits at full size is downsampled bilinearly; photo, labels and boxes by nearest neighbor.

    Args:
        logits: Background first; resized bilinearly to the photos' size.
        labels: Classes at any size, 255 where unknown: there the gate is 1, elsewhere 1 - the highest probability.
        photos: RGB in 0-255, any dtype.
        boxes: Pixels outside (y0, y1, x0, x1) are left out.
        scale: Factor on both sides of the photo, rounded down to pixels.
        sigma_rgb: Width of the kernel in color values of 0-255.
        sigma_xy: Width of the kernel in pixels of the photo at full size.
        gated_gradient: See ``dense_energy``.
    """
    height, width = photos.shape[-2:]
    size = (max(int(height * scale), 1), max(int(width * scale), 1))
    inside = _nearest(box_mask(boxes, height, width), size).bool()
    softmax = resize(resize(logits.float(), (height, width)).softmax(dim=1), size)
    probabilities = softmax * inside[:, None]
    gate = energy_gate(probabilities, _nearest(labels, size), inside)
    return dense_energy(
        _nearest(photos, size),
        probabilities,
        gate,
        sigma_rgb=sigma_rgb,
        sigma_xy=sigma_xy * scale,
        gated_gradient=gated_gradient,
    )


class DenseEnergyLoss(LossTerm):
    """``dense_energy_loss`` of the segmentation logits and the pseudo label.

    The official weight is 0.01 * 1e-7: the energy is a sum over all pairs of pixels.
    """

    needs = ("pseudo_label", "photos", "boxes")

    def __init__(
        self,
        *,
        weight: float = 1e-9,
        first_step: int = 0,
        scale: float = 0.5,
        sigma_rgb: float = 15.0,
        sigma_xy: float = 100.0,
        gated_gradient: bool = False,
    ) -> None:
        """Settings of ``dense_energy_loss``, with the paper's values.

        Raises:
            UserError: For a scale outside (0, 1] or a width that is not above 0.
        """
        super().__init__(weight=weight, first_step=first_step)
        if not 0 < scale <= 1:
            raise UserError(f"need 0 < scale <= 1, got {scale}", arguments=("scale",))
        check_above_0({"sigma_rgb": sigma_rgb, "sigma_xy": sigma_xy})
        self.scale, self.sigma_rgb, self.sigma_xy = scale, sigma_rgb, sigma_xy
        self.gated_gradient = gated_gradient

    def forward(self, output: AFAOutput, targets: Targets) -> Float[Tensor, ""]:
        """The loss, not yet weighted."""
        return dense_energy_loss(
            output.seg_logits,
            *(cast(Tensor, part) for part in (targets.pseudo_label, targets.photos, targets.boxes)),
            scale=self.scale,
            sigma_rgb=self.sigma_rgb,
            sigma_xy=self.sigma_xy,
            gated_gradient=self.gated_gradient,
        )
