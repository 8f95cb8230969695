"""The names that scores and losses are logged under, and the titles that tables, charts and pictures give them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

BRANCH, REFINED_BRANCH = "segmentation", ("par", "crf")
"""The segmentation branch, whose mIoU is ``val/miou``, and the same after one of the refinements."""

TOTAL_LOSS, CLASS_F1, IMAGES_PER_SECOND = "train/loss", "val/class_f1", "train/images_per_second"

TITLES = {
    "cam": "CAM",
    "cam_par": "CAM + PAR",
    "cam_crf": "CAM + CRF",
    "walk": "walk",
    "pseudo_label": "pseudo label",
    BRANCH: "segmentation branch",
    "par": "segmentation branch + PAR",
    "crf": "segmentation branch + CRF",
}
"""Titles of the stages of AFA; ``stage_title`` has a rule for others."""


class StageScore(NamedTuple):
    """Score of a prediction stage.

    Attributes:
        name: As in ``val/<name>_miou``.
        title: For people.
        miou: In percent, background and classes.
        best_miou: In percent, at the background score that suits the stage best; None where the stage has no scores.
        best_background: That background score, in [0, 1].
    """

    name: str
    title: str
    miou: float
    best_miou: float | None
    best_background: float | None


def stage_title(name: str) -> str:
    """The title in ``TITLES``; of any other name, blanks for underscores, and "CAM + <x>" for ``cam_<x>``."""
    if name in TITLES:
        return TITLES[name]
    words = name.replace("_", " ")
    return f"CAM + {words.removeprefix('cam ')}" if words.startswith("cam ") else words


def loss_title(name: str) -> str:
    """The name of a loss with blanks for its underscores."""
    return name.replace("_", " ")


def stage_key(name: str) -> str:
    """What the mIoU of a stage is logged under."""
    return "val/miou" if name == BRANCH else f"val/{name}_miou"


def loss_key(name: str) -> str:
    """What a loss is logged under."""
    return f"train/{name}_loss"


def stage_scores(metrics: Mapping[str, float], stages: Sequence[str]) -> list[StageScore]:
    """Scores of the stages in their order; a stage without a score, or whose score is NaN, is left out."""
    known = {key: value for key, value in metrics.items() if not math.isnan(value)}
    return [
        StageScore(
            name,
            stage_title(name),
            known[stage_key(name)],
            known.get(f"val/{name}_best_miou"),
            known.get(f"val/{name}_best_background"),
        )
        for name in stages
        if stage_key(name) in known
    ]
