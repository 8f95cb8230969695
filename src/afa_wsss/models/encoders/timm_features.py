"""Any model of timm with feature maps as AFA's backbone: ConvNeXt, EfficientNet, ResNet, Swin, MaxViT and their like.

Such a model has stages, but no attention over all of its last grid that AFA could read. So two transformer blocks stand
on top of it. They add nothing at first: the features of the pretrained model pass through them unchanged, and training
decides what attention contributes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.models.encoders.attention_block import AttentionBlock
from afa_wsss.models.encoders.encoder import (
    NORMS,
    READ_BLOCKS,
    Attention,
    Encoder,
    EncoderOutput,
    Grid,
    to_map,
    to_tokens,
)
from afa_wsss.models.encoders.timm_body import GRID_STRIDE, STRIDES, TimmBody, build_body, feature_maps
from afa_wsss.models.encoders.timm_weights import in_timms_names
from afa_wsss.models.encoders.training_parts import acts_in_training
from afa_wsss.models.settings import ModelSettings
from afa_wsss.models.weights.hub import HUB_PREFIX
from afa_wsss.models.weights.layouts import StateDict, Translated
from afa_wsss.models.weights.timm_layouts import COUNTER
from afa_wsss.ops.image import IMAGENET_MEAN, IMAGENET_STD, resize

WIDTH, HEADS = 256, 8
"""Channels and attention heads of the two blocks on top."""

_BODY = "body."
"""What the names of timm's tensors begin with."""


