"""What the labels at each candidate for a background score would be like in a batch of photos."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.evaluation.label_counts import confusions
from afa_wsss.ops.color_split import color_split
from afa_wsss.ops.image import resize
from afa_wsss.ops.pseudo_label import argmax_labels, background_scores, box_mask
from afa_wsss.supervision.found_thresholds import LOOKED_AT, Look
from afa_wsss.supervision.maps import Maps
from afa_wsss.supervision.refinement import Refinement, Refiner
from afa_wsss.supervision.score_curves import CANDIDATES
from afa_wsss.supervision.scores import Walk, cam_scores, walked
from afa_wsss.types import IGNORE_INDEX, Batch

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
    photos, inside = batch.images[:LOOKED_AT].float() / 255, _inside(batch)[:LOOKED_AT]
    pixels = inside.sum(dim=(1, 2)).clamp(min=1)[:, None]
    splits, shares = [], []
    for labels in candidate_labels(maps, batch, refinement=refinement, walk=walk, most=LOOKED_AT):
        foreground = labels > 0
        splits.append(color_split(photos, foreground, inside))
        shares.append((foreground & inside[:, None]).sum(dim=(2, 3)) / pixels)
    counted = maps.present.labels[:LOOKED_AT].sum(dim=1) > 0
    return Look(torch.cat(splits, dim=1), torch.cat(shares, dim=1), counted.to(photos.dtype))


@torch.no_grad()
def compare_candidates(
    maps: Maps, batch: Batch, *, classes: int, refinement: Refinement, walk: Walk | None
) -> Int[Tensor, "t {classes} {classes}"]:
    """Pixels by class at each of ``CANDIDATES``: rows are the masks' classes, columns those of labels after refinement.

    Args:
        maps: Of the batch.
        batch: Photos with masks of their size; 255 and what lies outside the boxes is not counted.
        classes: Of masks and labels, the background among them.
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
    maps: Maps, batch: Batch, *, refinement: Refinement, walk: Walk | None, most: int | None = None
) -> Iterator[UInt8[Tensor, "b t H W"]]:
    """Labels of the slots of ``maps`` at all ``CANDIDATES``, a few at a time, of the first ``most`` photos."""
    photos, boxes, present = batch.images[:most].float() / 255, batch.boxes[:most], maps.present.labels[:most]
    refiner = refinement.refiner(photos, boxes, full_frames=batch.full_frames)
    for start in range(0, len(CANDIDATES), _AT_ONCE):
        thresholds = CANDIDATES[start : start + _AT_ONCE]
        scores = (
            cam_scores(maps.cam[:most], present, thresholds, refiner=refiner)
            if walk is None
            else _walk_scores(maps, thresholds, walk, refiner, most=most)
        )
        yield torch.stack([argmax_labels(each) for each in scores], dim=1)


def _walk_scores(
    maps: Maps, thresholds: tuple[float, ...], walk: Walk, refiner: Refiner, *, most: int | None
) -> tuple[Float[Tensor, "b c H W"], ...]:
    """Refined scores after the walk; all photos walk, since the affinity is that of the whole batch."""
    tokens = resize(maps.cam, walk.grid)
    scores = [background_scores(tokens, maps.present.labels, threshold) for threshold in thresholds]
    moved = walked(torch.cat(scores, dim=1), maps.affinity, walk)[:most]
    return refiner.refine_each(resize(moved, maps.cam.shape[-2:]).chunk(len(thresholds), dim=1), in_boxes=True)
