"""Networks from settings, with their weights."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from torch import nn

from afa_wsss.errors import UserError, about
from afa_wsss.models.afa import AFA
from afa_wsss.models.backbone_weights import load_backbone
from afa_wsss.models.encoders.checked import check_encoder
from afa_wsss.models.encoders.create import create_encoder
from afa_wsss.models.encoders.encoder import Encoder
from afa_wsss.models.reference import is_reference_checkpoint, load_network
from afa_wsss.models.settings import ModelSettings, pretrained_name
from afa_wsss.models.weights.files import find_weights


def create_model(
    backbone: str | Callable[[], Encoder] = ModelSettings.backbone,
    num_classes: int = 20,
    *,
    pretrained: str | os.PathLike[str] | bool | None = None,
    **settings: Any,
) -> AFA:
    """Builds a network.

    Args:
        backbone: Its name, or a callable that makes an ``Encoder``; see ``ModelSettings``.
        num_classes: Foreground classes.
        pretrained: Weights of the backbone, see ``ModelSettings``; None for random weights. A path may be a ``Path``,
            and True stands for "default", as in timm. The backbone of an AFA network, of any classes, comes with its
            affinity head.
        settings: Other fields of ``ModelSettings``.

    Raises:
        UserError: For an unknown backbone or setting, and for weights that do not fit.

    Example:
        >>> import torch
        >>> network = create_model("mit_b0", num_classes=3)
        >>> network(torch.zeros(1, 3, 64, 64)).affinity.shape
        torch.Size([1, 16, 16])
    """
    known = [field.name for field in fields(ModelSettings)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise UserError(f"need settings of {', '.join(known)}; got {', '.join(unknown)}", arguments=unknown)
    chosen = ModelSettings(backbone=backbone, pretrained=pretrained_name(pretrained), **settings)
    network = build_model(chosen, num_classes, pretrained=False)
    if chosen.pretrained is not None:
        with about("pretrained"):
            load_backbone(network.encoder, chosen.pretrained, affinity_head=network.affinity_head)
    return network


def build_model(settings: ModelSettings, num_classes: int, *, pretrained: bool = True) -> AFA:
    """Builds a network from its settings.

    Args:
        settings: Backbone, branches, weights. Where ``settings.pretrained`` is an official AFA checkpoint, the branches
            are loaded too; otherwise the weights are those of a backbone.
        num_classes: Foreground classes.
        pretrained: Whether to load the weights that ``settings.pretrained`` names; without, they are random.

    Raises:
        UserError: For an unknown backbone, for weights that do not fit, and for gradient checkpointing of a backbone
            that has none.
    """
    network = AFA(_encoder(settings), num_classes, settings)
    if settings.gradient_checkpointing:
        network.encoder.checkpoint_gradients()
    weights = settings.pretrained if pretrained else None
    with about("pretrained"):
        if weights is not None and is_reference_checkpoint(path := find_weights(weights)):
            load_network(network, path)
        elif weights is not None:
            load_backbone(network.encoder, weights, affinity_head=network.affinity_head)
    return network


def _encoder(settings: ModelSettings) -> Encoder:
    if isinstance(settings.backbone, str):
        return create_encoder(settings.backbone, drop_path_rate=settings.drop_path_rate, strides=settings.strides)
    if isinstance(settings.backbone, nn.Module):
        kind = type(settings.backbone).__name__
        raise UserError(
            f"need a callable that makes an Encoder, got one that is made already; give the class, or "
            f"functools.partial({kind}, ...)",
            arguments=("backbone",),
        )
    if not callable(settings.backbone):
        raise UserError(
            f"need the name of a backbone, or a callable that returns an Encoder; got {settings.backbone!r}",
            arguments=("backbone",),
        )
    if settings.strides is not None:
        raise UserError(
            f"need strides=None (null) for a backbone of your own, got {settings.strides}", arguments=("strides",)
        )
    rate = {"drop_path_rate": settings.drop_path_rate} if _takes_drop_path_rate(settings.backbone) else {}
    encoder = settings.backbone(**rate)
    if not isinstance(encoder, Encoder):
        raise UserError(
            f"need a backbone that is an afa_wsss.models.Encoder, got {type(encoder).__name__}", arguments=("backbone",)
        )
    check_encoder(encoder)
    return encoder


def _takes_drop_path_rate(make_encoder: Callable[..., Any]) -> bool:
    """Whether a keyword of that name is taken and not bound yet."""
    if isinstance(make_encoder, partial) and "drop_path_rate" in make_encoder.keywords:
        return False
    parameter = inspect.signature(make_encoder).parameters.get("drop_path_rate")
    return parameter is not None and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
