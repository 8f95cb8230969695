"""Scores of the image labels by class, and which classes no held-out photo has, from the flat metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from afa_wsss.report.stages import CLASS_F1

IOU, PHOTOS, PREDICTED = "val/iou/", "val/class_photos/", "val/predicted_photos/"
NAMED = 10
"""How many classes a sentence names."""


class ImageLabelRow(NamedTuple):
    """Scores of a class in percent; None for a class that no held-out photo has.

    Attributes:
        name: The class.
        photos: Number of held-out photos with it.
        predicted: Number of held-out photos that the segmentation branch finds it in; None where not counted.
        f1: At probability 0.5, as are precision and recall.
        precision: Share of the photos predicted to have it that have it.
        recall: Share of the photos with it that are predicted to have it.
        threshold: Probability in (0, 1) with the highest F1.
        best_f1: F1 at that threshold.
    """

    name: str
    photos: int
    predicted: int | None
    f1: float | None
    precision: float | None
    recall: float | None
    threshold: float | None
    best_f1: float | None


def image_label_rows(metrics: Mapping[str, float]) -> list[ImageLabelRow]:
    """A row for each class, in the order of the metrics."""
    rows = []
    for key, photos in metrics.items():
        if key.startswith(PHOTOS):
            name = key.removeprefix(PHOTOS)
            what = ("f1", "precision", "recall", "threshold", "best_f1")
            found = (metrics.get(f"val/class_{one}/{name}", math.nan) for one in what)
            predicted = metrics.get(PREDICTED + name)
            counts = (int(photos), None if predicted is None else int(predicted))
            rows.append(ImageLabelRow(name, *counts, *(None if math.isnan(value) else value for value in found)))
    return rows


def class_ious(metrics: Mapping[str, float]) -> dict[str, float]:
    """IoU by class name; NaN for a class that no held-out mask shows."""
    return {key.removeprefix(IOU): value for key, value in metrics.items() if key.startswith(IOU)}


def left_out(metrics: Mapping[str, float]) -> list[str]:
    """Sentences on the classes that F1 and mIoU leave out; none where every class is in some held-out photo."""
    unseen = {
        "mIoU leaves out": [name for name, iou in class_ious(metrics).items() if math.isnan(iou)],
        "F1 leaves out": [row.name for row in image_label_rows(metrics) if row.f1 is None and CLASS_F1 in metrics],
    }
    whys = ("no held-out mask shows", "no held-out photo has")
    return [
        f"{what} {_listed(names)}: {why} {'it' if len(names) == 1 else 'them'}"
        for (what, names), why in zip(unseen.items(), whys, strict=True)
        if names
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
