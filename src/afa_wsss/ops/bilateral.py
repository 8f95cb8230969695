"""The bilateral filter: a Gaussian of the distance and of the difference in colour, between all pairs of pixels.

Exact sums would need (H W)^2 terms; the permutohedral lattice needs a few for each pixel.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.ops.permutohedral import Lattice, lattice_filter, permutohedral_lattice


def position_features(images: Shaped[Tensor, "b 3 H W"], *, sigma_xy: float) -> Float[Tensor, "b m 2"]:
    """Column and row of every pixel, over ``sigma_xy`` (pixels); m = H * W."""
    if sigma_xy <= 0:
        raise UserError(f"need a sigma_xy above 0, got {sigma_xy}")
    b, _, height, width = images.shape
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    rows, columns = (torch.arange(side, device=images.device, dtype=dtype) / sigma_xy for side in (height, width))
    places = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=-1)
    return places.reshape(1, height * width, 2).expand(b, -1, -1)


def bilateral_features(
    images: Shaped[Tensor, "b 3 H W"], *, sigma_rgb: float, sigma_xy: float
) -> Float[Tensor, "b m 5"]:
    """Column and row over ``sigma_xy`` (pixels), and red, green and blue over ``sigma_rgb``; images in 0-255."""
    if sigma_rgb <= 0:
        raise UserError(f"need a sigma_rgb above 0, got {sigma_rgb}")
    places = position_features(images, sigma_xy=sigma_xy)
    colours = images.flatten(2).transpose(1, 2).to(places.dtype) / sigma_rgb
    return torch.cat([places, colours], dim=2)


def bilateral_lattice(images: Shaped[Tensor, "b 3 H W"], *, sigma_rgb: float, sigma_xy: float) -> Lattice:
    """The filter of a batch of photos in 0-255, of any type; it depends on them alone and serves any number of maps."""
    return permutohedral_lattice(bilateral_features(images, sigma_rgb=sigma_rgb, sigma_xy=sigma_xy))


def position_lattice(images: Shaped[Tensor, "b 3 H W"], *, sigma_xy: float) -> Lattice:
    """The Gaussian filter of the distance alone."""
    return permutohedral_lattice(position_features(images, sigma_xy=sigma_xy))


def filter_maps(lattice: Lattice, maps: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
    """K of each channel of each image; differentiable in ``maps``."""
    b, c, height, width = maps.shape
    filtered = lattice_filter(lattice, maps.permute(0, 2, 3, 1).reshape(b * height * width, c))
    return filtered.view(b, height, width, c).permute(0, 3, 1, 2)


def bilateral_filter(
    images: Shaped[Tensor, "b 3 H W"], maps: Float[Tensor, "b c H W"], *, sigma_rgb: float, sigma_xy: float
) -> Float[Tensor, "b c H W"]:
    """About sum_j exp(-|x_i - x_j|^2 / (2 sigma_xy^2) - |I_i - I_j|^2 / (2 sigma_rgb^2)) v_j over the photo, j = i too.

    How near the lattice comes is said at ``permutohedral_lattice``. A map of 1 gives the sums of the kernel's rows;
    divided by these, filtered maps are averages. Differentiable in ``maps``.

    Args:
        images: In 0-255, of any type; float64 has the whole filter in float64.
        maps: At the photos' size.
        sigma_rgb: Width in colours.
        sigma_xy: Width in pixels.

    Raises:
        UserError: For widths that are not above 0, or so small that int64 cannot tell the lattice's corners apart.
    """
    return filter_maps(bilateral_lattice(images, sigma_rgb=sigma_rgb, sigma_xy=sigma_xy), maps)
