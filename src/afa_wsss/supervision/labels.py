"""Reliable labels of pixels, by two background scores: foreground where sure, background where sure, else unknown."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from afa_wsss.ops.par import PARKernel
from afa_wsss.ops.pseudo_label import combine, strongest
from afa_wsss.supervision.scores import DEFAULT_PAR, PARSettings, Walk, cam_scores, refine_in_boxes, walk_scores


@torch.no_grad()
def labels_from_cam(
    images: Float[Tensor, "b 3 H W"],
    cam: Float[Tensor, "b k H W"],
    image_labels: Float[Tensor, "b k"],
    box: Int[Tensor, "b 4"],
    *,
    low: float,
    high: float,
    par: PARSettings | None = DEFAULT_PAR,
    kernel: PARKernel | None = None,
) -> UInt8[Tensor, "b H W"]:
    """Labels from class activation maps and PAR (AFA, section 3.2; DESIGN, step 6).

    Args:
        images: In [0, 1].
        cam: In [0, 1], at the images' size.
        image_labels: Multi-hot.
        box: (y0, y1, x0, x1) of the photo inside the crop.
        low: Background score beta_l: what stays background against it is background.
        high: Background score beta_h: what is foreground against it is foreground.
        par: How scores are refined; None to leave them.
        kernel: ``par.half_size_kernel(images)``, where it was made before.

    Returns:
        Classes, background 0, and 255 where the two disagree and outside of the box.
    """
    scores_low, scores_high = cam_scores(images, cam, image_labels, (low, high), par=par, kernel=kernel)
    return combine(strongest(scores_low), strongest(scores_high), box)


@torch.no_grad()
def labels_from_walk(
    images: Float[Tensor, "b 3 H W"],
    cam: Float[Tensor, "b k H W"],
    affinity: Float[Tensor, "b n n"],
    image_labels: Float[Tensor, "b k"],
    box: Int[Tensor, "b 4"],
    *,
    low: float,
    high: float,
    walk: Walk,
    par: PARSettings | None = DEFAULT_PAR,
    kernel: PARKernel | None = None,
) -> UInt8[Tensor, "b H W"]:
    """Labels from class activation maps spread by the random walk, then PAR (AFA, section 3.3; DESIGN, steps 9-10).

    Args:
        images: In [0, 1].
        cam: In [0, 1], at the images' size.
        affinity: In (0, 1), of every pair of tokens.
        image_labels: Multi-hot.
        box: (y0, y1, x0, x1) of the photo inside the crop; PAR sees nothing outside of it.
        low: Background score beta_l.
        high: Background score beta_h.
        walk: Grid of the affinity, window and power of the random walk.
        par: How scores are refined; None to leave them.
        kernel: ``par.half_size_kernel(images)``, where it was made before and every box is the whole frame.

    Returns:
        As ``labels_from_cam``.
    """
    scores = torch.cat(walk_scores(cam, affinity, image_labels, (low, high), walk=walk), dim=1)
    if par is not None:
        scores = refine_in_boxes(images, scores, box, par=par, kernel=kernel)
    scores_low, scores_high = scores.chunk(2, dim=1)
    return combine(strongest(scores_low), strongest(scores_high), box)
