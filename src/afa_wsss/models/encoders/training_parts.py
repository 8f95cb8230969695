"""Which parts of a model of timm's act in training alone."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd


def acts_in_training(part: nn.Module) -> bool:
    """Whether training mode changes what this part, without its children, makes of its input.

    Dropout and drop path with a rate above 0 do, and norms that use the statistics of the batch.
    """
    from timm.layers.drop import DropBlock2d, DropPath
    from timm.layers.patch_dropout import PatchDropout

    if isinstance(part, _DropoutNd):
        return part.p > 0
    if isinstance(part, DropPath | DropBlock2d):
        return bool(part.drop_prob)
    if isinstance(part, PatchDropout):
        return part.prob > 0
    return isinstance(part, _NormBase)
