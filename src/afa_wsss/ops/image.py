"""Photos as tensors: normalising, and resizing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Of the red, green and blue values of ImageNet, in 0-255."""


def constant(values: Sequence[float], like: Tensor) -> Float[Tensor, " d"]:
    """Numbers as float32 where ``like`` lies; a GPU is not waited for."""
    return torch.tensor(values, dtype=torch.float32).to(like.device, non_blocking=True)


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return constant(values, like).view(3, 1, 1)


def normalize(images: Shaped[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
    """(x - mean) / std of ImageNet, float32; ``images`` in 0-255, of any type."""
    return (images.float() - _channels(IMAGENET_MEAN, images)).div_(_channels(IMAGENET_STD, images))


def denormalize(images: Float[Tensor, "b 3 H W"]) -> Shaped[Tensor, "b 3 H W"]:
    """The uint8 images in 0-255 of which ``normalize`` made ``images``."""
    values = images.float() * _channels(IMAGENET_STD, images) + _channels(IMAGENET_MEAN, images)
    return values.round().clamp(0, 255).to(torch.uint8)


def truncated(images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
    """Photos in [0, 1] after the round trip of the official code: normalised, back to 0-255, cut off to whole numbers.

    float32 comes back a little under or over the whole number that it left from: about one value in 100 falls by one.
    """
    values = normalize((images * 255).round()) * _channels(IMAGENET_STD, images) + _channels(IMAGENET_MEAN, images)
    return values.clamp(0, 255).trunc() / 255


def resize(
    maps: Float[Tensor, "b d h w"], size: Sequence[int], *, align_corners: bool = False
) -> Float[Tensor, "b d H W"]:
    """Bilinear interpolation to ``size`` (height, width); the input itself where it has that size."""
    if maps.shape[-2:] == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=align_corners)


def source_coordinates(
    count: int, source: Int[Tensor, " b"], target: Int[Tensor, " b"], *, align_corners: bool = False
) -> Float[Tensor, "b {count}"]:
    """Where the first ``count`` pixels of a side of length ``target`` lie on a side of length ``source``.

    The same rule as ``resize``, with lengths of each image's own. Pixels past ``target`` stay at the last source pixel.
    """
    places = torch.arange(count, device=source.device, dtype=torch.float32)
    source, target = source.float()[:, None], target.float()[:, None]
    if align_corners:
        coordinates = places * (source - 1) / (target - 1).clamp(min=1)
    else:
        coordinates = (places + 0.5) * source / target.clamp(min=1) - 0.5
    return torch.minimum(coordinates.clamp(min=0), (source - 1).clamp(min=0))


def resample(
    maps: Float[Tensor, "b d h w"], rows: Float[Tensor, "b H"], columns: Float[Tensor, "b W"]
) -> Float[Tensor, "b d H W"]:
    """Bilinear values of each image at its own ``rows`` and ``columns``, in pixels of ``maps``."""
    return _lerp(_lerp(maps, rows, dim=2), columns, dim=3)


def _lerp(maps: Tensor, places: Tensor, *, dim: int) -> Tensor:
    """Linear interpolation along one dimension."""
    lower = places.floor().clamp(0, maps.shape[dim] - 1)
    upper = (lower + 1).clamp(max=maps.shape[dim] - 1)
    shape = [places.shape[0], 1, 1, 1]
    shape[dim] = places.shape[1]
    index_shape = list(maps.shape)
    index_shape[dim] = places.shape[1]
    below, above = (maps.gather(dim, side.long().view(shape).expand(index_shape)) for side in (lower, upper))
    return torch.lerp(below, above, (places - lower).view(shape).to(maps.dtype))
