"""The trivial floor: each class's mean mask on the photos that are known to show it, without looking at any pixel.

    python -m benchmarks.real floor --root photos

A photo's own mask is left out of the means that label it. Means are taken as they are and, as CAMs are, over their
maximum; form and background score are those with the best mIoU, so the floor is generous: whatever learns from photos
has to stand above it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from rich.progress import track
from torch import Tensor

from afa_wsss.data.loading.held_out import held_out
from afa_wsss.data.loading.sets import EvalSet
from afa_wsss.evaluation.metrics import BackgroundSweep, iou_of
from afa_wsss.ops.cam import normalize_cam
from afa_wsss.types import IGNORE_INDEX
from benchmarks.real.held_out import open_photos
from benchmarks.real.tables import show_figures

FRAME = 64
"""Rows and columns of the unit frame that masks of all sizes are brought to."""

FORMS: dict[str, Callable[[Tensor], Tensor]] = {"as they are": torch.clone, "over their maximum": normalize_cam}
"""What is done to mean masks before they are thresholded."""


class ClassMasks(NamedTuple):
    """Masks of a photo's classes in the unit frame, or their sums over photos.

    Attributes:
        hits: Share of each cell's pixels that have the class; 0 for classes that are not in the photo.
        known: Share of each cell's pixels that have any class, not 255; 0 for classes that are not in the photo.
    """

    hits: Float[Tensor, "k u u"]
    known: Float[Tensor, "k u u"]

    def without(self, own: ClassMasks) -> Float[Tensor, "k u u"]:
        """Mean masks over all other photos; 0 where there is no other."""
        known = self.known - own.known
        return torch.where(known > 0.5, (self.hits - own.hits) / known.clamp(min=0.5), 0.0).clamp(0, 1)


class Floor(NamedTuple):
    """The floor, in percent.

    Attributes:
        form: ``as they are``, or ``over their maximum``.
        background: Background score with the best mIoU.
        miou: mIoU at that score.
        iou: IoU of background and classes.
    """

    form: str
    background: float
    miou: float
    iou: list[float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Photos with masks."""
    parser.add_argument("--root", type=Path, required=True, help="a folder of photos, or one in VOC's layout")
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, help="so many photos, evenly spread")


def run(settings: argparse.Namespace) -> None:
    """Prints the floor by class."""
    photos = EvalSet(open_photos(settings.root, settings.split))
    found = floor(photos, settings.limit)
    names = ("background", *photos.dataset.class_names)
    title = f"mean masks {found.form}: mIoU {found.miou:.1f} at background score {found.background:g}"
    show_figures(title, ("class", "IoU"), [(name, [iou]) for name, iou in zip(names, found.iou, strict=True)])


def class_masks(target: UInt8[Tensor, "H W"], image_labels: Float[Tensor, " k"], *, frame: int = FRAME) -> ClassMasks:
    """The masks of one photo's classes in a frame of ``frame`` x ``frame`` cells."""
    classes = torch.arange(1, len(image_labels) + 1).view(-1, 1, 1)
    known = (target != IGNORE_INDEX).expand(len(image_labels), -1, -1)
    maps = torch.stack([target == classes, known]).float() * image_labels[:, None, None]
    return ClassMasks(*F.interpolate(maps, size=(frame, frame), mode="area"))


def floor(photos: EvalSet, limit: int | None = None) -> Floor:
    """Labels each photo by the mean masks of all others, at every background score."""
    own: list[ClassMasks] = []
    for batch, target in track(held_out(photos, limit), description="masks", total=len(photos), transient=True):
        own.append(class_masks(target, batch.image_labels[0]))
    total = summed(own)
    sweeps = {form: BackgroundSweep(len(photos.dataset.class_names) + 1) for form in FORMS}
    for (batch, target), masks in zip(held_out(photos, limit), own, strict=True):
        means = total.without(masks)[None]
        for form, sweep in sweeps.items():
            sweep.update(FORMS[form](means), batch.image_labels, target[None])
    return max((result_of(form, sweep) for form, sweep in sweeps.items()), key=lambda found: found.miou)


def result_of(form: str, sweep: BackgroundSweep) -> Floor:
    """The best of all background scores."""
    best = sweep.compute()
    iou = iou_of(confusion_at(sweep, int(best.curve.argmax())))
    return Floor(form, float(best.background), float(best.miou), iou.tolist())


def summed(masks: Sequence[ClassMasks]) -> ClassMasks:
    """Sums over photos."""
    return ClassMasks(*(torch.stack(part).sum(dim=0) for part in zip(*masks, strict=True)))


def confusion_at(sweep: BackgroundSweep, place: int) -> Tensor:
    """The confusion matrix (c, c) at one of the sweep's scores; rows are targets."""
    below, above = sweep.counts[: place + 1].sum(dim=(0, 1)), sweep.counts[place + 1 :].sum(dim=0)
    return torch.cat([below[None], above]).T
