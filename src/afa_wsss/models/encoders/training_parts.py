"""Which parts of a backbone act in training mode, which have nothing to train, and evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd


def acts_in_training(part: nn.Module) -> bool:
    """Whether training mode changes the output of this part of timm's models, its children left aside.

    Dropout, drop path and patch dropout do at a rate above 0; norms do where they use the statistics of the batch;
    rotary embeddings do where they jitter their coordinates.
    """
    from timm.layers import evo_norm, pos_embed_sincos
    from timm.layers.drop import DropBlock2d, DropPath
    from timm.layers.inplace_abn import InplaceAbn
    from timm.layers.patch_dropout import PatchDropout

    if isinstance(part, _DropoutNd):
        return part.p > 0
    if isinstance(part, DropPath | DropBlock2d):
        return bool(part.drop_prob)
    if isinstance(part, PatchDropout):
        return part.prob > 0
    if type(part).__module__ == pos_embed_sincos.__name__:
        return bool(getattr(part, "aug_active", False))  # only some of them can jitter
    batch_norms = (_NormBase, InplaceAbn, evo_norm.EvoNorm2dB0, evo_norm.EvoNorm2dB1, evo_norm.EvoNorm2dB2)
    return isinstance(part, batch_norms)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the context; afterwards each part is in the mode it had before."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def parts_without_training(module: nn.Module) -> Iterator[nn.Module]:
    """The parts of ``module``, itself among them, that neither are nor belong to one whose parameters all train."""
    parameters = list(module.parameters())
    if parameters and all(parameter.requires_grad for parameter in parameters):
        return
    yield module
    for child in module.children():
        yield from parts_without_training(child)
