"""What the labels at each candidate for a background score would be like in a batch of photos."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from afa_wsss.ops.color_split import color_split
from afa_wsss.ops.image import resize
from afa_wsss.ops.pseudo_label import argmax_labels, background_scores, box_mask
from afa_wsss.supervision.found_thresholds import CANDIDATES, LOOKED_AT, Look
from afa_wsss.supervision.maps import Maps
from afa_wsss.supervision.refinement import Refinement, Refiner
from afa_wsss.supervision.scores import Walk, cam_scores, walked
from afa_wsss.types import Batch

_AT_ONCE = 7
"""Candidates whose refined scores are in memory at a time."""


@torch.no_grad()
def look_at_candidates(maps: Maps, batch: Batch, *, refinement: Refinement, walk: Walk | None) -> Look:
    """A look at the first ``LOOKED_AT`` photos of a batch by their labels after refinement.

    Args:
        maps: Of the whole batch.
        batch: Its photos and boxes.
        refinement: What labels of training are refined with.
        walk: For labels after the walk; None for labels from the CAM.
    """
    photos, boxes = batch.images[:LOOKED_AT].float() / 255, batch.boxes[:LOOKED_AT]
    present, inside = maps.present.labels[:LOOKED_AT], box_mask(boxes, *photos.shape[-2:])
    refiner = refinement.prepare(photos, boxes, full_frames=batch.full_frames)
    splits, shares = [], []
    for start in range(0, len(CANDIDATES), _AT_ONCE):
        thresholds = CANDIDATES[start : start + _AT_ONCE]
        scores = (
            cam_scores(maps.cam[:LOOKED_AT], present, thresholds, refiner=refiner)
            if walk is None
            else _walk_scores(maps, thresholds, walk, refiner)
        )
        foreground = torch.stack([argmax_labels(each) > 0 for each in scores], dim=1)
        splits.append(color_split(photos, foreground, inside))
        pixels = inside.sum(dim=(1, 2)).clamp(min=1)[:, None]
        shares.append((foreground & inside[:, None]).sum(dim=(2, 3)) / pixels)
    return Look(torch.cat(splits, dim=1), torch.cat(shares, dim=1), (present.sum(dim=1) > 0).to(photos.dtype))


def _walk_scores(
    maps: Maps, thresholds: tuple[float, ...], walk: Walk, refiner: Refiner
) -> tuple[Float[Tensor, "b c H W"], ...]:
    """Refined scores after the walk; all photos walk, since the affinity is that of the whole batch."""
    tokens = resize(maps.cam, walk.grid)
    scores = [background_scores(tokens, maps.present.labels, threshold) for threshold in thresholds]
    moved = walked(torch.cat(scores, dim=1), maps.affinity, walk)[:LOOKED_AT]
    return refiner.refine_each(resize(moved, maps.cam.shape[-2:]).chunk(len(thresholds), dim=1), in_boxes=True)
