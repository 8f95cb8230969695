"""The bilateral filter: a Gaussian of the distance and of the difference in color, between all pairs of pixels.

Exact sums have (H W)^2 terms; the permutohedral lattice approximates them with a few terms for each pixel.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from afa_wsss.errors import check_above_0
from afa_wsss.ops.permutohedral import Lattice, lattice_filter, permutohedral_lattice


def position_features(images: Shaped[Tensor, "b 3 H W"], *, sigma_xy: float) -> Float[Tensor, "b m 2"]:
    """Column and row of every pixel, divided by ``sigma_xy`` (pixels); m = H * W.

    Raises:
        UserError: For a width that is not above 0.
    """
    check_above_0({"sigma_xy": sigma_xy})
    b, _, height, width = images.shape
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    rows, columns = (torch.arange(side, device=images.device, dtype=dtype) / sigma_xy for side in (height, width))
    places = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=-1)
    return places.reshape(1, height * width, 2).expand(b, -1, -1)


def bilateral_features(
    images: Shaped[Tensor, "b 3 H W"], *, sigma_rgb: float, sigma_xy: float
) -> Float[Tensor, "b m 5"]:
    """Column and row divided by ``sigma_xy`` (pixels); red, green and blue in 0-255 divided by ``sigma_rgb``.

    Raises:
        UserError: For a width that is not above 0.
    """
    check_above_0({"sigma_rgb": sigma_rgb})
    places = position_features(images, sigma_xy=sigma_xy)
    colors = images.flatten(2).transpose(1, 2).to(places.dtype) / sigma_rgb
    return torch.cat([places, colors], dim=2)


def bilateral_lattice(images: Shaped[Tensor, "b 3 H W"], *, sigma_rgb: float, sigma_xy: float) -> Lattice:
    """The filter of a batch of photos in 0-255, any dtype; it serves any number of maps of these photos."""
    return permutohedral_lattice(bilateral_features(images, sigma_rgb=sigma_rgb, sigma_xy=sigma_xy))


def position_lattice(images: Shaped[Tensor, "b 3 H W"], *, sigma_xy: float) -> Lattice:
    """The Gaussian filter of the distance alone; of ``images`` only the size counts."""
    return permutohedral_lattice(position_features(images, sigma_xy=sigma_xy))


def filter_maps(lattice: Lattice, maps: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
    """The filter applied to each channel of each image; differentiable in ``maps``."""
    b, c, height, width = maps.shape
    filtered = lattice_filter(lattice, maps.permute(0, 2, 3, 1).reshape(b * height * width, c))
    return filtered.view(b, height, width, c).permute(0, 3, 1, 2)


def bilateral_filter(
    images: Shaped[Tensor, "b 3 H W"], maps: Float[Tensor, "b c H W"], *, sigma_rgb: float, sigma_xy: float
) -> Float[Tensor, "b c H W"]:
    """Approximates sum_j exp(-|x_i - x_j|^2 / (2 sigma_xy^2) - |I_i - I_j|^2 / (2 sigma_rgb^2)) v_j, j = i included.

    ``permutohedral_lattice`` states the error. A map of ones gives the row sums of the kernel; filtered maps divided by
    these are averages. Differentiable in ``maps``.

    Args:
        images: RGB in 0-255, any dtype; with float64 the whole filter runs in float64.
        maps: Values v, at the photos' size.
        sigma_rgb: Width in color values of 0-255.
        sigma_xy: Width in pixels.

    Raises:
        UserError: For widths that are not above 0, or so small that int64 cannot number the corners of the lattice.
    """
    return filter_maps(bilateral_lattice(images, sigma_rgb=sigma_rgb, sigma_xy=sigma_xy), maps)
