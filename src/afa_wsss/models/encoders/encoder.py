"""What a backbone has to provide: feature maps, and the attention that AFA reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import chain
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.training_parts import parts_without_training
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
    """Tokens on their grid, as a view in which the channels of a cell stay next to each other in memory.

    Transposing before reshaping would lose that order for a single photo, and every convolution would copy the map.
    """
    return tokens.reshape(tokens.shape[0], *grid, -1).permute(0, 3, 1, 2)


def to_tokens(maps: Float[Tensor, "b d h w"]) -> Float[Tensor, "b n d"]:
    """Cells row by row."""
    return maps.flatten(2).transpose(1, 2)


class Attention(NamedTuple):
    """Queries and keys. Their product has n x m values per head, so it is computed only where it is needed.

    Attributes:
        queries: Query vectors of each head, before scaling.
        keys: Key vectors of each head.
    """

    queries: Float[Tensor, "b heads n d"]
    keys: Float[Tensor, "b heads m d"]

    def logits(self) -> Float[Tensor, "b heads n m"]:
        """S = q k^T of every head, before scaling and softmax, with gradient."""
        return self.queries @ self.keys.transpose(-2, -1)


class EncoderOutput(NamedTuple):
    """Feature maps, and the attention of the blocks that AFA reads.

    Attributes:
        features: Feature maps (b, width, h, w), finest first; the last one lies on the token grid.
        attention: Queries and keys of all heads of the read blocks, (b, heads, n, d); None unless asked for.
    """

    features: tuple[Float[Tensor, "b _ _ _"], ...]
    attention: Attention | None


def cannot_recompute(name: str) -> UserError:
    """The error for gradient checkpointing of a backbone that has none."""
    return UserError(
        f"need a backbone that computes its blocks again in the backward pass, {name} does not; leave out "
        "gradient_checkpointing, or choose a mit_b*, a ViT, DeiT, DINOv2, DINOv3, EVA-02, ConvNeXt or EfficientNet",
        arguments=("gradient_checkpointing",),
    )


class Encoder(nn.Module, ABC):
    """A backbone.

    Derive your own from it: set the two attributes, and write ``encode``, ``grid`` and ``attention_inputs``; the other
    methods have defaults. Give the class as ``backbone``, or a ``functools.partial`` of it with its settings; where it
    takes a ``drop_path_rate``, it gets that of ``ModelSettings``. docs/extending.md does the same from a YAML file.

    Attributes:
        widths: Channels of each feature map, finest first.
        attention_channels: Channels of the attention logits: read blocks times heads.
        frozen: Whether ``freeze`` was called.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from afa_wsss.models import Attention, Encoder, EncoderOutput, Grid, create_model
        >>> class TinyEncoder(Encoder):
        ...     def __init__(self, width=32, heads=2):
        ...         super().__init__()
        ...         self.widths, self.attention_channels, self.heads = (width, width), heads, heads
        ...         self.fine = nn.Conv2d(3, width, 4, stride=4)
        ...         self.coarse = nn.Conv2d(width, width, 2, stride=2)
        ...         self.query_key = nn.Linear(width, 2 * width)
        ...
        ...     def encode(self, images, *, attention):
        ...         fine = self.fine(images).relu()
        ...         coarse = self.coarse(fine).relu()
        ...         vectors = self.query_key(coarse.flatten(2).mT).unflatten(2, (2, self.heads, -1))
        ...         queries, keys = vectors.permute(2, 0, 3, 1, 4)
        ...         return EncoderOutput((fine, coarse), Attention(queries, keys) if attention else None)
        ...
        ...     def grid(self, height, width):
        ...         return Grid(height // 8, width // 8)
        ...
        ...     def attention_inputs(self):
        ...         return list(self.query_key.parameters())
        >>> network = create_model(TinyEncoder, num_classes=3)
        >>> network(torch.zeros(1, 3, 64, 96)).affinity.shape
        torch.Size([1, 96, 96])
    """

    widths: tuple[int, ...]
    attention_channels: int
    frozen: bool = False

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
        """Feature maps of images normalized with ImageNet's mean and standard deviation.

        Args:
            images: Images whose sides have at least ``smallest_side`` pixels.
            attention: Whether queries and keys are needed; they have to carry gradient.
        """

    @abstractmethod
    def grid(self, height: int, width: int) -> Grid:
        """Token grid of an image of ``height`` x ``width`` pixels: the size of the last feature map."""

    @abstractmethod
    def attention_inputs(self) -> list[nn.Parameter]:
        """Weights and biases of the layers that make the attention logits AFA reads."""

    def new_parameters(self) -> list[nn.Parameter]:
        """Parameters that no pretrained weights fill: they learn at the heads' rate, ``attention_inputs`` excepted."""
        return []

    def layers(self) -> list[list[nn.Parameter]]:
        """Parameters by layer, from the photo to the top, without ``new_parameters``; empty where no order is known.

        With ``layer_decay`` the learning rate falls from the top to the photo. ``freeze_layers`` counts from the photo.
        """
        return []

    def checkpoint_gradients(self) -> None:
        """From now on passes with gradient keep the inputs of blocks alone; the backward pass computes the rest again.

        Raises:
            UserError: For an encoder that cannot.
        """
        raise cannot_recompute(type(self).__name__)

    def freeze(self, layers: int | None = None) -> None:
        """From now on leaves pretrained layers as they are: they get no gradient and stay in evaluation mode.

        Args:
            layers: How many of ``layers``, from the photo on; by default all parameters but ``new_parameters``.
        """
        new = {id(parameter) for parameter in self.new_parameters()}
        for parameter in self.parameters() if layers is None else chain.from_iterable(self.layers()[:layers]):
            parameter.requires_grad_(id(parameter) in new)
        self.frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Encoder:
        """Sets the mode of all parts that are not frozen; frozen ones drop nothing and keep their batch norms."""
        super().train(mode)
        if self.frozen:
            for part in parts_without_training(self):
                part.training = False
        return self

    def norms(self) -> list[nn.Parameter]:
        """Weights and biases of the norms of tokens, trained without weight decay: all layer norms and RMS norms."""
        return [
            parameter for module in self.modules() if isinstance(module, NORMS) for parameter in module.parameters()
        ]

    def acts_in_training(self) -> bool:
        """Whether training mode changes the output of the encoder as it is now.

        Where it does not, a training step takes its class activation maps from the forward pass; otherwise they cost a
        pass of their own. True is always safe, and the default as long as any part is in training mode. An encoder
        whose parts neither drop anything at random nor use the statistics of the batch may return False.
        """
        return any(part.training for part in self.modules())

    def from_file(self, weights: StateDict) -> Translated | None:
        """Translates a file in a layout that this encoder alone knows to its own names; None where it knows none.

        It is asked after the layouts of ``models.weights.layouts`` and the encoder's own names.
        """
        return None

    @property
    def affinity_start(self) -> float | None:
        """First weight of every head's logits in the affinity; None, the default, for random weights.

        For attention that is a similarity from the start: a weight above 0 makes the affinity one, too.
        """
        return None

    @property
    def smallest_side(self) -> int:
        """Pixels that the shorter side of an image needs at least."""
        return 1

    @property
    def default_weights(self) -> str | None:
        """What ``pretrained="default"`` stands for: a path or ``hf-hub:owner/repository``; None for no such weights."""
        return None
