"""Passes of the encoder without gradient, a few images at a time where that is faster."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from afa_wsss.models.encoders.encoder import Attention, Encoder, EncoderOutput

_PIXELS_PER_PASS = 1 << 19
"""Pixels of a pass on a CPU, so that the next pass reuses its memory: new pages from the system take a quarter of the
time of the arithmetic."""


def encoder_passes(encoder: Encoder, images: Tensor, *, attention: bool) -> Iterator[EncoderOutput]:
    """The output of ``encoder(images)`` in parts: one pass on a GPU, passes of a few images on a CPU."""
    at_once = max(1, _PIXELS_PER_PASS // images[0, 0].numel()) if images.device.type == "cpu" else len(images)
    for part in torch.split(images, at_once):
        yield encoder(part, attention=attention)


def encode_in_parts(encoder: Encoder, images: Tensor, *, attention: bool) -> EncoderOutput:
    """The output of ``encoder(images)``, joined from ``encoder_passes``.

    Of several passes only the last feature map is joined, which is all that class activation maps need.
    """
    passes = list(encoder_passes(encoder, images, attention=attention))
    if len(passes) == 1:
        return passes[0]
    features = tuple(torch.cat(maps) for maps in zip(*(one.features[-1:] for one in passes), strict=True))
    return EncoderOutput(features, joined_attention([one.attention for one in passes]))


def joined_attention(parts: list[Attention | None]) -> Attention | None:
    """Attention of several passes as that of one; None where no pass has any."""
    read = [one for one in parts if one is not None]
    return Attention(*(torch.cat(vectors) for vectors in zip(*read, strict=True))) if read else None
