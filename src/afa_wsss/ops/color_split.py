"""How well a split of a photo into foreground and background is one of its colors, too."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def color_split(
    photos: Float[Tensor, "b 3 H W"], foreground: Bool[Tensor, "b t H W"], inside: Bool[Tensor, "b H W"]
) -> Float[Tensor, "b t"]:
    """Share of the variance of a photo's colors that lies between foreground and background, less for large foreground.

    With w the share of the pixels that are foreground, m_f and m_b the mean colors of foreground and background, and V
    the summed variance of the three channels, it is w (1 - w) |m_f - m_b|^2 / V times the square root of 1 - w. The
    first factor is what Otsu's method maximizes for gray values (IEEE Transactions on Systems, Man, and Cybernetics
    1979, equation 18), here for colors and regions: 0 where both have the same mean color or one of them is empty, 1
    where each has a single color. Alone it prefers halves; the second factor says that objects are smaller than what
    surrounds them (docs/real.md compares exponents).

    Args:
        photos: RGB.
        foreground: ``t`` ways to split each photo.
        inside: Pixels that belong to the photo; the others do not count.

    Returns:
        In [0, 1]; 0 for a photo of a single color.
    """
    colors = (photos * inside[:, None]).flatten(2)
    chosen = (foreground & inside[:, None]).flatten(2).to(photos.dtype)
    pixels = inside.flatten(1).sum(1).clamp(min=1).to(photos.dtype)[:, None]
    mean = colors.sum(2) / pixels
    variance = (colors.square().sum(2) / pixels - mean.square()).sum(1, keepdim=True)
    share = chosen.sum(2) / pixels
    # With s the sum of the foreground's colors over all pixels, the variance between is |s - w m|^2 / (w (1 - w)).
    excess = torch.einsum("btn,bcn->btc", chosen, colors) / pixels[..., None] - share[..., None] * mean[:, None]
    between = excess.square().sum(2) / (share * (1 - share)).clamp(min=1e-6)
    explained = torch.where(variance > 1e-6, between / variance.clamp(min=1e-6), 0).clamp(0, 1)
    return explained * (1 - share).clamp(min=0).sqrt()
