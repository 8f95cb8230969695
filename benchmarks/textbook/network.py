"""The network with attention written out, every block's logits kept, and every branch run in every pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from afa_wsss.models import AFA
from afa_wsss.models.encoders.encoder import Grid, to_map, to_tokens
from afa_wsss.models.encoders.mix_block import MixBlock
from afa_wsss.types import AFAOutput


def attend(block: MixBlock, tokens: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(d)) v, and q k^T."""
    layer, source = block.attention, tokens
    if layer.reduction is not None and layer.reduction_norm is not None:
        source = layer.reduction_norm(to_tokens(layer.reduction(to_map(tokens, grid))))
    b, n, width = tokens.shape
    query = layer.query(tokens).reshape(b, n, layer.heads, width // layer.heads).permute(0, 2, 1, 3)
    key_value = layer.key_value(source).reshape(b, -1, 2, layer.heads, width // layer.heads).permute(2, 0, 3, 1, 4)
    logits = query @ key_value[0].transpose(-2, -1)
    attention = (logits * (width // layer.heads) ** -0.5).softmax(dim=-1)
    mixed = (attention @ key_value[1]).transpose(1, 2).reshape(b, n, width)
    return layer.output(mixed), logits.clone()


def feed_forward(block: MixBlock, tokens: Tensor, grid: Grid) -> Tensor:
    """Linear, depthwise convolution, GELU, linear."""
    layer = block.feed_forward
    mixed = to_tokens(layer.depthwise(to_map(layer.expand(tokens), grid)))
    return layer.contract(F.gelu(mixed))


def encode(network: AFA, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Features of all stages and the attention logits of all blocks."""
    features, attention, maps = [], [], images
    for stage in network.encoder.stages:
        tokens, grid = stage.embedding(maps)
        for block in stage.blocks:
            attended, logits = attend(block, block.attention_norm(tokens), grid)
            attention.append(logits)
            tokens = tokens + block.drop_path(attended)
            tokens = tokens + block.drop_path(feed_forward(block, block.feed_forward_norm(tokens), grid))
        maps = to_map(stage.norm(tokens), grid)
        features.append(maps)
    return features, attention


def forward(network: AFA, images: Tensor) -> AFAOutput:
    """All branches; the affinity as a 1 x 1 convolution of S + S^T."""
    features, attention = encode(network, images)
    logits = torch.cat(attention[-2:], dim=1)
    head = network.affinity_head
    affinity = torch.sigmoid(F.conv2d(logits + logits.transpose(-2, -1), head.weight, head.bias))[:, 0]
    pooled = F.adaptive_max_pool2d(features[-1], 1)
    cam = F.conv2d(features[-1], network.classifier.weight).detach()
    return AFAOutput(network.classifier(pooled).flatten(1), network.segmentation_head(features), affinity, cam)


@torch.no_grad()
def multi_scale_cam(
    network: AFA, images: Tensor, *, scales: tuple[float, ...] = (1.0, 0.5, 1.5)
) -> tuple[Tensor, Tensor]:
    """Maps of photos and their mirror images at each scale, and the affinity of the largest."""
    training = network.training
    network.eval()
    size, count = images.shape[-2:], images.shape[0]
    maps, affinities = [], []
    for scale in scales:
        scaled = images
        if scale != 1.0:
            scaled = F.interpolate(images, size=[int(s * scale) for s in size], mode="bilinear", align_corners=False)
        output = forward(network, torch.cat([scaled, scaled.flip(-1)]))
        cam = F.interpolate(output.cam, size=size, mode="bilinear", align_corners=False)
        maps.append(F.relu(torch.maximum(cam[:count], cam[count:].flip(-1))))
        affinities.append(output.affinity[:count])
    network.train(training)
    cam = torch.stack(maps).sum(dim=0)
    cam = cam - cam.amin(dim=(-2, -1), keepdim=True)
    cam = cam / (cam.amax(dim=(-2, -1), keepdim=True) + 1e-5)
    return cam, affinities[scales.index(max(scales))]
