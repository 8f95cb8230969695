"""How well a split of a photo into foreground and background is one of its colors, too."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def color_split(
    photos: Float[Tensor, "b 3 H W"], foreground: Bool[Tensor, "b t H W"], inside: Bool[Tensor, "b H W"]
) -> Float[Tensor, "b t"]:
    """Share of the variance of a photo's colors that lies between foreground and background, less for large foreground.

    Colors are those that are left when the plane that fits each channel best, over the photo's pixels, is taken out:
    light from one side, or sky above ground, makes halves of a photo differ that are no objects. With w the share of
    the pixels that are foreground, m_f and m_b the mean colors of foreground and background, and V the summed variance
    of the three channels, it is w (1 - w) |m_f - m_b|^2 / V times the square root of 1 - w. The first factor is what
    Otsu's method maximizes for gray values (IEEE Transactions on Systems, Man, and Cybernetics 1979, equation 18), here
    for colors and regions: 0 where both have the same mean color or one of them is empty, 1 where each has a single
    color. Alone it prefers halves; the second factor says that objects are smaller than what surrounds them
    (docs/real.md compares exponents). In float32 under autocast, too.

    Args:
        photos: RGB.
        foreground: ``t`` ways to split each photo.
        inside: Pixels that belong to the photo; the others do not count.

    Returns:
        In [0, 1]; 0 for a photo of a single color, and for one whose colors are such a plane.
    """
    with torch.autocast(photos.device.type, enabled=False):
        colors = without_trend(photos.float(), inside).flatten(2)
        chosen = (foreground & inside[:, None]).flatten(2).to(colors.dtype)
        pixels = inside.flatten(1).sum(1).clamp(min=1).to(colors.dtype)[:, None]
        variance = (colors.square().sum(2) / pixels).sum(1, keepdim=True)
        share = chosen.sum(2) / pixels
        # With s the sum of the foreground's colors over all pixels, whose mean is 0, the variance between is
        # |s|^2 / (w (1 - w)).
        sums = torch.einsum("btn,bcn->btc", chosen, colors) / pixels[..., None]
        between = sums.square().sum(2) / (share * (1 - share)).clamp(min=1e-6)
        explained = torch.where(variance > 1e-6, between / variance.clamp(min=1e-6), 0).clamp(0, 1)
        return explained * (1 - share).clamp(min=0).sqrt()


def without_trend(photos: Float[Tensor, "b c H W"], inside: Bool[Tensor, "b H W"]) -> Float[Tensor, "b c H W"]:
    """What is left of each channel without the plane a + b x + c y that fits its pixels best; 0 outside.

    Args:
        photos: Any channels.
        inside: Pixels that the plane is fitted to.
    """
    height, width = photos.shape[-2:]
    counted = inside[:, None].to(photos.dtype)
    left = photos * counted
    plane: list[Tensor] = []
    for basis in (torch.ones(1, 1), torch.linspace(-1, 1, width)[None], torch.linspace(-1, 1, height)[:, None]):
        axis = basis.to(photos) * counted
        for other in plane:  # orthogonal to those before
            axis = axis - (axis * other).sum((2, 3), keepdim=True) * other
        length = axis.square().sum((2, 3), keepdim=True).sqrt()
        axis = torch.where(length > 1e-3, axis / length.clamp(min=1e-3), 0)  # a photo of one row has no such axis
        left = left - (left * axis).sum((2, 3), keepdim=True) * axis
        plane.append(axis)
    return left
