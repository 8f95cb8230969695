"""A pass of the encoder without gradient, a few images at a time where that is faster."""

from __future__ import annotations

import torch
from torch import Tensor

from afa_wsss.models.encoders.encoder import Attention, Encoder, EncoderOutput

_PIXELS_PER_PASS = 1 << 19
"""Pixels of a pass on a CPU, so that the next pass reuses its memory: new pages from the system take a quarter of the
time of the arithmetic."""


def encode_in_parts(encoder: Encoder, images: Tensor, *, attention: bool) -> EncoderOutput:
    """The output of ``encoder(images)``: from one pass on a GPU, from passes of a few images on a CPU.

    Of several passes only the last feature map is joined, which is all that class activation maps need.
    """
    at_once = max(1, _PIXELS_PER_PASS // images[0, 0].numel()) if images.device.type == "cpu" else len(images)
    passes: list[EncoderOutput] = [encoder(part, attention=attention) for part in torch.split(images, at_once)]
    if len(passes) == 1:
        return passes[0]
    features = tuple(torch.cat(maps) for maps in zip(*(one.features[-1:] for one in passes), strict=True))
    read = [one.attention for one in passes if one.attention is not None]
    joined = Attention(*(torch.cat(parts) for parts in zip(*read, strict=True))) if read else None
    return EncoderOutput(features, joined)
