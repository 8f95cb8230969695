"""Weights from files: read without running code, recognised by their names, and loaded strictly."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.models.afa import AFA, create_model
from afa_wsss.models.encoders.encoder import Encoder
from afa_wsss.models.encoders.mix_transformer import MIX_TRANSFORMERS
from afa_wsss.models.encoders.vision_transformer import VisionTransformerEncoder, in_timms_layout
from afa_wsss.models.weights import hub
from afa_wsss.models.weights.layouts import (
    LAYOUTS,
    REFERENCE,
    StateDict,
    affinity_head_of,
    backbone_of,
    recognise,
    whole_network,
    without_wrappers,
)

logger = logging.getLogger(__name__)

DEFAULT_WEIGHTS = ("default", "true")
"""Names of the weights that go with the backbone's name; the second as timm calls them."""

NANO_WEIGHTS = "nano"
"""Name of the backbone that the package ships."""

PICKLE_STARTS = (b"P", b"\x80")
"""First bytes of what ``torch.save`` writes: of a zip archive, and of a bare pickle as older versions wrote."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads named tensors from a ``.safetensors`` file or a ``torch.save`` file, never running code from it.

    Raises:
        UserError: For a missing or unreadable file, or a pickle that holds more than tensors and plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"need a file of weights, found none at {path}; give model.pretrained=PATH, or null to start anew"
        )
    unreadable = f"need a file of weights, {path} cannot be read; is the download complete?"
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with path.open("rb") as stream:
            if stream.read(1) not in PICKLE_STARTS:  # a saved web page, for one
                raise UserError(unreadable) from error
        raise UserError(
            f"need a file of plain tensors, {path} is a pickle that would run code; where you trust it, convert it: "
            f"w = torch.load({str(path)!r}, weights_only=False); "
            "safetensors.torch.save_file(w.get('state_dict', w), 'weights.safetensors')"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise UserError(unreadable) from error
    return _named_tensors(content, path)


def _named_tensors(content: object, path: Path) -> dict[str, Tensor]:
    """The tensors of ``content`` itself or of what it holds as ``state_dict`` or ``model``."""
    for key in ("state_dict", "model"):
        content = content.get(key, content) if isinstance(content, Mapping) else content
    tensors = content.items() if isinstance(content, Mapping) else ()
    named = {str(key): value for key, value in tensors if isinstance(value, Tensor)}
    if not named:
        raise UserError(f"need named tensors, {path} holds none; save model.state_dict() to it")
    return named


def load_strictly(module: nn.Module, weights: StateDict, *, source: str) -> None:
    """Copies ``weights`` into ``module``; every name and shape has to fit.

    Raises:
        UserError: Naming what is missing, what was not expected, and what has another shape.
    """
    own = module.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [
        f"{key} {tuple(weights[key].shape)} for {tuple(own[key].shape)}"
        for key in sorted(own.keys() & weights.keys())
        if own[key].shape != weights[key].shape
    ]
    faults = {"missing": missing, "not expected": extra, "of another shape": shapes}
    told = "; ".join(f"{len(keys)} {fault}: {_listed(keys)}" for fault, keys in faults.items() if keys)
    if told:
        raise UserError(f"need weights that fit the model, {source} does not: {told}")
    module.load_state_dict(weights)


def _listed(names: list[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def load_backbone(encoder: Encoder, pretrained: str, *, affinity_head: nn.Module | None = None) -> None:
    """Loads the weights of a backbone, and logs of which layout they were.

    Args:
        encoder: What to load into.
        pretrained: ``"default"`` (or ``"true"``) for those that go with the backbone's name, ``"nano"`` for the file
            that the package ships, ``hf-hub:owner/repository`` for one of the hub, or a path. Of a file that holds a
            whole network the backbone is taken; see ``weight_layouts.LAYOUTS``.
        affinity_head: Loaded likewise where the file is of an AFA network: it reads this attention, of any classes.

    Raises:
        UserError: Where there is no such file, its layout is not known, or it does not fit.
    """
    if pretrained.lower() in DEFAULT_WEIGHTS:
        pretrained = _default_weights(encoder)
    weights = without_wrappers(read_weights(find_weights(pretrained)))
    head = affinity_head_of(weights)
    layout = recognise(weights, own=encoder.state_dict().keys())
    if layout is not None:
        weights, title = backbone_of(weights, layout), layout.title
    elif isinstance(encoder, VisionTransformerEncoder):
        weights, title = in_timms_layout(encoder, weights), "timm"
    else:
        raise UserError(
            f"need weights in a layout that is known, {pretrained} has names as {_listed(sorted(weights), 3)}; known "
            f"are: {', '.join(known.title for known in LAYOUTS)}"
        )
    load_strictly(encoder, weights, source=f"{pretrained} (layout: {title})")
    if affinity_head is not None and head:
        load_strictly(affinity_head, head, source=f"the affinity head of {pretrained}")
    logger.info("backbone from %s (layout: %s)", pretrained, title)


def _default_weights(encoder: Encoder) -> str:
    if encoder.default_weights is None:
        raise UserError(
            "need a file of weights, timm has none on the hub for this backbone; give model.pretrained=PATH, or null "
            "for random weights"
        )
    return encoder.default_weights


def find_weights(pretrained: str) -> Path:
    """The file that ``model.pretrained`` means; errors as in ``hub.download``."""
    if pretrained == NANO_WEIGHTS:
        return Path(str(files("afa_wsss.models"))) / "pretrained" / "mit_nano.safetensors"
    if pretrained.startswith(hub.HUB_PREFIX):
        return hub.download(pretrained.removeprefix(hub.HUB_PREFIX))
    return Path(pretrained).expanduser()


def is_reference_checkpoint(path: str | Path) -> bool:
    """Whether this is a file with the whole network of the official code; what cannot be read is none."""
    try:
        return recognise(without_wrappers(read_weights(Path(path).expanduser()))) is REFERENCE
    except UserError:
        return False


class ReferenceCheckpoint(NamedTuple):
    """What an official AFA checkpoint holds.

    Attributes:
        backbone: Its size, ``mit_b0`` to ``mit_b5``, read off names and shapes.
        num_classes: Foreground classes.
        decoder_width: Channels of the segmentation branch.
        weights: Of the whole network, under our names.
    """

    backbone: str
    num_classes: int
    decoder_width: int
    weights: dict[str, Tensor]


def read_reference_checkpoint(path_or_state_dict: str | Path | StateDict) -> ReferenceCheckpoint:
    """Reads an official AFA checkpoint; arguments and errors as in ``load_reference_checkpoint``."""
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
    """Builds the network of an official AFA checkpoint; backbone size and class count are read off its shapes.

    Args:
        path_or_state_dict: A file, or the named tensors themselves; ``module.`` prefixes are taken off.

    Raises:
        UserError: Where it is not such a checkpoint.
    """
    found = read_reference_checkpoint(path_or_state_dict)
    model = create_model(found.backbone, found.num_classes, decoder_width=found.decoder_width)
    load_strictly(model, found.weights, source=_named(path_or_state_dict))
    return model


def _named(path_or_state_dict: str | Path | StateDict) -> str:
    return "the given mapping" if isinstance(path_or_state_dict, Mapping) else str(path_or_state_dict)


def load_network(model: AFA, checkpoint: str | Path) -> None:
    """Loads a whole official AFA checkpoint, heads included, into a network to go on training; logs it.

    Raises:
        UserError: Where it is not such a checkpoint, has other classes, or does not fit.
    """
    found = read_reference_checkpoint(checkpoint)
    if found.num_classes != model.num_classes:
        raise UserError(
            f"need an official AFA checkpoint of the data's {model.num_classes} classes, {checkpoint} has "
            f"{found.num_classes}; give other data, or the weights of a backbone as model.pretrained"
        )
    load_strictly(model, found.weights, source=f"{checkpoint} (layout: {REFERENCE.title}, {found.backbone})")
    logger.info("backbone and heads from %s (layout: %s)", checkpoint, REFERENCE.title)


def _size_of(weights: StateDict, *, first_width: int, source: str) -> str:
    """The size of backbone whose first width and depths the names and shapes show."""
    blocks = {(int(m[1]), int(m[2])) for key in weights if (m := re.match(r"encoder\.block(\d)\.(\d+)\.", key))}
    depths = tuple(sum(stage == i for stage, _ in blocks) for i in range(1, 5))
    for name, config in MIX_TRANSFORMERS.items():
        if config.depths == depths and config.widths[0] == first_width:
            return name
    raise UserError(f"need a backbone of mit_b0 to mit_b5, {source} has depths {depths} and first width {first_width}")
