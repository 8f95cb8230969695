"""What follows the network: the branch's probabilities fitted to the photo by PAR or the dense CRF (AFA, section 4.1).

The paper applies the dense CRF. PAR, which the paper keeps for its labels, costs a fraction of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from afa_wsss.inference.gate import LEFT_OUT
from afa_wsss.inference.settings import InferenceSettings
from afa_wsss.ops.dense_crf import dense_crf
from afa_wsss.ops.full_size import labels_at
from afa_wsss.ops.image import half_size, resize
from afa_wsss.ops.par import PARSettings, refine
from afa_wsss.ops.pseudo_label import argmax_labels


@torch.no_grad()
def refined_scores(
    photos: UInt8[Tensor, "b 3 h w"], logits: Float[Tensor, "b c h w"], settings: InferenceSettings
) -> Float[Tensor, "b c _ _"]:
    """Probabilities of each class after ``settings.refinement``; they sum to 1 at each pixel.

    Classes that a gate left out stay at 0.

    Args:
        photos: RGB in 0-255, without padding.
        logits: At the photos' size, see ``multi_scale_logits``.
        settings: The refinement, and PAR's settings.

    Returns:
        At the photos' size; those of PAR, which works at half of it as it does for labels, at half size.
    """
    probabilities = logits.float().softmax(dim=1)
    if settings.refinement == "crf":
        refined = dense_crf(photos, probabilities) * (logits > LEFT_OUT)
        return refined / refined.sum(dim=1, keepdim=True)
    return _par(photos, probabilities, settings.par) if settings.refinement == "par" else probabilities


def _par(photos: Tensor, probabilities: Tensor, par: PARSettings) -> Tensor:
    """PAR at half of the photos' size."""
    size = half_size(*photos.shape[-2:])
    refined = refine(resize(photos.float() / 255, size), resize(probabilities, size), **asdict(par))
    return refined / (1 + par.w3) ** par.steps  # the weights of PAR's kernel sum to 1 + w3


@torch.no_grad()
def refined_labels(
    photos: UInt8[Tensor, "b 3 h w"],
    logits: Float[Tensor, "b c h w"],
    boxes: Int[Tensor, "b 4"],
    settings: InferenceSettings,
    *,
    size: Sequence[int] | None = None,
) -> UInt8[Tensor, "b H W"]:
    """The most likely class of each pixel after ``refined_scores``.

    Args:
        photos: RGB in 0-255.
        logits: At the photos' size, see ``multi_scale_logits``.
        boxes: (y0, y1, x0, x1) of the photo in each frame; outside, labels are those of the logits.
        settings: The refinement, and PAR's settings.
        size: Height and width wanted of photos that fill their frames; None for that of the frames.
    """
    if size is not None and tuple(size) != tuple(logits.shape[-2:]):
        pairs = zip(photos, logits, strict=True)
        return torch.cat([labels_at(refined_scores(photo[None], one[None], settings), size) for photo, one in pairs])
    labels = argmax_labels(logits)
    # Photos of a batch differ in size, and padding would change the labels near the border.
    for photo, one, label, (top, bottom, left, right) in zip(photos, logits, labels, boxes.tolist(), strict=True):
        window = (..., slice(top, bottom), slice(left, right))
        scores = refined_scores(photo[window][None], one[window][None], settings)
        label[window] = labels_at(scores, label[window].shape)[0]
    return labels
