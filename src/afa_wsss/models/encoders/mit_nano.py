"""``mit_nano``: a mix transformer for small pictures, made to learn without ImageNet."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.efficient_attention import TokenMixing
from afa_wsss.models.encoders.encoder import READ_BLOCKS, Attention, Grid
from afa_wsss.models.encoders.mix_transformer import MixTransformer, MixTransformerConfig, with_strides
from afa_wsss.models.settings import ModelSettings

MIT_NANO = MixTransformerConfig(
    (32, 64, 96, 128),
    (1, 1, 2, 2),
    heads=(1, 2, 3, 4),
    strides=(4, 2, 1, 1),
    reductions=(1, 1, 1, 1),
    weights="nano",
)
"""A grid at 1/8 of the side, 0.75 M parameters; the package ships its weights."""


class TokenComparison(TokenMixing):
    """Queries and keys alone: tokens are compared for the affinity, and nothing passes from one to another."""

    def __init__(self, width: int, heads: int) -> None:
        """``width`` is divided evenly among ``heads``."""
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)

    def forward(
        self, tokens: Float[Tensor, "b n d"], grid: Grid, *, read: bool = False
    ) -> tuple[None, Attention | None]:
        """Nothing to add to the tokens; with ``read``, queries and keys, with gradient."""
        if not read:
            return None, None
        query, key = (layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key))
        return None, Attention(query, key)

    def logit_layers(self) -> tuple[nn.Linear, nn.Linear]:
        """The layers that make queries and keys."""
        return self.query, self.key


class MitNano(MixTransformer):
    """A mix transformer with a convolutional stem, in which attention passes nothing from token to token.

    Without ImageNet weights a small transformer learns several times faster with a stem of 3x3 convolutions and batch
    norms (Xiao et al., NeurIPS 2021). Trained from image labels alone, attention would spread the evidence for a class
    over all tokens, and its activation map would cover the whole photo. So the last two blocks compare tokens for the
    affinity alone, and the others hold no attention.
    """

    def projection(self, stage: int, channels: int) -> nn.Module:
        """The stem at the first stage."""
        return super().projection(stage, channels) if stage else _convolutional_stem(self.config.widths[0])

    def token_mixing(self, stage: int) -> Sequence[TokenMixing | None]:
        """Comparisons in the blocks that AFA reads, nothing in the others."""
        width, heads, depth = self.config.widths[stage], self.config.heads[stage], self.config.depths[stage]
        compared = READ_BLOCKS if stage == len(self.config.widths) - 1 else 0
        return [TokenComparison(width, heads) if block >= depth - compared else None for block in range(depth)]

    def acts_in_training(self) -> bool:
        """The stem's batch norm uses the statistics of the batch."""
        norms = (part for part in self.modules() if isinstance(part, nn.BatchNorm2d))
        return super().acts_in_training() or any(norm.training for norm in norms)


def mit_nano(*, drop_path_rate: float = ModelSettings.drop_path_rate, strides: Sequence[int] | None = None) -> MitNano:
    """Builds ``mit_nano``.

    Args:
        drop_path_rate: Drop path rate at the last block.
        strides: Strides of the four stages; None for its own, [4, 2, 1, 1].

    Raises:
        UserError: For strides that are not four of at least 1, or a first one that is not the stem's.
    """
    config = with_strides(MIT_NANO, strides)
    if config.strides[0] != MIT_NANO.strides[0]:
        raise UserError(
            f"need strides that begin with {MIT_NANO.strides[0]}, the stem's; got {list(config.strides)}",
            arguments=("strides",),
        )
    return MitNano(config, drop_path_rate=drop_path_rate)


def _convolutional_stem(width: int) -> nn.Sequential:
    """Photo to ``width`` channels at a quarter of the size, in three 3x3 convolutions and a 1x1."""
    narrow = 3 * width // 4

    def convolution(channels: int, wide: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, wide, 3, stride, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]

    layers = [*convolution(3, narrow, 2), *convolution(narrow, narrow, 1), *convolution(narrow, 2 * narrow, 2)]
    return nn.Sequential(*layers, nn.Conv2d(2 * narrow, width, 1))
