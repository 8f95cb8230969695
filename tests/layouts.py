"""Weight files of other projects, from a second list of public names: the inverse of ``models.weights.layouts``."""

from __future__ import annotations

import torch

from afa_wsss.models.encoders.mix_transformer import MIX_TRANSFORMERS


def layers_of(backbone):
    """Index of each stage, and the indices of its blocks."""
    for stage, depth in enumerate(MIX_TRANSFORMERS[backbone].depths):
        yield stage, range(depth)


def as_segformer(weights, backbone, root=""):
    """The names of SegFormer's own files; segmentation_models_pytorch has them too."""
    named = {}
    for stage, blocks in layers_of(backbone):
        ours, number = f"stages.{stage}.", stage + 1
        places = {
            f"{ours}embedding.projection.": f"patch_embed{number}.proj.",
            f"{ours}embedding.norm.": f"patch_embed{number}.norm.",
            f"{ours}norm.": f"norm{number}.",
        }
        for block in blocks:
            begin, start = f"{ours}blocks.{block}.", f"block{number}.{block}."
            places |= {
                f"{begin}attention_norm.": f"{start}norm1.",
                f"{begin}feed_forward_norm.": f"{start}norm2.",
                f"{begin}attention.query.": f"{start}attn.q.",
                f"{begin}attention.key_value.": f"{start}attn.kv.",
                f"{begin}attention.output.": f"{start}attn.proj.",
                f"{begin}attention.reduction.": f"{start}attn.sr.",
                f"{begin}attention.reduction_norm.": f"{start}attn.norm.",
                f"{begin}feed_forward.expand.": f"{start}mlp.fc1.",
                f"{begin}feed_forward.depthwise.": f"{start}mlp.dwconv.dwconv.",
                f"{begin}feed_forward.contract.": f"{start}mlp.fc2.",
            }
        named |= {
            root + theirs + leaf: weights[own + leaf]
            for own, theirs in places.items()
            for leaf in ("weight", "bias")
            if own + leaf in weights
        }
    assert len(named) == len(weights)
    return named


def as_mmseg(weights, backbone, root=""):
    """The names and shapes of mmseg: torch's fused attention, and 1x1 convolutions in the feed-forward layers."""
    named = {}
    for stage, blocks in layers_of(backbone):
        for leaf in ("weight", "bias"):
            ours, theirs = f"stages.{stage}.", f"{root}layers.{stage}."
            named[f"{theirs}0.projection.{leaf}"] = weights[f"{ours}embedding.projection.{leaf}"]
            named[f"{theirs}0.norm.{leaf}"] = weights[f"{ours}embedding.norm.{leaf}"]
            named[f"{theirs}2.{leaf}"] = weights[f"{ours}norm.{leaf}"]
            for block in blocks:
                part = {
                    key.removeprefix(f"{ours}blocks.{block}.").removesuffix(f".{leaf}"): value
                    for key, value in weights.items()
                    if key.startswith(f"{ours}blocks.{block}.") and key.endswith(leaf)
                }
                begin = f"{theirs}1.{block}."
                fused = [part["attention.query"], part["attention.key_value"]]
                named[f"{begin}attn.attn.in_proj_{leaf}"] = torch.cat(fused)
                named[f"{begin}attn.attn.out_proj.{leaf}"] = part["attention.output"]
                named[f"{begin}norm1.{leaf}"] = part["attention_norm"]
                named[f"{begin}norm2.{leaf}"] = part["feed_forward_norm"]
                if "attention.reduction" in part:
                    named[f"{begin}attn.sr.{leaf}"] = part["attention.reduction"]
                    named[f"{begin}attn.norm.{leaf}"] = part["attention.reduction_norm"]
                for index, name in ((0, "expand"), (4, "contract")):
                    value = part[f"feed_forward.{name}"]
                    named[f"{begin}ffn.layers.{index}.{leaf}"] = value[:, :, None, None] if value.ndim == 2 else value
                named[f"{begin}ffn.layers.1.{leaf}"] = part["feed_forward.depthwise"]
    return named


def random_weights(module):
    """Random values for all tensors, so that no two can be swapped unnoticed."""
    return {name: torch.randn(value.shape) for name, value in module.state_dict().items()}


def heads(*names):
    return {f"{name}.weight": torch.zeros(3, 2) for name in names}


IMAGENET_HEAD = heads("head")
MMSEG_HEADS = heads("decode_head.conv_seg", "auxiliary_head.conv_seg")
FILES = {
    "afa_wsss backbone": lambda own: own,
    "SegFormer mit_b*.pth": lambda own: as_segformer(own, "mit_b0") | IMAGENET_HEAD,
    "SegFormer with decoder": lambda own: as_segformer(own, "mit_b0", "backbone.") | MMSEG_HEADS,
    "segmentation_models_pytorch": lambda own: (
        as_segformer(own, "mit_b0", "encoder.") | heads("decoder.mlp_stage.0.linear", "segmentation_head.0")
    ),
    "mmseg backbone": lambda own: as_mmseg(own, "mit_b0"),
    "mmseg segmentor": lambda own: as_mmseg(own, "mit_b0", "backbone.") | MMSEG_HEADS,
}
"""By title of the layout: what turns our tensors of ``mit_b0`` into a file of that project, with its heads."""
