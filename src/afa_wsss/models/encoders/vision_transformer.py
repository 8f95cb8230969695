"""Plain vision transformers of timm as AFA's backbone: ViT, DeiT, DINOv2, DINOv3, EVA-02 and others.

They have one token grid and no stages. The segmentation branch reads four evenly spaced blocks, the class branch the
last, the affinity branch the attention logits of the last two. timm's code runs unchanged: hooks take queries and keys
where its attention modules normalize them, so attention stays fused in every block.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.encoder import READ_BLOCKS, Attention, EncoderOutput, Grid, to_map
from afa_wsss.models.encoders.timm_body import UNFIT, or_newer
from afa_wsss.models.encoders.timm_encoder import TimmEncoder
from afa_wsss.models.encoders.training_parts import evaluating
from afa_wsss.models.settings import ModelSettings
from afa_wsss.models.weights.layouts import StateDict, Translated

FEATURES = 4
"""Feature maps for the segmentation branch, as many as a mix transformer has stages."""

BLOCKS = (nn.ModuleList, nn.Sequential)
"""Containers in which timm's transformers hold their blocks."""

HEADS = ("head.", "head_dist.", "pre_logits.", "attn_pool.")
"""Prefixes of the tensors of their classifiers."""


class AttentionReader:
    """Hooks that keep the queries and keys of one of timm's attention modules as it runs."""

    def __init__(self, attention: Any) -> None:
        """Adds hooks to ``attention``; its output stays the same, fused or not."""
        self.attention = attention
        self.reading = False
        self.query: Tensor | None = None
        self.key: Tensor | None = None
        self.rotation: Tensor | None = None
        attention.register_forward_pre_hook(self._take_rotation, with_kwargs=True)
        attention.q_norm.register_forward_hook(self._take_query)
        attention.k_norm.register_forward_hook(self._take_key)

    def _take_rotation(self, _module: nn.Module, _arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        self.rotation = keywords.get("rope") if self.reading else None

    def _take_query(self, _module: nn.Module, _arguments: tuple[Any, ...], query: Tensor) -> None:
        self.query = query if self.reading else None

    def _take_key(self, _module: nn.Module, _arguments: tuple[Any, ...], key: Tensor) -> None:
        self.key = key if self.reading else None

    def read(self, prefix_tokens: int) -> Attention:
        """Queries and keys of every head, with gradient, without class and register tokens; then forgets them.

        Raises:
            RuntimeError: Where no pass with ``reading`` came before.
        """
        if self.query is None or self.key is None:
            raise RuntimeError("need a pass with reading=True before queries and keys are read")
        query, key = self.query[:, :, prefix_tokens:], self.key[:, :, prefix_tokens:]
        if self.rotation is not None:
            query, key = (self._rotated(vectors, self.rotation) for vectors in (query, key))
        groups = query.shape[1] // key.shape[1]
        if groups > 1:  # heads that share their keys
            key = key.repeat_interleave(groups, dim=1)
        self.query = self.key = self.rotation = None
        self.reading = False  # gradient checkpointing runs the module again, and nothing would take what is kept then
        return Attention(query, key)

    def _rotated(self, vectors: Tensor, rotation: Tensor) -> Tensor:
        from timm.layers.pos_embed_sincos import apply_rot_embed_cat

        keywords = {"half": True} if getattr(self.attention, "rotate_half", False) else {}
        rotated: Tensor = apply_rot_embed_cat(vectors, rotation, **keywords)
        return rotated.type_as(vectors)


class VisionTransformerEncoder(TimmEncoder):
    """A vision transformer of timm.

    Sides of images need not be multiples of the patch size: timm pads at the right and the bottom. Position embeddings
    are interpolated to each image's grid.
    """

    def __init__(self, transformer: Any) -> None:
        """Wraps a model that ``create_vision_transformer`` has checked."""
        super().__init__(transformer.pretrained_cfg)
        self.transformer = transformer
        depth = len(self.transformer.blocks)
        self.read_after = tuple(math.ceil(depth * (part + 1) / FEATURES) - 1 for part in range(FEATURES))
        self.widths = (int(self.transformer.embed_dim),) * FEATURES
        read = [block.attn for block in self.transformer.blocks[-READ_BLOCKS:]]
        self.readers = [AttentionReader(attention) for attention in read]
        self.attention_channels = sum(int(attention.num_heads) for attention in read)
        self.patch: tuple[int, int] = tuple(self.transformer.patch_embed.patch_size)

    @property
    def timm_model(self) -> Any:
        """``transformer``."""
        return self.transformer

    def encode(self, images: Float[Tensor, "b 3 H W"], *, attention: bool) -> EncoderOutput:
        """Four feature maps of one size."""
        for reader in self.readers:
            reader.reading = attention
        tokens = self.transformer.forward_intermediates(
            self.normalized(images),
            indices=list(self.read_after),
            norm=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        prefix = self.transformer.num_prefix_tokens
        grid, seen = self.grid(*images.shape[-2:]), None
        if attention:
            read = (reader.read(prefix) for reader in self.readers)
            seen = Attention(*(torch.cat(parts, dim=1) for parts in zip(*read, strict=True)))
        return EncoderOutput(tuple(to_map(features, grid) for features in tokens), seen)

    def from_file(self, weights: StateDict) -> Translated:
        """The tensors of a file in timm's layout, or in one that timm translates (DeiT, DINOv2, CLIP, MAE)."""
        return Translated(in_timms_layout(self, weights), "timm")

    def attention_inputs(self) -> list[nn.Parameter]:
        """Weights and biases of the layers that make the attention logits AFA reads."""
        return [
            parameter
            for reader in self.readers
            for name, parameter in reader.attention.named_parameters()
            if name.split(".")[0] in ("qkv", "q_proj", "k_proj", "q_bias")
        ]

    @property
    def smallest_side(self) -> int:
        """Pixels of a patch."""
        return max(self.patch)

    def grid(self, height: int, width: int) -> Grid:
        """Token grid of an image of ``height`` x ``width`` pixels: padding rounds it up."""
        return Grid(math.ceil(height / self.patch[0]), math.ceil(width / self.patch[1]))


def is_timm_model(name: str) -> bool:
    """Whether timm has a model ``name``; a tag of pretrained weights after a dot has to be known too."""
    import timm

    return bool(timm.is_model(name)) and ("." not in name or name in timm.list_pretrained())


def similar_names(name: str) -> list[str]:
    """Up to three models of timm whose names are spelled similarly."""
    import timm

    return difflib.get_close_matches(name, timm.list_models(), n=3)


def create_vision_transformer(
    name: str, *, drop_path_rate: float = ModelSettings.drop_path_rate
) -> VisionTransformerEncoder:
    """Builds a vision transformer of timm with random weights.

    Args:
        name: timm's name of the model, as ``deit_small_patch16_224`` or ``vit_small_patch14_dinov2.lvd142m``.
        drop_path_rate: Drop path rate at the last block; it grows linearly from 0 at the first.

    Raises:
        UserError: For a model without one token grid and self-attention over all of it, and for one that takes images
            of one size only.
    """
    import timm

    shape: dict[str, Any] = {
        "dynamic_img_size": True,
        "dynamic_img_pad": True,
        "num_classes": 0,
        "drop_path_rate": drop_path_rate,
    }
    try:
        transformer = timm.create_model(name, pretrained=False, **shape)
    except (TypeError, RuntimeError, ValueError, AssertionError) as error:
        raise _unfit(name) from error
    blocks = getattr(transformer, "blocks", None)
    attentions = [getattr(block, "attn", None) for block in blocks] if isinstance(blocks, BLOCKS) else []
    square = all(hasattr(attention, part) for attention in attentions for part in ("q_norm", "k_norm", "proj"))
    plain = all(hasattr(transformer, part) for part in ("patch_embed", "num_prefix_tokens", "forward_intermediates"))
    if not (square and plain) or len(attentions) < FEATURES:
        raise _unfit(name)
    _keep_one_norm(transformer)
    encoder = VisionTransformerEncoder(transformer)
    if not _reads_as_declared(encoder):
        raise _unfit(name)
    return encoder


@torch.no_grad()
def _reads_as_declared(encoder: VisionTransformerEncoder) -> bool:
    """Whether an image of 2 x 3 patches gives features on its grid and one matrix of logits for each head.

    Patch embeddings made of several convolutions have another grid, and differential attention has two matrices per
    head.
    """
    height, width = 2 * encoder.patch[0], 3 * encoder.patch[1]
    try:
        with evaluating(encoder):
            features, attention = encoder(torch.zeros(1, 3, height, width, device=encoder.scale.device))
        logits = None if attention is None else attention.logits()
    except (RuntimeError, TypeError):
        return False
    grid = encoder.grid(height, width)
    tokens = grid.height * grid.width
    shapes = [tuple(maps.shape) for maps in features] == [(1, channels, *grid) for channels in encoder.widths]
    return shapes and logits is not None and logits.shape == (1, encoder.attention_channels, tokens, tokens)


def _unfit(name: str) -> UserError:
    return UserError(
        "need a model of timm with feature maps, or a plain vision transformer (one token grid, self-attention over "
        f"all of it in each block); {name} is neither; choose a ConvNeXt, EfficientNet, ResNet or Swin, a ViT, DeiT, "
        f"DINOv2, DINOv3 or EVA-02, as deit_small_patch16_224, or a mit_b*{or_newer()}",
        kind="unknown",
        arguments=("backbone",),
    )


def _keep_one_norm(transformer: Any) -> None:
    """Moves a norm that timm applies after pooling to the tokens themselves, which are never pooled here."""
    if isinstance(transformer.norm, nn.Identity):
        transformer.norm = transformer.fc_norm
    transformer.fc_norm = nn.Identity()
    if getattr(transformer, "attn_pool", None) is not None:
        transformer.attn_pool = None


def in_timms_layout(encoder: VisionTransformerEncoder, weights: StateDict) -> dict[str, Tensor]:
    """The tensors of a file in timm's layout, or in one that timm translates, under the names of ``encoder``.

    Position embeddings are resampled to the size that the model is built for; classifiers are left out. Names that timm
    cannot translate stay, so that strict loading reports them.

    Raises:
        UserError: For weights of patches of another size, which timm would resample, too.
    """
    _check_patches(encoder, weights)
    translate = getattr(sys.modules[type(encoder.transformer).__module__], "checkpoint_filter_fn", None)
    if translate is not None:
        with suppress(*UNFIT):
            weights = translate(dict(weights), encoder.transformer)
    own_norm = "norm.weight" in weights
    named = {}
    for name, value in weights.items():
        if name.startswith(HEADS) or (own_norm and name.startswith("fc_norm.")):
            continue
        named["transformer." + name.replace("fc_norm.", "norm.")] = value
    return named


def _check_patches(encoder: VisionTransformerEncoder, weights: StateDict) -> None:
    for name, value in weights.items():
        if name.endswith("patch_embed.proj.weight") and value.dim() == 4 and tuple(value.shape[-2:]) != encoder.patch:
            own, theirs = (f"{height} x {width}" for height, width in (encoder.patch, value.shape[-2:]))
            raise UserError(
                f"need weights for patches of {own} pixels, got {theirs}; choose the backbone that the file is of",
                arguments=("pretrained",),
            )
