"""Reliable pixel labels by two background scores: foreground where sure, background where sure, else unknown."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from afa_wsss.ops.pseudo_label import argmax_labels, combine
from afa_wsss.supervision.par import PAR
from afa_wsss.supervision.refinement import Refinement, Refiner
from afa_wsss.supervision.scores import Walk, cam_scores, walk_scores
from afa_wsss.types import AffinityPairs

_PAR = PAR()


@torch.no_grad()
def labels_from_cam(
    images: Float[Tensor, "b 3 H W"],
    cam: Float[Tensor, "b k H W"],
    image_labels: Float[Tensor, "b k"],
    box: Int[Tensor, "b 4"],
    *,
    low: float,
    high: float,
    refinement: Refinement = _PAR,
    refiner: Refiner | None = None,
) -> UInt8[Tensor, "b H W"]:
    """Labels from class activation maps, refined (AFA, sections 3.2 and 3.4).

    Args:
        images: In [0, 1].
        cam: In [0, 1], at the images' size.
        image_labels: Multi-hot.
        box: (y0, y1, x0, x1) of the photo inside the crop.
        low: Background score beta_l: what stays background against it is background.
        high: Background score beta_h: what is foreground against it is foreground.
        refinement: How scores are refined.
        refiner: ``refinement.prepare`` of these photos, if it was made before.

    Returns:
        Classes, background 0, and 255 where the two disagree and outside the box.

    Example:
        >>> photo, cam = torch.rand(1, 3, 32, 32), torch.rand(1, 2, 32, 32)
        >>> box = torch.tensor([[0, 32, 0, 32]])
        >>> labels = labels_from_cam(photo, cam, torch.tensor([[1.0, 0.0]]), box, low=0.35, high=0.55)
        >>> set(labels.unique().tolist()) <= {0, 1, 255}
        True
    """
    refiner = refiner or refinement.refiner(images, box, full_frames=False)
    scores_low, scores_high = cam_scores(cam, image_labels, (low, high), refiner=refiner)
    return combine(argmax_labels(scores_low), argmax_labels(scores_high), box)


@torch.no_grad()
def labels_from_walk(
    images: Float[Tensor, "b 3 H W"],
    cam: Float[Tensor, "b k H W"],
    affinity: AffinityPairs | Float[Tensor, "b n n"],
    image_labels: Float[Tensor, "b k"],
    box: Int[Tensor, "b 4"],
    *,
    low: float,
    high: float,
    walk: Walk,
    refinement: Refinement = _PAR,
    refiner: Refiner | None = None,
) -> UInt8[Tensor, "b H W"]:
    """Labels from class activation maps spread by the random walk, then refined (AFA, sections 3.3 and 3.4).

    Args:
        images: In [0, 1].
        cam: In [0, 1], at the images' size.
        affinity: In (0, 1), of every pair of tokens; see ``walk_scores``.
        image_labels: Multi-hot.
        box: (y0, y1, x0, x1) of the photo inside the crop; the refinement sees nothing outside it.
        low: Background score beta_l.
        high: Background score beta_h.
        walk: Grid of the affinity, window, power and steps of the random walk.
        refinement: How scores are refined.
        refiner: ``refinement.prepare`` of these photos, if it was made before.

    Returns:
        Classes, background 0, and 255 where the two disagree and outside the box.
    """
    refiner = refiner or refinement.refiner(images, box, full_frames=False)
    scores = walk_scores(cam, affinity, image_labels, (low, high), walk=walk)
    scores_low, scores_high = refiner.refine_each(scores, in_boxes=True)
    return combine(argmax_labels(scores_low), argmax_labels(scores_high), box)
