"""Photos as tensors: normalization and resizing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of ImageNet's red, green and blue values, in 0-255."""


def constant(values: Sequence[float], like: Tensor) -> Float[Tensor, " d"]:
    """Numbers as float32 on the device of ``like``, without a device sync."""
    return torch.tensor(values, dtype=torch.float32).to(like.device, non_blocking=True)


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return constant(values, like).view(3, 1, 1)


def normalize(images: Shaped[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
    """(x - mean) / std of ImageNet, float32; ``images`` are RGB in 0-255, any dtype."""
    return (images.float() - _channels(IMAGENET_MEAN, images)).div_(_channels(IMAGENET_STD, images))


def truncated(images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
    """Photos in [0, 1] after the official code's round trip: normalized, scaled back to 0-255, truncated to integers.

    In float32 the round trip is not exact: about one value in 100 ends just below its integer and loses 1 of 255.
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


def sample_centers(maps: Shaped[Tensor, "H W"], size: Sequence[int]) -> Shaped[Tensor, "h w"]:
    """The values of ``maps`` at the centers of the pixels of an image of another ``size`` (height, width), unmixed."""
    rows, columns = (
        (2 * torch.arange(count, device=maps.device) + 1) * length // (2 * count)
        for count, length in zip(size, maps.shape, strict=True)
    )
    return maps[rows][:, columns]


def half_size(height: int, width: int) -> tuple[int, int]:
    """Half of the height and of the width, rounded down, at least one pixel each."""
    return max(1, height // 2), max(1, width // 2)


def source_coordinates(
    count: int, source: Int[Tensor, " b"], target: Int[Tensor, " b"], *, align_corners: bool = False
) -> Float[Tensor, "b {count}"]:
    """Where the first ``count`` pixels of a side of length ``target`` lie on a side of length ``source``, in pixels.

    The rule is that of ``resize``, with lengths for each image. Pixels past ``target`` stay at the last source pixel.
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
    """Bilinear samples of each image at rows and columns of its own, in pixels of ``maps``."""
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
