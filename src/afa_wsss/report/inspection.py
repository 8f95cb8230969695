"""The pictures of one validation photo: heat maps, affinity of a point, labels, target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer, UInt8

from afa_wsss.report.montage import Picture
from afa_wsss.report.overlay import heat_map, mark, overlay
from afa_wsss.report.palette import colorize
from afa_wsss.report.stages import stage_title

PHOTO, AFFINITY, TARGET = "photo", "affinity of a point", "target"
SMALLEST_ARM = 4
"""Length of an arm of the cross at the point, in pixels of a small photo."""


class Shown(NamedTuple):
    """Arrays of one photo, cut to the photo inside its crop.

    Attributes:
        photo: RGB.
        heat: Highest score of each pixel in [0, 1], by stage.
        labels: Class of each pixel, background 0, 255 unknown, by stage.
        affinity: Affinity of the token at ``point`` with all tokens of the photo, in (0, 1); None for none.
        point: Row and column in the photo; None for none.
        target: Class of each pixel, 255 unknown; None for a photo without a mask.
    """

    photo: UInt8[np.ndarray, "H W 3"]
    heat: Mapping[str, Float[np.ndarray, "H W"]]
    labels: Mapping[str, Integer[np.ndarray, "H W"]]
    affinity: Float[np.ndarray, "h w"] | None = None
    point: tuple[int, int] | None = None
    target: Integer[np.ndarray, "H W"] | None = None


def montage_row(shown: Shown, palette: UInt8[np.ndarray, "c 3"]) -> dict[str, Picture]:
    """Pictures of the photo by the title of their column: photo, heat maps, affinity of a point, labels, target.

    Args:
        shown: What to draw; a column is missing where there is nothing to draw.
        palette: RGB of each class, background first.
    """
    photo = shown.photo
    row: dict[str, Picture] = {PHOTO: photo}
    row |= {stage_title(name): heat_map(photo, scores) for name, scores in shown.heat.items()}
    if shown.affinity is not None:
        affinity = heat_map(photo, shown.affinity)
        arm = max(SMALLEST_ARM, photo.shape[0] // 30)
        row[AFFINITY] = affinity if shown.point is None else mark(affinity, *shown.point, arm=arm)
    for name, labels in shown.labels.items():
        # A stage with scores may be drawn a second time, as labels.
        title = f"{stage_title(name)}, labels" if name in shown.heat else stage_title(name)
        row[title] = overlay(photo, labels, palette)
    if shown.target is not None:
        row[TARGET] = colorize(shown.target, palette)
    return row
