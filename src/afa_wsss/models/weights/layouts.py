"""Layouts of weight files: other projects' names and shapes of the tensors of a mix transformer, translated to ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

StateDict = Mapping[str, Tensor]

LEAVES = r"[._](?P<leaf>weight|bias|running_mean|running_var|num_batches_tracked)"
"""Suffix of a tensor's name. A fused projection of torch's attention has ``_`` before it, all others a dot."""


class Names(NamedTuple):
    """Another project's names of our layers; ``{stage}`` and ``{block}`` stand for numbers.

    Attributes:
        layers: Names outside the blocks, theirs to ours.
        block: Prefix of the layers of a block.
        parts: Names of the layers of a block after that prefix, theirs to ours.
        first_stage: The number of their first stage; ours is 0.
    """

    layers: Mapping[str, str] = {}
    block: str = ""
    parts: Mapping[str, str] = {}
    first_stage: int = 0


_SEGFORMER = Names(
    {
        "patch_embed{stage}.proj": "stages.{stage}.embedding.projection",
        "patch_embed{stage}.norm": "stages.{stage}.embedding.norm",
        "norm{stage}": "stages.{stage}.norm",
    },
    "block{stage}.{block}.",
    {
        "norm1": "attention_norm",
        "attn.q": "attention.query",
        "attn.kv": "attention.key_value",
        "attn.proj": "attention.output",
        "attn.sr": "attention.reduction",
        "attn.norm": "attention.reduction_norm",
        "norm2": "feed_forward_norm",
        "mlp.fc1": "feed_forward.expand",
        "mlp.dwconv.dwconv": "feed_forward.depthwise",
        "mlp.fc2": "feed_forward.contract",
    },
    first_stage=1,
)
_HUGGING_FACE = Names(
    {
        "patch_embeddings.{stage}.proj": "stages.{stage}.embedding.projection",
        "patch_embeddings.{stage}.layer_norm": "stages.{stage}.embedding.norm",
        "layer_norm.{stage}": "stages.{stage}.norm",
    },
    "block.{stage}.{block}.",
    {
        "layer_norm_1": "attention_norm",
        "attention.self.query": "attention.query",
        "attention.self.key": "attention.key",
        "attention.self.value": "attention.value",
        "attention.output.dense": "attention.output",
        "attention.self.sr": "attention.reduction",
        "attention.self.layer_norm": "attention.reduction_norm",
        "layer_norm_2": "feed_forward_norm",
        "mlp.dense1": "feed_forward.expand",
        "mlp.dwconv.dwconv": "feed_forward.depthwise",
        "mlp.dense2": "feed_forward.contract",
    },
)
_MMSEG = Names(
    {
        "layers.{stage}.0.projection": "stages.{stage}.embedding.projection",
        "layers.{stage}.0.norm": "stages.{stage}.embedding.norm",
        "layers.{stage}.2": "stages.{stage}.norm",
    },
    "layers.{stage}.1.{block}.",
    {
        "norm1": "attention_norm",
        "attn.attn.in_proj": "attention.query_key_value",
        "attn.attn.out_proj": "attention.output",
        "attn.sr": "attention.reduction",
        "attn.norm": "attention.reduction_norm",
        "norm2": "feed_forward_norm",
        "ffn.layers.0": "feed_forward.expand",
        "ffn.layers.1": "feed_forward.depthwise",
        "ffn.layers.4": "feed_forward.contract",
    },
)
_REFERENCE_BRANCHES = Names(
    {
        "classifier": "classifier",
        "attn_proj": "affinity_head",
        "decoder.linear_c{stage}.proj": "segmentation_head.projections.{stage}",
        "decoder.linear_fuse.conv": "segmentation_head.fuse",
        "decoder.linear_fuse.bn": "segmentation_head.norm",
        "decoder.linear_pred": "segmentation_head.classify",
    },
    first_stage=1,
)


class Translated(NamedTuple):
    """Weights with the names of a backbone, and the title of the layout that they had."""

    weights: dict[str, Tensor]
    title: str


class Layout(NamedTuple):
    """One kind of file that holds a backbone.

    Attributes:
        title: Name of the layout in messages.
        sign: The tensor by which the layout is recognized.
        root: Prefix of the backbone's tensors.
        names: Names of these tensors after that prefix; None where they are ours.
        left_out: Prefixes of other tensors that such a file may have: heads.
    """

    title: str
    sign: str
    root: str
    names: Names | None
    left_out: tuple[str, ...] = ()


_OUR_HEADS = ("classifier.", "affinity_head.", "segmentation_head.")
_SMP_HEADS = ("decoder.", "segmentation_head.", "classification_head.", "encoder.head.")
_MMSEG_HEADS = ("decode_head.", "auxiliary_head.", "head.")
_REFERENCE_HEADS = ("decoder.", "classifier.", "attn_proj.", "encoder.head.")
_FROM_OURS = "stages.0.embedding.norm.weight"
_FROM_SEGFORMER = "patch_embed1.proj.weight"
_FROM_HUGGING_FACE = "patch_embeddings.0.proj.weight"
_FROM_MMSEG = "layers.0.0.projection.weight"

REFERENCE = Layout("official AFA checkpoint", "attn_proj.weight", "encoder.", _SEGFORMER, _REFERENCE_HEADS)
OURS = Layout("afa_wsss backbone", _FROM_OURS, "", None)
LAYOUTS = (
    OURS,
    Layout("afa_wsss network", "affinity_head.weight", "encoder.", None, _OUR_HEADS),
    REFERENCE,
    Layout("SegFormer mit_b*.pth", _FROM_SEGFORMER, "", _SEGFORMER, ("head.",)),
    Layout("SegFormer with decoder", f"backbone.{_FROM_SEGFORMER}", "backbone.", _SEGFORMER, _MMSEG_HEADS),
    Layout("segmentation_models_pytorch", f"encoder.{_FROM_SEGFORMER}", "encoder.", _SEGFORMER, _SMP_HEADS),
    Layout("Hugging Face SegformerModel", f"encoder.{_FROM_HUGGING_FACE}", "encoder.", _HUGGING_FACE),
    Layout(
        "Hugging Face Segformer with head",
        f"segformer.encoder.{_FROM_HUGGING_FACE}",
        "segformer.encoder.",
        _HUGGING_FACE,
        ("classifier.", "decode_head."),
    ),
    Layout("mmseg backbone", _FROM_MMSEG, "", _MMSEG, ("head.",)),
    Layout("mmseg segmentor", f"backbone.{_FROM_MMSEG}", "backbone.", _MMSEG, _MMSEG_HEADS),
)
"""All known layouts. A more specific sign comes first."""


def without_wrappers(weights: StateDict) -> StateDict:
    """Names without the ``module.`` of DataParallel; of a training checkpoint of ours, the network's tensors alone."""
    if weights and all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
    if "network.affinity_head.weight" not in weights:
        return weights
    return {name.removeprefix("network."): value for name, value in weights.items() if name.startswith("network.")}


