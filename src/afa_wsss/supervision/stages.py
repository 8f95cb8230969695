"""The same maps read as labels after each stage of the method, to see what each adds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from afa_wsss.ops.pseudo_label import read_cam, strongest
from afa_wsss.supervision.scores import DEFAULT_PAR, PARSettings, Walk, cam_scores, refine_in_boxes, walk_scores


class LabelStages(NamedTuple):
    """Labels of every pixel, none ignored."""

    cam: UInt8[Tensor, "b H W"]
    cam_par: UInt8[Tensor, "b H W"]
    walk: UInt8[Tensor, "b H W"]
    walk_par: UInt8[Tensor, "b H W"]


@torch.no_grad()
def label_stages(
    images: Float[Tensor, "b 3 H W"],
    cam: Float[Tensor, "b k H W"],
    affinity: Float[Tensor, "b n n"],
    image_labels: Float[Tensor, "b k"],
    boxes: Int[Tensor, "b 4"],
    *,
    background: float,
    walk_background: float | None = None,
    walk: Walk,
    par: PARSettings | None = DEFAULT_PAR,
    full_frames: bool = False,
) -> LabelStages:
    """Reads the class activation maps plain, after PAR, after the walk, and after both.

    Args:
        images: In [0, 1].
        cam: In [0, 1], at the images' size.
        affinity: In (0, 1), of every pair of tokens.
        image_labels: Multi-hot.
        boxes: (y0, y1, x0, x1) of the photos inside the batch's frame.
        background: The one background score.
        walk_background: The one for what the walk has spread; None for ``background``.
        walk: Grid of the affinity, window and power of the random walk.
        par: How scores are refined; None to leave them, when the stages with and without PAR are equal.
        full_frames: Whether every photo is known to fill its frame: both refinements then share one kernel.
    """
    kernel = par.half_size_kernel(images) if par is not None and full_frames else None
    (refined,) = cam_scores(images, cam, image_labels, (background,), par=par, kernel=kernel)
    walk_background = background if walk_background is None else walk_background
    (walked,) = walk_scores(cam, affinity, image_labels, (walk_background,), walk=walk)
    both = walked if par is None else refine_in_boxes(images, walked, boxes, par=par, kernel=kernel)
    return LabelStages(
        read_cam(cam, image_labels, background),
        *(strongest(scores) for scores in (refined, walked, both)),
    )
