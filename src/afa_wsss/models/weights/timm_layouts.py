"""Weight files for timm's models: names of the package efficientnet-pytorch, translated to timm's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Size, Tensor

from afa_wsss.errors import UserError
from afa_wsss.models.weights.layouts import StateDict

EFFICIENTNET_PYTORCH = "efficientnet-pytorch"
"""Title of the layout in messages."""

EFFICIENTNET_PYTORCH_SIGN = "_conv_stem.weight"
"""The tensor by which its files are recognized."""

COUNTER = ".num_batches_tracked"
"""Suffix of a batch norm's count of batches, which files of old versions of torch lack; no feature depends on it."""

_NETWORK = ("_conv_stem", "_bn0", "_blocks", "_conv_head", "_bn1", "_fc")
_BLOCK = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_se_reduce", "_se_expand", "_project_conv", "_bn2")
_LEAVES = ("weight", "bias", "running_mean", "running_var")
_NAME = re.compile(r"(?P<part>\w+)(\.(?P<block>\d+)\.(?P<layer>\w+))?\.(?P<leaf>\w+)")


def is_efficientnet_pytorch(weights: StateDict) -> bool:
    """Whether the names are those of efficientnet-pytorch; efficientnet-lite-pytorch has the same."""
    return EFFICIENTNET_PYTORCH_SIGN in weights


def from_efficientnet_pytorch(weights: StateDict, shapes: Mapping[str, Size]) -> dict[str, Tensor]:
    """The tensors with timm's names.

    timm numbers blocks within a stage, efficientnet-pytorch across all stages, and their layers have different names;
    but both have the same layers in the same order. So tensors are paired in that order, and each pair is checked.

    Args:
        weights: Named tensors of efficientnet-pytorch, in any order; counters of batch norms are left out.
        shapes: Shapes of all tensors of timm's whole model, classifier included, in the order of its layers.

    Raises:
        UserError: For a name that is not of this layout, and where a pair differs in its kind or shape.
    """
    theirs = sorted((name for name in weights if not name.endswith(COUNTER)), key=_place)
    ours = [name for name in shapes if not name.endswith(COUNTER)]
    for their, our in zip(theirs, ours, strict=False):
        found, wanted = tuple(weights[their].shape), tuple(shapes[our])
        if found != wanted and not _is_classifier(their):
            raise _unlike(f"{their} has shape {found}, {our} has {wanted}")
        if _leaf(their) != _leaf(our):
            raise _unlike(f"{their} stands where {our} is needed")
    if len(theirs) != len(ours):
        raise _unlike(f"they are {len(theirs)} tensors, the model has {len(ours)}")
    return {our: weights[their] for their, our in zip(theirs, ours, strict=True)}


def _place(name: str) -> tuple[int, int, int, int]:
    """Position of a tensor in the order of the layers: part of the network, block, layer of the block, leaf."""
    found = _NAME.fullmatch(name)
    try:
        if found is None:
            raise ValueError
        layer = 0 if found["layer"] is None else _BLOCK.index(found["layer"])
        return _NETWORK.index(found["part"]), int(found["block"] or 0), layer, _LEAVES.index(found["leaf"])
    except ValueError:
        raise UserError(
            f"need weights in the layout of {EFFICIENTNET_PYTORCH}, {name} is not one of its names"
        ) from None


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _is_classifier(name: str) -> bool:
    return name.startswith("_fc.")


def _unlike(difference: str) -> UserError:
    return UserError(
        f"need weights of {EFFICIENTNET_PYTORCH} that fit the backbone: {difference}; choose the backbone of the same "
        "size, as tf_efficientnet_lite0 or tf_efficientnet_b0",
        arguments=("pretrained",),
    )