def recognize(weights: StateDict, own: Collection[str] = ()) -> Layout | None:
    """The layout whose sign is among the names; None where there is none.

    It is ours where all of ``own``, the backbone's names, are there, and where some of them are and there is no sign.
    """
    if own and set(own) <= weights.keys():
        return OURS
    found = next((layout for layout in LAYOUTS if layout.sign in weights), None)
    return OURS if found is None and not weights.keys().isdisjoint(own) else found


def backbone_of(weights: StateDict, layout: Layout) -> dict[str, Tensor]:
    """The backbone's tensors with our names, without known heads. Unknown tensors keep their names."""
    kept = {name: value for name, value in weights.items() if not name.startswith(layout.left_out)}
    if layout.names is None:
        return {name.removeprefix(layout.root): value for name, value in kept.items()}
    return _in_our_shapes(_renamed(kept, layout.names, root=layout.root))


def affinity_head_of(weights: StateDict) -> dict[str, Tensor]:
    """The tensors of the affinity head of an AFA network, ours or the official code's; empty for other files."""
    ours, prefix = _renamed(weights, _REFERENCE_BRANCHES), "affinity_head."
    return {name.removeprefix(prefix): value for name, value in ours.items() if name.startswith(prefix)}


def whole_network(weights: StateDict) -> dict[str, Tensor]:
    """All tensors of an official AFA checkpoint, with our names."""
    heads = {name: value for name, value in weights.items() if not name.startswith(REFERENCE.root)}
    backbone = {name: value for name, value in weights.items() if name.startswith(REFERENCE.root)}
    renamed = {f"encoder.{name}": value for name, value in backbone_of(backbone, REFERENCE).items()}
    return renamed | _renamed(heads, _REFERENCE_BRANCHES)


def _renamed(weights: StateDict, names: Names, *, root: str = "") -> dict[str, Tensor]:
    blocks = {names.block + theirs: "stages.{stage}.blocks.{block}." + ours for theirs, ours in names.parts.items()}
    patterns = [(_pattern(root + theirs), ours) for theirs, ours in {**names.layers, **blocks}.items()]

    def rename(name: str) -> str:
        for pattern, ours in patterns:
            if found := pattern.fullmatch(name):
                numbers = {key: int(value) for key, value in found.groupdict().items() if key != "leaf"}
                stage = numbers.get("stage", names.first_stage) - names.first_stage
                return ours.format(stage=stage, block=numbers.get("block")) + "." + found["leaf"]
        return name

    return {rename(name): value for name, value in weights.items()}


def _pattern(template: str) -> re.Pattern[str]:
    literal = re.escape(template).replace(r"\{stage\}", r"(?P<stage>\d+)").replace(r"\{block\}", r"(?P<block>\d+)")
    return re.compile(literal + LEAVES)


def _in_our_shapes(weights: StateDict) -> dict[str, Tensor]:
    """Splits or joins projections to one tensor for the query and one for key and value; flattens 1x1 convolutions.

    Our weights are (d, d) for the query and (2d, d) for the key above the value. torch's fused projection is (3d, d);
    Hugging Face has three of (d, d). Biases are split and joined in the same way.
    """
    shaped: dict[str, Tensor] = {}
    for name, value in weights.items():
        if ".query_key_value." in name:
            rows = value.shape[0] // 3
            shaped[name.replace(".query_key_value.", ".query.")] = value[:rows]
            shaped[name.replace(".query_key_value.", ".key_value.")] = value[rows:]
        elif ".attention.key." in name and (partner := name.replace(".key.", ".value.")) in weights:
            shaped[name.replace(".key.", ".key_value.")] = torch.cat([value, weights[partner]])
        elif ".attention.value." in name and name.replace(".value.", ".key.") in weights:
            continue  # joined with its key
        elif re.search(r"\.feed_forward\.(expand|contract)\.", name):
            shaped[name] = value.flatten(1) if value.shape[2:] == (1, 1) else value
        else:
            shaped[name] = value
    return shaped
