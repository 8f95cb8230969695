"""Mix transformer (MiT), the hierarchical backbone of SegFormer (Xie et al., NeurIPS 2021, section 3.1).

Four stages, each an overlapping patch embedding and a few transformer blocks whose keys and values are taken from a
coarser grid. AFA reads the attention of the last two blocks of the last stage, where the grid is not reduced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.efficient_attention import EfficientAttention, TokenMixing
from afa_wsss.models.encoders.encoder import READ_BLOCKS, Attention, Encoder, EncoderOutput, Grid, to_map, to_tokens
from afa_wsss.models.encoders.mix_block import DropPath, MixBlock
from afa_wsss.models.settings import ModelSettings


@dataclass(frozen=True)
class MixTransformerConfig:
    """Sizes of the four stages.

    Attributes:
        widths: Channels of the tokens.
        depths: Blocks of a stage.
        heads: Attention heads of a block.
        strides: Strides of the patch embeddings; their product is the stride of the token grid.
        reductions: Keys and values are taken from a grid this many times coarser.
        mlp_ratio: Hidden over outer channels in the feed-forward layers.
        weights: Default weights, as a value of ``pretrained``.
    """

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int] = (1, 2, 5, 8)
    strides: tuple[int, int, int, int] = (4, 2, 2, 1)
    reductions: tuple[int, int, int, int] = (8, 4, 2, 1)
    mlp_ratio: int = 4
    weights: str | None = None


_WIDE = (64, 128, 320, 512)
MIX_TRANSFORMERS = {
    "mit_b0": MixTransformerConfig((32, 64, 160, 256), (2, 2, 2, 2), weights="hf-hub:nvidia/mit-b0"),
    "mit_b1": MixTransformerConfig(_WIDE, (2, 2, 2, 2), weights="hf-hub:nvidia/mit-b1"),
    "mit_b2": MixTransformerConfig(_WIDE, (3, 4, 6, 3), weights="hf-hub:nvidia/mit-b2"),
    "mit_b3": MixTransformerConfig(_WIDE, (3, 4, 18, 3), weights="hf-hub:nvidia/mit-b3"),
    "mit_b4": MixTransformerConfig(_WIDE, (3, 8, 27, 3), weights="hf-hub:nvidia/mit-b4"),
    "mit_b5": MixTransformerConfig(_WIDE, (3, 6, 40, 3), weights="hf-hub:nvidia/mit-b5"),
}
"""SegFormer's sizes (its table 6) with AFA's strides."""


class PatchEmbedding(nn.Module):
    """Overlapping patches: a strided convolution and a norm over channels."""

    def __init__(self, projection: nn.Module, width: int) -> None:
        """``projection`` maps to ``width`` channels."""
        super().__init__()
        self.projection = projection
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Float[Tensor, "b d h w"]) -> tuple[Float[Tensor, "b n e"], Grid]:
        """Tokens and the grid that they lie on."""
        maps = self.projection(maps)
        return self.norm(to_tokens(maps)), Grid(*maps.shape[-2:])


def patches(channels: int, width: int, *, kernel: int, stride: int) -> nn.Conv2d:
    """The convolution that makes overlapping patches."""
    return nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2)


class MixStage(nn.Module):
    """A patch embedding, its blocks and a norm.

    Attributes:
        recomputes: Whether passes with gradient keep the input of each block alone.
    """

    def __init__(self, embedding: PatchEmbedding, blocks: Sequence[MixBlock], width: int) -> None:
        """``blocks`` work on the tokens of ``embedding``."""
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.recomputes = False

    def forward(
        self, maps: Float[Tensor, "b d h w"], *, read: int = 0
    ) -> tuple[Float[Tensor, "b e h2 w2"], list[Attention]]:
        """Feature map, and the attention of the last ``read`` blocks."""
        tokens, grid = self.embedding(maps)
        seen, recomputes = [], self.recomputes and torch.is_grad_enabled()
        for index, block in enumerate(self.blocks):
            run = partial(checkpoint, block, use_reentrant=False) if recomputes else block
            tokens, attention = run(tokens, grid, read=index >= len(self.blocks) - read)
            if attention is not None:
                seen.append(attention)
        return to_map(self.norm(tokens), grid), seen


class MixTransformer(Encoder):
    """The four stages; ``widths`` has one width for each."""

    def __init__(self, config: MixTransformerConfig, *, drop_path_rate: float = ModelSettings.drop_path_rate) -> None:
        """The drop path rate grows linearly from 0 at the first block to ``drop_path_rate`` at the last."""
        super().__init__()
        self.config = config
        self.widths = config.widths
        self.attention_channels = READ_BLOCKS * config.heads[-1]
        blocks_in_all = sum(config.depths)
        rates = (drop_path_rate * index / (blocks_in_all - 1) for index in range(blocks_in_all))
        stages, channels = [], 3
        for index, width in enumerate(config.widths):
            hidden = config.mlp_ratio * width
            blocks = [MixBlock(width, mixing, hidden, next(rates)) for mixing in self.token_mixing(index)]
            stages.append(MixStage(PatchEmbedding(self.projection(index, channels), width), blocks, width))
            channels = width
        self.stages = nn.ModuleList(stages)
        self.apply(_initialize)

    def projection(self, stage: int, channels: int) -> nn.Module:
        """What makes the tokens of a stage from ``channels`` channels: a strided convolution."""
        width, stride = self.config.widths[stage], self.config.strides[stage]
        return patches(channels, width, kernel=3 if stage else 7, stride=stride)

    def token_mixing(self, stage: int) -> Sequence[TokenMixing | None]:
        """The attention of each block of a stage; None for a block without."""
        config = self.config
        width, heads, reduction = config.widths[stage], config.heads[stage], config.reductions[stage]
        return [EfficientAttention(width, heads, reduction) for _ in range(config.depths[stage])]

    def encode(self, images: Float[Tensor, "b 3 H W"], *, attention: bool) -> EncoderOutput:
        """Features of all stages."""
        features, seen, maps = [], [], images
        for index, stage in enumerate(self.stages):
            last = index == len(self.stages) - 1
            maps, seen = stage(maps, read=READ_BLOCKS if last and attention else 0)
            features.append(maps)
        read = Attention(*(torch.cat(parts, dim=1) for parts in zip(*seen, strict=True))) if seen else None
        return EncoderOutput(tuple(features), read)

    def attention_inputs(self) -> list[nn.Parameter]:
        """Weights and biases of the layers that make the attention logits AFA reads."""
        mixing = [module for module in self.stages[-1].modules() if isinstance(module, TokenMixing)]
        layers = [layer for one in mixing[-READ_BLOCKS:] for layer in one.logit_layers()]
        return [parameter for layer in layers for parameter in layer.parameters()]

    def checkpoint_gradients(self) -> None:
        """Each block of the four stages; their embeddings and norms keep what they need."""
        for stage in self.stages:
            stage.recomputes = True  # type: ignore[assignment]  # of MixStage

    def layers(self) -> list[list[nn.Parameter]]:
        """A layer for each block; patch embeddings go with the block after them, norms of stages with that before."""
        layers = []
        for stage in (one for one in self.stages if isinstance(one, MixStage)):
            blocks = [list(block.parameters()) for block in stage.blocks]
            blocks[0] = [*stage.embedding.parameters(), *blocks[0]]
            blocks[-1] += stage.norm.parameters()
            layers += blocks
        return layers

    def acts_in_training(self) -> bool:
        """Whether a block in training mode drops paths."""
        return any(part.training and part.rate > 0 for part in self.modules() if isinstance(part, DropPath))

    @property
    def default_weights(self) -> str | None:
        """Where this size's pretrained weights are."""
        return self.config.weights

    @property
    def smallest_side(self) -> int:
        """The side at which the reduced grid of every stage, for keys and values, still has one cell."""
        strides = [math.prod(self.config.strides[: stage + 1]) for stage in range(len(self.config.strides))]
        return max(
            (reduction - 1) * stride + 1 for stride, reduction in zip(strides, self.config.reductions, strict=True)
        )

    def grid(self, height: int, width: int) -> Grid:
        """Token grid of an image of ``height`` x ``width`` pixels: each embedding rounds up."""
        for stride in self.config.strides:
            height, width = math.ceil(height / stride), math.ceil(width / stride)
        return Grid(height, width)


def _initialize(module: nn.Module) -> None:
    """Truncated normal for linear layers, fan-out normal for convolutions, as in SegFormer."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def mix_transformer(
    name: str, *, drop_path_rate: float = ModelSettings.drop_path_rate, strides: Sequence[int] | None = None
) -> MixTransformer:
    """Builds a MiT by name.

    Args:
        name: One of ``MIX_TRANSFORMERS``.
        drop_path_rate: See ``MixTransformer``.
        strides: Strides of the four patch embeddings; None for the size's own.

    Raises:
        UserError: For strides that are not four of at least 1.
    """
    return MixTransformer(with_strides(MIX_TRANSFORMERS[name], strides), drop_path_rate=drop_path_rate)


def with_strides(config: MixTransformerConfig, strides: Sequence[int] | None) -> MixTransformerConfig:
    """The same size with other strides; None for its own.

    Raises:
        UserError: For strides that are not four of at least 1.
    """
    if strides is None:
        return config
    if len(strides) != 4 or min(strides) < 1:
        raise UserError(
            f"need four strides of at least 1, as [4, 2, 2, 1]; got {list(strides)}", arguments=("strides",)
        )
    return replace(config, strides=(strides[0], strides[1], strides[2], strides[3]))
