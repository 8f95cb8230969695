"""The seam for backbones: feature maps, and the attention that AFA reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.models.weights.layouts import StateDict, Translated

READ_BLOCKS = 2
"""Attention logits are read from this many blocks at the end of the last stage (AFA, section 3.2)."""

NORMS: tuple[type[nn.Module], ...] = (nn.LayerNorm, nn.RMSNorm)
"""Norms of tokens; the batch norms of a convolutional stem are not among them."""


class Grid(NamedTuple):
    """Height and width of a token grid."""

    height: int
    width: int


def to_map(tokens: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b d h w"]:
    """Lays tokens out on their grid, as a view: the channels of a cell stay next to each other in memory.

    Transposed first and reshaped then, a single photo's map would lose that order, and each convolution would lay it
    out anew.
    """
    return tokens.reshape(tokens.shape[0], *grid, -1).permute(0, 3, 1, 2)


def to_tokens(maps: Float[Tensor, "b d h w"]) -> Float[Tensor, "b n d"]:
    """Cells row by row."""
    return maps.flatten(2).transpose(1, 2)


class Attention(NamedTuple):
    """Queries and keys. Their products are n x n for each head, so they are multiplied only where that is needed.

    Attributes:
        queries: Query vectors of each head, before scaling.
        keys: Key vectors of each head.
    """

    queries: Float[Tensor, "b heads n d"]
    keys: Float[Tensor, "b heads m d"]

    def logits(self) -> Float[Tensor, "b heads n m"]:
        """S = q . k of every head, before scaling and softmax, with gradient."""
        return self.queries @ self.keys.transpose(-2, -1)


class EncoderOutput(NamedTuple):
    """Features of each stage, finest first, and the attention of the blocks that AFA reads.

    Attributes:
        features: (b, width, h, w) each.
        attention: Queries and keys of every head of the read blocks, (b, heads, n, d); None unless asked for.
    """

    features: tuple[Float[Tensor, "b _ _ _"], ...]
    attention: Attention | None


class Encoder(nn.Module, ABC):
    """A backbone; docs/extending.md derives one of its own.

    Attributes:
        widths: Channels of each feature map, finest first.
        attention_channels: Channels of the attention logits: read blocks times heads.
    """

    widths: tuple[int, ...]
    attention_channels: int

    def forward(self, images: Float[Tensor, "b 3 H W"], *, attention: bool = True) -> EncoderOutput:
        """``encode`` of images that are large enough.

        Raises:
            UserError: For images with a side under ``smallest_side``.
        """
        height, width = images.shape[-2:]
        if min(height, width) < self.smallest_side:
            raise UserError(
                f"need images of at least {self.smallest_side} pixels a side, got {height} x {width}; "
                "use larger images or crops, or leave out the smallest scale",
                kind="too_small",
            )
        return self.encode(images, attention=attention)

    @abstractmethod
    def encode(self, images: Float[Tensor, "b 3 H W"], *, attention: bool) -> EncoderOutput:
        """Features of images normalised as for ImageNet; queries and keys where ``attention`` asks."""

    @abstractmethod
    def grid(self, height: int, width: int) -> Grid:
        """Token grid of an image of ``height`` x ``width`` pixels: that of the last features and of the attention."""

    @abstractmethod
    def attention_inputs(self) -> list[nn.Parameter]:
        """Weights and biases of the layers that make the attention logits AFA reads."""

    def new_parameters(self) -> list[nn.Parameter]:
        """Parameters that no pretrained weights fill: they learn at the heads' rate, ``attention_inputs`` excepted."""
        return []

    def norms(self) -> list[nn.Parameter]:
        """Weights and biases of the norms of tokens."""
        return [
            parameter for module in self.modules() if isinstance(module, NORMS) for parameter in module.parameters()
        ]

    def acts_in_training(self) -> bool:
        """Whether training mode changes what the encoder gives in its present state.

        An encoder declares it from its own parts, so that passes for class activation maps can be shared with those of
        training. True, which is always right, costs one pass more per step.
        """
        return self.training

    def from_file(self, weights: StateDict) -> Translated | None:
        """The tensors of a file in a layout that only this encoder knows, under its names; None for no such layout.

        Layouts that are known by their names (``models.weights.layouts``) come first, this encoder's own among them.
        """
        del weights
        return None

    @property
    def smallest_side(self) -> int:
        """Pixels that both sides of an image need."""
        return 1

    @property
    def default_weights(self) -> str | None:
        """Where the weights that go with the backbone's name are, as ``pretrained`` takes it; None for nowhere."""
        return None
