"""Batch norms of a backbone, computed by the convolutions before them, for passes without gradient."""

from __future__ import annotations

import copy
import logging
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from afa_wsss.models.afa import AFA
from afa_wsss.models.encoders.encoder import Encoder
from afa_wsss.models.encoders.training_parts import evaluating
from afa_wsss.types import is_own

TRIED_SIDE = 64
"""Pixels of the noise image on which both forms of an encoder are compared, or the encoder's smallest side."""

TOLERANCE = 1e-2
"""Largest difference, relative to the largest value, of features that count as equal; TF32 rounds at about 1e-3."""


class FusedNorms:
    """``fuse_batch_norms`` of a network, made again whenever its weights have changed since."""

    def __init__(self) -> None:
        """Of no network yet."""
        self._made: tuple[object, AFA] | None = None

    def of(self, network: AFA) -> AFA:
        """The fused copy of the network as it is now; the network itself where nothing can be fused."""
        state = _state(network)
        if self._made is None or self._made[0] != state:
            self._made = state, fuse_batch_norms(network)
        return self._made[1]


def _state(network: AFA) -> tuple[object, ...]:
    """Changes with any change of the encoder's weights in place, and with its device."""
    tensors = [*network.encoder.parameters(), *network.encoder.buffers()]
    versions = tuple(-1 if tensor.is_inference() else tensor._version for tensor in tensors)
    return id(network), tensors[0].device, versions


def fuse_batch_norms(network: AFA) -> AFA:
    """A copy of the network for evaluation, whose encoder has no batch norm that a convolution can compute.

    In evaluation mode a batch norm is linear in each channel: the convolution before it can do the same with other
    weights. Outputs differ by rounding alone, about 1e-6 of the largest value, and on two CPU cores the encoder of
    ``tf_efficientnet_lite0`` takes a sixth less time. The copy does not follow the weights of the network.

    Which convolution a norm follows is read off the order in which the parts of a module were made, and then tried: an
    encoder whose features would change is left as it is.

    Args:
        network: In any mode, on any device.

    Returns:
        The copy; the network itself where there is nothing to fuse, and for an encoder of one's own that cannot be
        copied or tried.
    """
    if not any(_followed(module) for module in network.encoder.modules()):
        return network
    try:
        return _fused(network)
    except Exception as error:  # of code that is not ours: it may hold what cannot be copied, or take other sizes
        if not is_own(network.encoder):
            raise
        note = "batch norms of %s are not fused for validation, which takes longer: %s"
        logging.getLogger(__name__).info(note, type(network.encoder).__name__, " ".join(str(error).split()))
        return network


def _fused(network: AFA) -> AFA:
    """The copy, or the network itself where its features would change."""
    encoder = copy.deepcopy(network.encoder).eval()
    for module in list(encoder.modules()):
        for place, norm_place in _followed(module):
            norm = getattr(module, norm_place)
            setattr(module, place, fuse_conv_bn_eval(getattr(module, place), norm))
            setattr(module, norm_place, _activation(norm))
    if not _equal(network.encoder, encoder):
        return network
    fused = copy.copy(network)
    fused._modules = {**network._modules, "encoder": encoder}
    fused.training = False
    return fused


def _followed(module: nn.Module) -> list[tuple[str, str]]:
    """Names of the module's own convolutions, and of the batch norm that was made right after each."""
    return [
        (place, norm_place)
        for (place, convolution), (norm_place, norm) in pairwise(module.named_children())
        if isinstance(convolution, nn.Conv2d)
        and isinstance(norm, nn.BatchNorm2d)
        and norm.num_features == convolution.out_channels
        and norm.running_mean is not None
    ]


def _activation(norm: nn.BatchNorm2d) -> nn.Module:
    """What the norm does after normalizing: timm's ``BatchNormAct2d`` has an activation."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()


@torch.no_grad()
def _equal(encoder: Encoder, fused: Encoder) -> bool:
    """Whether both have the same features of a noise image."""
    device, side = next(encoder.parameters()).device, max(TRIED_SIDE, encoder.smallest_side)
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    with evaluating(encoder), torch.autocast(device.type, enabled=False):
        pairs = zip(encoder(noise, attention=False).features, fused(noise, attention=False).features, strict=True)
        return all(bool((one - other).abs().max() <= TOLERANCE * one.abs().max()) for one, other in pairs)