class TimmFeatureEncoder(Encoder):
    """A model of timm, its deepest features at stride 16, and two transformer blocks that start as the identity.

    The deepest map has stride 16 where timm can dilate the last stage; otherwise it is resized from stride 32. A 1x1
    convolution and ReLU bring it to 256 channels, whatever the model has: attention costs the same for all models, and
    values of at least 0 are what a class activation map sums up. No norm follows: a map that is normed cell by cell
    loses the magnitude by which an object stands out from the ground.

    Images of any size are padded with the mean color at the right and the bottom up to ``multiple``, and the maps are
    cut to the image again. Crops of whole multiples cost nothing extra; that matters for models with windows (MaxViT),
    where ``multiple`` is 224 or more. Images come normalized as for ImageNet, and are normalized anew where the weights
    expect it.

    Attributes:
        body: timm's model, without its classifier and its last norm; its tensors have timm's names.
        multiple: Pixels of which the sides of an image are made multiples.
    """

    def __init__(self, body: TimmBody) -> None:
        """``body`` comes from ``build_body``."""
        super().__init__()
        self.body, self.taken, self.multiple = body.model, body.taken, body.multiple
        self.config: Mapping[str, Any] = body.config
        self.widths = (*body.channels[:-1], WIDTH)
        self.attention_channels = READ_BLOCKS * HEADS
        self.projection = nn.Conv2d(body.channels[-1], WIDTH, 1)
        self.attention_blocks = nn.ModuleList(AttentionBlock(WIDTH, HEADS) for _ in range(READ_BLOCKS))
        mean, std = (255 * torch.tensor(body.config[key]) for key in ("mean", "std"))
        imagenet_mean, imagenet_std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", (imagenet_std / std).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((imagenet_mean - mean) / std).view(3, 1, 1), persistent=False)

    def encode(self, images: Float[Tensor, "b 3 H W"], *, attention: bool) -> EncoderOutput:
        """Feature maps at strides 4, 8, 16 and 16; a map has ceil(side / stride) cells."""
        height, width = images.shape[-2:]
        maps = feature_maps(self.body, self.taken, self._prepared(images))
        # The projection is linear in each cell: before resizing it gives the same and has a quarter of the cells.
        maps[-1] = F.relu(resize(self.projection(maps[-1]), maps[-2].shape[-2:]))
        *finer, deepest = (
            whole[..., : math.ceil(height / stride), : math.ceil(width / stride)]
            for whole, stride in zip(maps, (*STRIDES[:-1], GRID_STRIDE), strict=True)
        )
        tokens, read = to_tokens(deepest), []
        for block in self.attention_blocks:
            tokens, seen = block(tokens)
            read.append(seen)
        features = (*finer, to_map(tokens, self.grid(height, width)))
        joined = Attention(*(torch.cat(parts, dim=1) for parts in zip(*read, strict=True))) if attention else None
        return EncoderOutput(features, joined)

    def _prepared(self, images: Tensor) -> Tensor:
        """Padded with ImageNet's mean color, which is 0, and normalized as the weights expect it."""
        below, right = (-side % self.multiple for side in images.shape[-2:])
        images = F.pad(images, (0, right, 0, below)) if below or right else images
        images = images * self.scale + self.shift
        # On a CPU, convolutions and batch norms take up to a fifth less time where channels lie next to each other.
        return images.contiguous(memory_format=torch.channels_last) if images.device.type == "cpu" else images

    def grid(self, height: int, width: int) -> Grid:
        """Token grid of an image of ``height`` x ``width`` pixels: a cell for every 16, rounded up."""
        return Grid(math.ceil(height / GRID_STRIDE), math.ceil(width / GRID_STRIDE))

    def attention_inputs(self) -> list[nn.Parameter]:
        """Weights and biases of the layers that make the queries and keys of the two blocks."""
        layers = (block.query_key for block in self.attention_blocks if isinstance(block, AttentionBlock))
        return [parameter for layer in layers for parameter in layer.parameters()]

    def new_parameters(self) -> list[nn.Parameter]:
        """The 1x1 convolution and the two blocks on top."""
        return [*self.projection.parameters(), *self.attention_blocks.parameters()]

    def norms(self) -> list[nn.Parameter]:
        """Weights and biases of norms of tokens and of cells: layer norms and RMS norms, timm's own among them.

        Batch norms and group norms are none: their weights and biases are trained with the body, at its rate.
        """
        from timm.layers import norm

        kinds = (*NORMS, norm.RmsNorm, norm.RmsNorm2d, norm.SimpleNorm, norm.SimpleNorm2d)
        return [
            parameter for module in self.modules() if isinstance(module, kinds) for parameter in module.parameters()
        ]

    def acts_in_training(self) -> bool:
        """Whether a part of timm's model, in its present mode, drops something or normalizes by the batch."""
        return any(part.training and acts_in_training(part) for part in self.body.modules())

    @property
    def smallest_side(self) -> int:
        """Pixels of a cell of the token grid."""
        return GRID_STRIDE

    @property
    def default_weights(self) -> str | None:
        """Where timm keeps the weights that go with the name; None where it keeps none on the hub."""
        repository, file = self.config.get("hf_hub_id"), self.config.get("hf_hub_filename")
        if not repository:
            return None
        return f"{HUB_PREFIX}{repository}" + (f"/{file}" if file else "")

    def from_file(self, weights: StateDict) -> Translated:
        """All tensors of this encoder, those of ``body`` from a file of another project, and the file's layout.

        The convolution and the blocks on top are in no such file and stay as they are.

        Raises:
            UserError: For weights of efficientnet-pytorch that do not fit the model.
        """
        own = self.state_dict()
        kept = {name.removeprefix(_BODY): name for name in own if name.startswith(_BODY)}
        found = in_timms_names(str(self.config["architecture"]), weights, kept)
        named = {kept.get(name, name): value for name, value in found.weights.items()}
        return Translated({**_left_as_they_are(own), **named}, found.title)


def _left_as_they_are(own: StateDict) -> dict[str, Tensor]:
    """What no file of timm's has to hold: the parts on top, and the counters of batch norms, which old files lack."""
    return {name: value for name, value in own.items() if not name.startswith(_BODY) or name.endswith(COUNTER)}


def create_timm_features(name: str, *, drop_path_rate: float = ModelSettings.drop_path_rate) -> TimmFeatureEncoder:
    """Builds a model of timm with two transformer blocks on top; all weights are random.

    Args:
        name: As timm has it, ``tf_efficientnet_lite0`` or ``convnext_tiny.fb_in22k``; see ``has_feature_maps``.
        drop_path_rate: Rate at the last block of timm's model, where it drops paths; the two blocks on top drop none.

    Raises:
        UserError: For a model without feature maps at strides 4, 8, 16 and 32, and for one that takes images of one
            size alone.
    """
    return TimmFeatureEncoder(build_body(name, drop_path_rate=drop_path_rate))
