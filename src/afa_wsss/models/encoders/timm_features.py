"""Any model of timm with feature maps as AFA's backbone: ConvNeXt, EfficientNet, ResNet, Swin, MaxViT and others.

Such a model has stages, but no attention over its whole last grid that AFA could read. So two transformer blocks are
put on top. They add nothing at first: the features of the pretrained model pass through them unchanged, and training
decides what attention contributes. Their attention starts as the similarity of the model's own features.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.models.encoders.attention_block import AttentionBlock, Context
from afa_wsss.models.encoders.encoder import (
    READ_BLOCKS,
    Attention,
    EncoderOutput,
    Grid,
    to_map,
    to_tokens,
)
from afa_wsss.models.encoders.timm_body import GRID_STRIDE, STRIDES, TimmBody, build_body, feature_maps
from afa_wsss.models.encoders.timm_encoder import TimmEncoder
from afa_wsss.models.encoders.timm_weights import in_timms_names
from afa_wsss.models.settings import ModelSettings
from afa_wsss.models.weights.layouts import StateDict, Translated
from afa_wsss.models.weights.timm_layouts import COUNTER
from afa_wsss.ops.image import resize

WIDTH, HEADS = 256, 8
"""Channels and attention heads of the two blocks on top."""

AFFINITY_LOGIT = 8.0
"""Logit of the affinity of two tokens with the same context, at first; that of unlike ones is 0 on average."""

_BODY = "body."
"""Prefix of timm's tensors."""


class TimmFeatureEncoder(TimmEncoder):
    """A model of timm, its deepest features at stride 16, and two transformer blocks that start as the identity.

    The deepest map has stride 16 where timm can dilate the last stage; otherwise it is resized from stride 32. A 1x1
    convolution and ReLU bring it to 256 channels, so attention costs the same for all models, and class activation maps
    sum values of at least 0. No norm follows: a map that is normalized cell by cell loses the magnitude by which an
    object stands out from the background. Attention compares tokens by the model's last two maps, which are normalized
    for it alone.

    Images are padded at the right and the bottom, with the mean color, to sides that are multiples of ``multiple``, and
    the maps are cropped to the image again. Crops of whole multiples cost nothing extra; that matters for models with
    windows (MaxViT), where ``multiple`` is 224 or more.

    Attributes:
        body: timm's model, without its classifier and its last norm; its tensors have timm's names.
        taken: Indices of the feature maps among the model's intermediate results; None where it returns them itself.
        multiple: Images are padded to multiples of this many pixels.
    """

    def __init__(self, body: TimmBody) -> None:
        """``body`` comes from ``build_body``."""
        super().__init__(body.config)
        self.body, self.taken, self.multiple = body.model, body.taken, body.multiple
        self.widths = (*body.channels[:-1], WIDTH)
        self.attention_channels = READ_BLOCKS * HEADS
        self.projection = nn.Conv2d(body.channels[-1], WIDTH, 1)
        self.context = Context(body.channels[-2:], WIDTH)
        self.attention_blocks = nn.ModuleList(AttentionBlock(WIDTH, HEADS) for _ in range(READ_BLOCKS))

    @property
    def timm_model(self) -> Any:
        """``body``."""
        return self.body

    def encode(self, images: Float[Tensor, "b 3 H W"], *, attention: bool) -> EncoderOutput:
        """Feature maps at strides 4, 8, 16 and 16; a map has ceil(side / stride) cells."""
        height, width = images.shape[-2:]
        maps = feature_maps(self.body, self.taken, self._prepared(images))
        grid = self.grid(height, width)
        context = self.context(maps[-2:], grid)
        # A projection of each cell commutes with resizing, and before it there are a quarter of the cells.
        maps[-1] = F.relu(resize(self.projection(maps[-1]), maps[-2].shape[-2:]))
        *finer, deepest = (
            whole[..., : math.ceil(height / stride), : math.ceil(width / stride)]
            for whole, stride in zip(maps, (*STRIDES[:-1], GRID_STRIDE), strict=True)
        )
        tokens, read = to_tokens(deepest), []
        for block in self.attention_blocks:
            tokens, seen = block(tokens, context)
            read.append(seen)
        features = (*finer, to_map(tokens, grid))
        joined = Attention(*(torch.cat(parts, dim=1) for parts in zip(*read, strict=True))) if attention else None
        return EncoderOutput(features, joined)

    def _prepared(self, images: Tensor) -> Tensor:
        """Padded with ImageNet's mean color, which is 0 in normalized images, and normalized for the weights."""
        below, right = (-side % self.multiple for side in images.shape[-2:])
        images = F.pad(images, (0, right, 0, below)) if below or right else images
        images = self.normalized(images)
        # On a CPU, convolutions and batch norms take up to a fifth less time where channels lie next to each other.
        return images.contiguous(memory_format=torch.channels_last) if images.device.type == "cpu" else images

    def grid(self, height: int, width: int) -> Grid:
        """Token grid of an image of ``height`` x ``width`` pixels: a cell for every 16, rounded up."""
        return Grid(math.ceil(height / GRID_STRIDE), math.ceil(width / GRID_STRIDE))

    def attention_inputs(self) -> list[nn.Parameter]:
        """Weights and biases of the layers that make the queries and keys of the two blocks."""
        layers = (block.query_key for block in self.attention_blocks if isinstance(block, AttentionBlock))
        return [parameter for layer in (*self.context.mixes, *layers) for parameter in layer.parameters()]

    def new_parameters(self) -> list[nn.Parameter]:
        """The 1x1 convolution, the contexts and the two blocks on top."""
        parts = (self.projection, self.context, self.attention_blocks)
        return [parameter for part in parts for parameter in part.parameters()]

    @property
    def affinity_start(self) -> float:
        """The sum of q k^T over all heads and its transpose, so weighted, is ``AFFINITY_LOGIT`` for one context."""
        return AFFINITY_LOGIT / (2 * READ_BLOCKS * WIDTH)

    @property
    def smallest_side(self) -> int:
        """Pixels of a cell of the token grid."""
        return GRID_STRIDE

    def from_file(self, weights: StateDict) -> Translated:
        """All tensors of this encoder, those of ``body`` from a file of timm's or of another project.

        No such file has the convolution and the blocks on top; they keep their values.

        Raises:
            UserError: For weights of efficientnet-pytorch that do not fit the model.
        """
        own = self.state_dict()
        kept = {name.removeprefix(_BODY): name for name in own if name.startswith(_BODY)}
        found = in_timms_names(str(self.config["architecture"]), weights, kept)
        named = {kept.get(name, name): value for name, value in found.weights.items()}
        return Translated({**_left_as_they_are(own), **named}, found.title)


def _left_as_they_are(own: StateDict) -> dict[str, Tensor]:
    """Tensors that no such file has to hold: the parts on top, and counters of batch norms, which old files lack."""
    return {name: value for name, value in own.items() if not name.startswith(_BODY) or name.endswith(COUNTER)}


def create_timm_features(name: str, *, drop_path_rate: float = ModelSettings.drop_path_rate) -> TimmFeatureEncoder:
    """Builds a model of timm with two transformer blocks on top; all weights are random.

    Args:
        name: timm's name of the model, as ``tf_efficientnet_lite0`` or ``convnext_tiny.fb_in22k``; see
            ``has_feature_maps``.
        drop_path_rate: Drop path rate at the last block of timm's model, where it has any; the two blocks on top drop
            no paths.

    Raises:
        UserError: For a model without feature maps at strides 4, 8, 16 and 32, and for one that takes images of one
            size only.
    """
    return TimmFeatureEncoder(build_body(name, drop_path_rate=drop_path_rate))
