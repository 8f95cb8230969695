"""How well a split of a photo into foreground and background is one of its colors, too."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_TREND = (0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)
"""Powers of x and y in a trend."""

_LEAST_APART = 1e-3
"""Share of a split's variance that no trend explains; below it, as in photos of few pixels, it has no step to find."""


def color_split(
    photos: Float[Tensor, "b 3 H W"], foreground: Bool[Tensor, "b t H W"], inside: Bool[Tensor, "b H W"]
) -> Float[Tensor, "b t"]:
    """How much foreground and background differ in color at the same place, less for large foreground.

    Each channel is fitted by a trend and a step, a + b x + c y + d x^2 + e x y + f y^2 + g l with l = 1 in the
    foreground and 0 outside of it. The trend is what light and sky leave in a photo: its halves differ, and are no
    objects. With w the share of the pixels that are foreground, |g|^2 summed over the channels, and V the summed
    variance of the channels after the trend that fits the photo best without a step, it is

        min(1, w (1 - w) |g|^2 / V) sqrt(1 - w)

    Without a trend the first factor is what Otsu's method maximizes for gray values (IEEE Transactions on Systems, Man,
    and Cybernetics 1979, equation 18), here for colors and regions. Alone it prefers halves; the second factor says
    that objects are smaller than what surrounds them (docs/real.md compares both). In float32 under autocast, too.

    Args:
        photos: RGB.
        foreground: ``t`` ways to split each photo.
        inside: Pixels that belong to the photo; the others do not count.

    Returns:
        In [0, 1]; 0 where foreground or background is empty, and for a photo that is a trend.
    """
    with torch.autocast(photos.device.type, enabled=False):
        trends = trend_fields(inside).flatten(2)
        colors = (photos.float() * inside[:, None]).flatten(2)
        colors = colors - torch.einsum("bcp,bpn->bcn", torch.einsum("bcn,bpn->bcp", colors, trends), trends)
        pixels = inside.flatten(1).sum(1).clamp(min=1).to(colors.dtype)[:, None]
        variance = colors.square().sum((1, 2))[:, None] / pixels
        chosen = (foreground & inside[:, None]).flatten(2).to(colors.dtype)
        share = chosen.sum(2) / pixels
        split = share * (1 - share)
        products = torch.einsum("btn,bfn->btf", chosen, torch.cat([trends[:, 1:], colors], dim=1)) / pixels[..., None]
        along, with_colors = products[..., : len(_TREND) - 1], products[..., len(_TREND) - 1 :]
        # Variance of l that the trend does not explain; g is the covariance with it over this (Frisch and Waugh).
        apart = split - along.square().sum(2) * pixels
        step = with_colors.square().sum(2) / apart.square().clamp(min=1e-12)
        is_split = (variance > 1e-6) & (apart > _LEAST_APART * split.clamp(min=1e-6))
        between = torch.where(is_split, split * step / variance.clamp(min=1e-6), 0).clamp(0, 1)
        return between * (1 - share).clamp(min=0).sqrt()


def trend_fields(inside: Bool[Tensor, "b H W"]) -> Float[Tensor, "b 6 H W"]:
    """Orthonormal fields that span the polynomials of second degree in x and y; 0 outside.

    The first is constant. In a photo of few rows, some that follow from the others are 0.

    Args:
        inside: Pixels that belong to the photo.
    """
    height, width = inside.shape[-2:]
    counted = inside.float()
    pixels = counted.sum((1, 2), keepdim=True).clamp(min=1)
    x = torch.linspace(-1, 1, width, device=inside.device)[None, None]
    y = torch.linspace(-1, 1, height, device=inside.device)[None, :, None]
    x, y = (axis - (axis * counted).sum((1, 2), keepdim=True) / pixels for axis in (x, y))
    fields: list[Tensor] = []
    for of_x, of_y in _TREND:
        field = x**of_x * y**of_y * counted
        before = field.square().sum((1, 2), keepdim=True)
        for other in fields:
            field = field - (field * other).sum((1, 2), keepdim=True) * other
        square = field.square().sum((1, 2), keepdim=True)
        field = torch.where(square > 1e-6 * before, field / square.clamp(min=1e-12).sqrt(), 0)
        fields.append(field)
    return torch.stack(fields, dim=1)
