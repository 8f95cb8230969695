"""Checkpoints of the official AFA code: the whole network, with other names."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.models.afa import AFA
from afa_wsss.models.encoders.create import create_encoder
from afa_wsss.models.encoders.mix_transformer import MIX_TRANSFORMERS
from afa_wsss.models.settings import ModelSettings
from afa_wsss.models.weights.files import load_strictly, read_weights
from afa_wsss.models.weights.layouts import REFERENCE, StateDict, recognize, whole_network, without_wrappers

logger = logging.getLogger(__name__)


def is_reference_checkpoint(path: str | Path) -> bool:
    """Whether ``path`` is a file with the whole network of the official code; False for a file that cannot be read."""
    try:
        return recognize(without_wrappers(read_weights(Path(path).expanduser()))) is REFERENCE
    except UserError:
        return False


class ReferenceCheckpoint(NamedTuple):
    """What an official AFA checkpoint holds.

    Attributes:
        backbone: ``mit_b0`` to ``mit_b5``, inferred from names and shapes.
        num_classes: Foreground classes.
        decoder_width: Channels of the segmentation branch.
        weights: All tensors of the network, with the names of ``AFA``.
    """

    backbone: str
    num_classes: int
    decoder_width: int
    weights: dict[str, Tensor]


def read_reference_checkpoint(path_or_state_dict: str | Path | StateDict) -> ReferenceCheckpoint:
    """Reads an official AFA checkpoint without building a network.

    Args:
        path_or_state_dict: A file, or its named tensors; a prefix ``module.`` is removed.

    Raises:
        UserError: Where it is not such a checkpoint.
    """
    source = _named(path_or_state_dict)
    if not isinstance(path_or_state_dict, Mapping):
        path_or_state_dict = read_weights(Path(path_or_state_dict).expanduser())
    weights = without_wrappers(path_or_state_dict)
    if "classifier.weight" not in weights or "decoder.linear_c1.proj.weight" not in weights:
        raise UserError(f"need an official AFA checkpoint, {source} has no classifier and decoder.linear_c1")
    projection = weights["decoder.linear_c1.proj.weight"]
    return ReferenceCheckpoint(
        backbone=_size_of(weights, first_width=projection.shape[1], source=source),
        num_classes=weights["classifier.weight"].shape[0],
        decoder_width=projection.shape[0],
        weights=whole_network(weights),
    )


def load_reference_checkpoint(path_or_state_dict: str | Path | StateDict) -> AFA:
    """Builds the network of an official AFA checkpoint; its shapes give the size of the backbone and the classes.

    Args:
        path_or_state_dict: A file, or its named tensors; a prefix ``module.`` is removed.

    Raises:
        UserError: Where it is not such a checkpoint.
    """
    found = read_reference_checkpoint(path_or_state_dict)
    settings = ModelSettings(backbone=found.backbone, pretrained=None, decoder_width=found.decoder_width)
    model = AFA(create_encoder(found.backbone), found.num_classes, settings)
    load_strictly(model, found.weights, source=_named(path_or_state_dict))
    return model


def _named(path_or_state_dict: str | Path | StateDict) -> str:
    return "the given mapping" if isinstance(path_or_state_dict, Mapping) else str(path_or_state_dict)


def load_network(model: AFA, checkpoint: str | Path) -> None:
    """Loads a whole official AFA checkpoint, branches included, into ``model``, and logs that.

    Raises:
        UserError: Where it is not such a checkpoint, has other classes, or does not fit.
    """
    found = read_reference_checkpoint(checkpoint)
    if found.num_classes != model.num_classes:
        raise UserError(
            f"need an official AFA checkpoint of the data's {model.num_classes} classes, {checkpoint} has "
            f"{found.num_classes}; use other data, or pretrained weights of a backbone",
            arguments=("pretrained",),
        )
    load_strictly(model, found.weights, source=f"{checkpoint} (layout: {REFERENCE.title}, {found.backbone})")
    logger.info("backbone and heads from %s (layout: %s)", checkpoint, REFERENCE.title)


def _size_of(weights: StateDict, *, first_width: int, source: str) -> str:
    """The name of the backbone with these depths and this first width."""
    blocks = {(int(m[1]), int(m[2])) for key in weights if (m := re.match(r"encoder\.block(\d)\.(\d+)\.", key))}
    depths = tuple(sum(stage == i for stage, _ in blocks) for i in range(1, 5))
    for name, config in MIX_TRANSFORMERS.items():
        if config.depths == depths and config.widths[0] == first_width:
            return name
    raise UserError(f"need a backbone of mit_b0 to mit_b5, {source} has depths {depths} and first width {first_width}")
