"""The dense CRF after the network, on each photo without its padding (AFA, section 4.1)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from afa_wsss.ops.dense_crf import dense_crf


@torch.no_grad()
def crf_labels(
    photos: UInt8[Tensor, "b 3 H W"], logits: Float[Tensor, "b c H W"], boxes: Int[Tensor, "b 4"]
) -> Int[Tensor, "b H W"]:
    """The most likely class of each pixel after ``dense_crf`` with the settings of the paper.

    Args:
        photos: RGB in 0-255.
        logits: At the photos' size, see ``multi_scale_logits``.
        boxes: (y0, y1, x0, x1) of the photo in each frame; outside, labels are those of the logits.
    """
    labels = logits.argmax(dim=1)
    # Photos of a batch differ in size, and padding would change the labels near the border.
    for photo, scores, label, (top, bottom, left, right) in zip(photos, logits, labels, boxes.tolist(), strict=True):
        window = (..., slice(top, bottom), slice(left, right))
        marginals = dense_crf(photo[window][None], scores[window][None].float().softmax(dim=1))
        label[window] = marginals[0].argmax(dim=0)
    return labels
