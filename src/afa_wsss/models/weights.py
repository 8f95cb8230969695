"""Weights from files: our own layout, and the official one of AFA and SegFormer, translated by name."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from afa_wsss.models.afa import AFA, create_model
from afa_wsss.models.mix_transformer import MIX_TRANSFORMERS
from afa_wsss.types import UserError

StateDict = Mapping[str, Tensor]

NANO_WEIGHTS = "nano"
"""Name of the backbone that the package ships."""

PICKLE_STARTS = (b"P", b"\x80")
"""First bytes of what ``torch.save`` writes: of a zip archive, and of a bare pickle as older versions wrote."""

_ENCODER_NAMES = (
    (r"^patch_embed(\d)\.proj\.", r"stages.\1.embedding.projection."),
    (r"^patch_embed(\d)\.norm\.", r"stages.\1.embedding.norm."),
    (r"^block(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"^norm(\d)\.", r"stages.\1.norm."),
    (r"\.norm1\.", ".attention_norm."),
    (r"\.norm2\.", ".feed_forward_norm."),
    (r"\.attn\.q\.", ".attention.query."),
    (r"\.attn\.kv\.", ".attention.key_value."),
    (r"\.attn\.proj\.", ".attention.output."),
    (r"\.attn\.sr\.", ".attention.reduction."),
    (r"\.attn\.norm\.", ".attention.reduction_norm."),
    (r"\.mlp\.fc1\.", ".feed_forward.expand."),
    (r"\.mlp\.dwconv\.dwconv\.", ".feed_forward.depthwise."),
    (r"\.mlp\.fc2\.", ".feed_forward.contract."),
)
_BRANCH_NAMES = (
    (r"^decoder\.linear_c(\d)\.proj\.", r"segmentation_head.projections.\1."),
    (r"^decoder\.linear_fuse\.conv\.", "segmentation_head.fuse."),
    (r"^decoder\.linear_fuse\.bn\.", "segmentation_head.norm."),
    (r"^decoder\.linear_pred\.", "segmentation_head.classify."),
    (r"^attn_proj\.", "affinity_head."),
)


def _rename(key: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in table:
        key = re.sub(pattern, replacement, key)
    # Stages and projections count from 1 there, from 0 here.
    return re.sub(r"^(stages|segmentation_head\.projections)\.(\d)", lambda m: f"{m[1]}.{int(m[2]) - 1}", key)


def _translate_encoder(weights: StateDict) -> dict[str, Tensor]:
    """The layout of SegFormer's ``mit_b*.pth``, whose ImageNet classifier ``head`` is left out."""
    return {_rename(key, _ENCODER_NAMES): value for key, value in weights.items() if not key.startswith("head.")}


def _translate_model(weights: StateDict) -> dict[str, Tensor]:
    """The layout of an official AFA checkpoint."""
    encoder = {key.removeprefix("encoder."): value for key, value in weights.items() if key.startswith("encoder.")}
    branches = {_rename(key, _BRANCH_NAMES): value for key, value in weights.items() if not key.startswith("encoder.")}
    return {f"encoder.{key}": value for key, value in _translate_encoder(encoder).items()} | branches


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
            f"safetensors.torch.save_file(torch.load({str(path)!r}, weights_only=False), 'weights.safetensors')"
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


def _listed(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def load_backbone(encoder: nn.Module, pretrained: str) -> None:
    """Loads the weights of a backbone.

    Args:
        encoder: What to load into.
        pretrained: ``"nano"`` for the file that the package ships, or a path; SegFormer's layout and ours are read.

    Raises:
        UserError: Where there is no such file, or it does not fit.
    """
    shipped = Path(str(files("afa_wsss.models"))) / "pretrained" / "mit_nano.safetensors"
    weights = read_weights(shipped if pretrained == NANO_WEIGHTS else pretrained)
    if any(key.startswith("patch_embed") for key in weights):
        weights = _translate_encoder(weights)
    load_strictly(encoder, weights, source=pretrained)


def load_reference_checkpoint(path_or_state_dict: str | Path | StateDict) -> AFA:
    """Builds the network of an official AFA checkpoint; backbone size and class count are read off its shapes.

    Args:
        path_or_state_dict: A file, or the named tensors themselves; ``module.`` prefixes are taken off.

    Raises:
        UserError: Where it is not such a checkpoint.
    """
    loaded = isinstance(path_or_state_dict, Mapping)
    weights = path_or_state_dict if isinstance(path_or_state_dict, Mapping) else read_weights(path_or_state_dict)
    weights = {key.removeprefix("module."): value for key, value in weights.items()}
    source = "the given mapping" if loaded else str(path_or_state_dict)
    if "classifier.weight" not in weights or "decoder.linear_c1.proj.weight" not in weights:
        raise UserError(f"need an official AFA checkpoint, {source} has no classifier and decoder.linear_c1")
    model = create_model(
        _backbone_of(weights, source),
        weights["classifier.weight"].shape[0],
        decoder_width=weights["decoder.linear_c1.proj.weight"].shape[0],
    )
    load_strictly(model, _translate_model(weights), source=source)
    return model


def _backbone_of(weights: StateDict, source: str) -> str:
    """The size whose first width and depths the names and shapes show."""
    blocks = {(int(m[1]), int(m[2])) for key in weights if (m := re.match(r"encoder\.block(\d)\.(\d+)\.", key))}
    depths = tuple(sum(stage == i for stage, _ in blocks) for i in range(1, 5))
    width = weights["decoder.linear_c1.proj.weight"].shape[1]
    for name, config in MIX_TRANSFORMERS.items():
        if config.depths == depths and config.widths[0] == width:
            return name
    raise UserError(f"need a backbone of mit_b0 to mit_b5, {source} has depths {depths} and first width {width}")
