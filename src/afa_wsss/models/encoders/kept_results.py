"""What a pass keeps in memory for its backward pass."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from afa_wsss.models.encoders.encoder import Encoder
from afa_wsss.models.encoders.training_parts import evaluating

SIDE = 64
"""Side of the picture that is tried, where the encoder takes ones so small."""


@torch.enable_grad()
def kept_bytes(encoder: Encoder) -> int:
    """Bytes that a pass in evaluation mode over one small picture keeps, weights and buffers aside."""
    own = {one.untyped_storage().data_ptr() for one in chain(encoder.parameters(), encoder.buffers())}
    kept: dict[int, int] = {}

    def count(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return saved

    side = max(SIDE, encoder.smallest_side)
    device = next(encoder.parameters()).device
    with evaluating(encoder), saved_tensors_hooks(count, lambda saved: saved):
        output = encoder(torch.zeros(1, 3, side, side, device=device), attention=True)
    del output  # until here, so that no memory of the pass was used twice
    return sum(kept.values())
