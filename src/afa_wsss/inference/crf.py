"""The dense CRF after the network, on each photo without its padding (AFA, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from afa_wsss.ops.dense_crf import dense_crf
from afa_wsss.ops.full_size import labels_at
from afa_wsss.ops.pseudo_label import argmax_labels


@torch.no_grad()
def crf_labels(
    photos: UInt8[Tensor, "b 3 h w"],
    logits: Float[Tensor, "b c h w"],
    boxes: Int[Tensor, "b 4"],
    *,
    size: Sequence[int] | None = None,
) -> UInt8[Tensor, "b H W"]:
    """The most likely class of each pixel after ``dense_crf`` with the settings of the paper.

    Args:
        photos: RGB in 0-255.
        logits: At the photos' size, see ``multi_scale_logits``.
        boxes: (y0, y1, x0, x1) of the photo in each frame; outside, labels are those of the logits.
        size: Height and width wanted of photos that fill their frames; None for that of the frames.
    """
    if size is not None and tuple(size) != tuple(logits.shape[-2:]):
        pairs = zip(photos, logits, strict=True)
        return torch.cat([labels_at(_marginals(photo[None], scores[None]), size) for photo, scores in pairs])
    labels = argmax_labels(logits)
    # Photos of a batch differ in size, and padding would change the labels near the border.
    for photo, scores, label, (top, bottom, left, right) in zip(photos, logits, labels, boxes.tolist(), strict=True):
        window = (..., slice(top, bottom), slice(left, right))
        label[window] = argmax_labels(_marginals(photo[window][None], scores[window][None]))[0]
    return labels


def _marginals(photos: Tensor, logits: Tensor) -> Tensor:
    return dense_crf(photos, logits.float().softmax(dim=1))
