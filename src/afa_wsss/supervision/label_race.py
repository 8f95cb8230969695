"""Many settings of the labels on many photos: the worse drop out early, the best are compared on all photos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from afa_wsss.data.loading.held_out import HeldOut
from afa_wsss.evaluation.label_counts import confusions, curve
from afa_wsss.evaluation.resampled import counts_of
from afa_wsss.inference.views import Viewed, Views
from afa_wsss.ops.full_size import enlarge_labels
from afa_wsss.ops.image import normalize
from afa_wsss.supervision.label_sweep import REFINED, Study, stage_labels, stage_names

FIRST_STOP, SECOND_STOP = 12, 4
"""A twelfth and a quarter of the photos: where walks drop out."""

LEAST = 8
"""Photos that every walk is compared on, at least."""


@dataclass
class Tally:
    """Pixels of one stage at every background score.

    Attributes:
        total: Confusion matrices over its photos.
        photos: Hits and labeled pixels (t, c) and targets (c) of each photo.
    """

    total: Int[Tensor, "t c c"]
    photos: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def add(self, found: Int[Tensor, "t c c"]) -> None:
        """Counts a photo."""
        found = found.cpu()
        self.total += found
        hits, labeled, targets = counts_of(found)
        self.photos.append((hits.int(), labeled.int(), targets.int()))

    def miou(self) -> Float[Tensor, " t"]:
        """In percent, at every background score."""
        return curve(self.total)


def stops(total: int, walks: int, keep: int) -> dict[int, int]:
    """After how many photos how many walks go on; the walk of the checkpoint goes on in any case.

    Example:
        >>> stops(445, 12, 3)
        {37: 6, 111: 3}
    """
    if walks <= keep:
        return {}
    first, second = max(total // FIRST_STOP, LEAST), max(total // SECOND_STOP, LEAST + 1)
    return {first: max(walks // 2, keep), second: keep}


@torch.inference_mode()
def race(
    network: Viewed, study: Study, photos: Iterator[HeldOut], *, total: int, own: str, keep: int
) -> dict[str, Tally]:
    """Counts the labels of every photo under the settings of ``study``; the network sees each photo once.

    Args:
        network: In evaluation mode.
        study: What is compared.
        photos: In an order that has nothing to do with what they show.
        total: How many they are.
        own: Title of the walk that never drops out.
        keep: Walks that are left in the end, beside it.

    Returns:
        By the names of ``stage_names``; a walk that dropped out has fewer photos.
    """
    classes = network.num_classes + 1
    size = (len(study.scores), classes, classes)
    tallies = {name: Tally(torch.zeros(size, dtype=torch.long)) for name in stage_names(study)}
    leaving = stops(total, len(study.walks), keep)
    for seen, photo in enumerate(photos):
        if seen in leaving:
            best = best_walks(tallies, study, leaving[seen])
            study = study._replace(walks={title: w for title, w in study.walks.items() if title in {own, *best}})
        for name, found in photo_confusions(network, study, photo).items():
            tallies[name].add(found)
    return tallies


def best_walks(tallies: dict[str, Tally], study: Study, count: int) -> list[str]:
    """Titles of the walks whose labels are best at their best background score, refined or not."""

    def score(title: str) -> float:
        names = [name for name in (title, f"{title}{REFINED}") if name in tallies]
        return max(float(tallies[name].miou().nan_to_num().max()) for name in names)

    return sorted(study.walks, key=score, reverse=True)[:count]


def photo_confusions(network: Viewed, study: Study, photo: HeldOut) -> dict[str, Int[Tensor, "t c c"]]:
    """Confusion matrices of one photo at every background score, by stage."""
    batch, target = photo
    classes = network.num_classes + 1
    if not batch.image_labels.any():  # background at every stage, whatever the network says
        empty = confusions(torch.zeros_like(target)[None], target, classes=classes)
        return {name: empty.expand(len(study.scores), -1, -1) for name in stage_names(study)}
    images = normalize(batch.images)
    views = Views(network, images, cam_scales=study.maker.cam_scales)
    maps = study.maker.maps(views, batch, images, views.output())
    refiner = study.maker.refinement.refiner(batch.images.float() / 255, batch.boxes, full_frames=True)
    found = {}
    for name, labels in stage_labels(maps, refiner, study):
        named = enlarge_labels(maps.present.named(labels.flatten(0, 1)[None]).view_as(labels), target.shape)
        found[name] = confusions(named, target, classes=classes)
    return found
