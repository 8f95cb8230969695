"""What the labels at each candidate for a background score would be like in a batch of photos."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.evaluation.label_counts import confusions
from afa_wsss.ops.color_split import color_split
from afa_wsss.ops.pseudo_label import argmax_labels, box_mask
from afa_wsss.supervision.found_thresholds import Look
from afa_wsss.supervision.maps import Maps
from afa_wsss.supervision.recent_splits import LOOKED_AT
from afa_wsss.supervision.refinement import Refinement
from afa_wsss.supervision.score_curves import CANDIDATES
from afa_wsss.supervision.scores import Walk, cam_scores, walk_scores
from afa_wsss.types import IGNORE_INDEX, Batch

_AT_ONCE = 7
"""Candidates whose refined scores are in memory at a time."""


@torch.no_grad()
def look_at_candidates(maps: Maps, batch: Batch, *, refinement: Refinement, walk: Walk | None) -> Look:
    """A look at the first ``LOOKED_AT`` photos of a batch that have a class, by their labels after refinement.

    Waits for the device once, to leave out photos without a class.

    Args:
        maps: Maps and affinity of the whole batch.
        batch: Photos and boxes.
        refinement: What labels of training are refined with.
        walk: For labels after the walk; None for labels from the CAM.
    """
    chosen = maps.present.labels.any(dim=1).nonzero().flatten()[:LOOKED_AT]
    left_out = min(LOOKED_AT, len(maps.cam)) - len(chosen)
    if len(chosen) == 0:
        nothing = maps.cam.new_zeros(0, len(CANDIDATES))
        return Look(nothing, nothing, left_out)
    photos, inside = batch.images[chosen].float() / 255, _inside(batch)[chosen]
    pixels = inside.sum(dim=(1, 2)).clamp(min=1)[:, None]
    splits, shares = [], []
    for labels in candidate_labels(maps, batch, refinement=refinement, walk=walk, chosen=chosen):
        foreground = labels > 0
        splits.append(color_split(photos, foreground, inside))
        shares.append((foreground & inside[:, None]).sum(dim=(2, 3)) / pixels)
    return Look(torch.cat(splits, dim=1), torch.cat(shares, dim=1), left_out)


@torch.no_grad()
def compare_candidates(
    maps: Maps, batch: Batch, *, classes: int, refinement: Refinement, walk: Walk | None
) -> Int[Tensor, "t {classes} {classes}"]:
    """Pixels by class at each of ``CANDIDATES``: rows are the masks' classes, columns those of labels after refinement.

    Args:
        maps: Maps and affinity of the batch.
        batch: Photos with masks of their size; 255 and what lies outside the boxes is not counted.
        classes: Number of classes of masks and labels, background included.
        refinement: What labels are refined with.
        walk: For labels after the walk; None for labels from the CAM.

    Raises:
        UserError: For photos without masks.
    """
    if batch.masks is None:
        raise UserError("need masks to compare labels with, the photos have none")
    target = batch.masks.masked_fill(~_inside(batch), IGNORE_INDEX)
    counts = [
        confusions(maps.present.named(labels.flatten(1, 2)).view_as(labels).transpose(0, 1), target, classes=classes)
        for labels in candidate_labels(maps, batch, refinement=refinement, walk=walk)
    ]
    return torch.cat(counts)


def _inside(batch: Batch) -> Bool[Tensor, "b H W"]:
    return box_mask(batch.boxes, *batch.images.shape[-2:])


def candidate_labels(
    maps: Maps, batch: Batch, *, refinement: Refinement, walk: Walk | None, chosen: Int[Tensor, " n"] | None = None
) -> Iterator[UInt8[Tensor, "n t H W"]]:
    """Labels of the slots of ``maps`` at all ``CANDIDATES``, a few at a time, of ``chosen`` photos or of all."""
    photos = slice(None) if chosen is None else chosen
    present = maps.present.labels[photos]
    images, boxes = batch.images[photos].float() / 255, batch.boxes[photos]
    refiner = refinement.refiner(images, boxes, full_frames=batch.full_frames)
    for start in range(0, len(CANDIDATES), _AT_ONCE):
        thresholds = CANDIDATES[start : start + _AT_ONCE]
        if walk is None:
            scores = cam_scores(maps.cam[photos], present, thresholds, refiner=refiner)
        else:
            moved = walk_scores(maps.cam, maps.affinity, maps.present.labels, thresholds, walk=walk, chosen=chosen)
            scores = refiner.refine_each(moved, in_boxes=True)
        yield torch.stack([argmax_labels(each) for each in scores], dim=1)
