"""Weights of a backbone from a file or the hub, in any known layout."""

from __future__ import annotations

import logging

from torch import nn

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.encoder import Encoder
from afa_wsss.models.encoders.mix_transformer import MixTransformer
from afa_wsss.models.encoders.timm_encoder import TimmEncoder
from afa_wsss.models.weights.files import find_weights, listed, load_strictly, read_weights
from afa_wsss.models.weights.hub import HUB_PREFIX
from afa_wsss.models.weights.installed import installed_weights
from afa_wsss.models.weights.layouts import (
    LAYOUTS,
    affinity_head_of,
    backbone_of,
    recognize,
    without_wrappers,
)

logger = logging.getLogger(__name__)

DEFAULT_WEIGHTS = ("default", "true")
"""Values of ``pretrained`` that stand for ``Encoder.default_weights``; timm writes the second."""


def load_backbone(encoder: Encoder, pretrained: str, *, affinity_head: nn.Module | None = None) -> None:
    """Loads the weights of a backbone, and logs their layout.

    Args:
        encoder: Backbone to load into.
        pretrained: ``"default"`` (or ``"true"``) for those that go with the backbone's name, from an installed package
            that has them (``weights.installed``) or else from the hub; ``"nano"`` for the file that the package ships,
            ``hf-hub:owner/repository`` for one of the hub, or a path. Of a file that holds a whole network the backbone
            is taken; see ``weights.layouts.LAYOUTS``.
        affinity_head: Loaded too where the file holds one: its weights do not depend on the classes.

    Raises:
        UserError: Where there is no such file, its layout is unknown, or it does not fit.
    """
    own_file = pretrained.lower() not in DEFAULT_WEIGHTS
    if not own_file:
        pretrained = _default_weights(encoder)
    weights = without_wrappers(read_weights(find_weights(pretrained)))
    head = affinity_head_of(weights)
    layout = recognize(weights, own=encoder.state_dict().keys())
    if layout is not None and (layout.names is None or isinstance(encoder, MixTransformer)):
        weights, title = backbone_of(weights, layout), layout.title
    elif (found := encoder.from_file(weights)) is not None:
        weights, title = found
    else:
        raise UserError(
            f"need weights in a known layout, {pretrained} has names as {listed(sorted(weights), 3)}; known "
            f"are: {', '.join(known.title for known in LAYOUTS)}",
            kind="layout",
            arguments=("pretrained",),
        )
    load_strictly(encoder, weights, source=f"{pretrained} (layout: {title})")
    if affinity_head is not None and head:
        load_strictly(affinity_head, head, source=f"the affinity head of {pretrained}")
    logger.info("backbone from %s (layout: %s)", pretrained, title)
    if own_file and isinstance(encoder, TimmEncoder):
        logger.info("photos are normalized %s", encoder.normalization)


def _default_weights(encoder: Encoder) -> str:
    if encoder.default_weights is None:
        raise UserError(
            "need a file of weights, none goes with the name of this backbone; give the path of one, or None (null) "
            "for random weights",
            arguments=("pretrained",),
        )
    packaged = installed_weights(encoder.default_weights.removeprefix(HUB_PREFIX))
    return encoder.default_weights if packaged is None else str(packaged)
