"""Refined scores of every class, before they become labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.ops.affinity import locality_mask
from afa_wsss.ops.image import resample, resize, source_coordinates
from afa_wsss.ops.par import DILATIONS, PARKernel, apply_kernel, neighbour_kernel
from afa_wsss.ops.pseudo_label import background_scores
from afa_wsss.ops.random_walk import propagate, transition_matrix


@dataclass(frozen=True)
class PARSettings:
    """How pixels are refined; see ``ops.par.refine``."""

    dilations: tuple[int, ...] = DILATIONS
    steps: int = 10
    w1: float = 0.3
    w2: float = 0.3
    w3: float = 0.01

    def __post_init__(self) -> None:
        """Checks the settings once, where they enter."""
        object.__setattr__(self, "dilations", tuple(self.dilations))
        if not self.dilations or min(self.dilations) < 1 or self.steps < 0:
            raise UserError(
                f"need dilations and steps of PAR of at least 1 and 0, got {self.dilations} and {self.steps}"
            )
        if min(self.w1, self.w2) <= 0 or self.w3 < 0:
            raise UserError(f"need w1 and w2 of PAR above 0 and w3 of at least 0, got {self.w1}, {self.w2}, {self.w3}")

    def kernel(self, images: Float[Tensor, "b 3 h w"], boxes: Int[Tensor, "b 4"] | None = None) -> PARKernel:
        """The kernel of photos of the size at which they are refined."""
        return neighbour_kernel(images, dilations=self.dilations, w1=self.w1, w2=self.w2, w3=self.w3, boxes=boxes)

    def half_size_kernel(self, images: Float[Tensor, "b 3 H W"]) -> PARKernel:
        """That of whole photos at half their size. It serves any thresholds and kinds of label."""
        return self.kernel(_half(images))

    def apply(self, kernel: PARKernel, scores: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """PAR of ``scores``, which have the kernel's size."""
        return apply_kernel(kernel, scores, steps=self.steps)


DEFAULT_PAR = PARSettings()


class Walk(NamedTuple):
    """The random walk on a token grid.

    Attributes:
        grid: Height and width of the grid that the affinity lies on.
        radius: Tokens farther apart (Chebyshev) exchange nothing.
        alpha: Power of the affinity.
        steps: How often scores are passed on.
    """

    grid: tuple[int, int]
    radius: int = 8
    alpha: float = 2.0
    steps: int = 1


def _half(maps: Tensor) -> Tensor:
    return resize(maps, _half_size(*maps.shape[-2:]))


def _half_size(height: int, width: int) -> tuple[int, int]:
    """Half of a side, and at least one pixel."""
    return max(1, height // 2), max(1, width // 2)


def cam_scores(
    images: Float[Tensor, "b 3 H W"],
    cam: Float[Tensor, "b k H W"],
    image_labels: Float[Tensor, "b k"],
    thresholds: Sequence[float],
    *,
    par: PARSettings | None,
    kernel: PARKernel | None = None,
) -> tuple[Float[Tensor, "b c H W"], ...]:
    """Scores of [background, classes present] at each background score, refined at half resolution (DESIGN, step 6).

    All thresholds share one kernel and one pass: ``par.half_size_kernel(images)``, made here unless it is given.
    Without PAR nothing is resized.
    """
    source = cam if par is None else _half(cam)
    scores = torch.cat([background_scores(source, image_labels, threshold) for threshold in thresholds], dim=1)
    if par is not None:
        kernel = par.half_size_kernel(images) if kernel is None else kernel
        scores = resize(par.apply(kernel, scores), images.shape[-2:])
    return scores.chunk(len(thresholds), dim=1)


def walk_scores(
    cam: Float[Tensor, "b k H W"],
    affinity: Float[Tensor, "b n n"],
    image_labels: Float[Tensor, "b k"],
    thresholds: Sequence[float],
    *,
    walk: Walk,
) -> tuple[Float[Tensor, "b c H W"], ...]:
    """Scores at each background score after the random walk on the token grid, at full size (DESIGN, step 9)."""
    tokens = resize(cam, walk.grid)
    scores = torch.cat([background_scores(tokens, image_labels, threshold) for threshold in thresholds], dim=1)
    window = locality_mask(*walk.grid, radius=walk.radius, device=cam.device)
    walked = propagate(scores, transition_matrix(affinity, alpha=walk.alpha, mask=window), steps=walk.steps)
    return resize(walked, cam.shape[-2:]).chunk(len(thresholds), dim=1)


def refine_in_boxes(
    images: Float[Tensor, "b 3 H W"],
    scores: Float[Tensor, "b c H W"],
    boxes: Int[Tensor, "b 4"],
    *,
    par: PARSettings,
    kernel: PARKernel | None = None,
) -> Float[Tensor, "b c H W"]:
    """PAR of each photo inside its own box alone, at half of the box's size, for the whole batch at once (step 10).

    Every box is laid at the top left of a canvas of half the crop's size, refined there, and laid back. Outside of the
    boxes the scores have no meaning. Where every photo fills its frame, ``kernel`` may be the whole photos'
    ``par.half_size_kernel(images)``: then nothing is laid anywhere, and no second kernel is made.
    """
    height, width = images.shape[-2:]
    if kernel is not None:
        small = resize(scores, _half_size(height, width), align_corners=True)
        return resize(par.apply(kernel, small), (height, width))
    top, bottom, left, right = boxes.unbind(1)
    rows, columns = bottom - top, right - left
    half_rows, half_columns = (rows // 2).clamp(min=1), (columns // 2).clamp(min=1)
    canvas = _half_size(height, width)

    sides = ((canvas[0], rows, half_rows, top), (canvas[1], columns, half_columns, left))
    images = resample(images, *(_forth(*side, align_corners=False) for side in sides))
    scores = resample(scores, *(_forth(*side, align_corners=True) for side in sides))
    inner = torch.stack([torch.zeros_like(rows), half_rows, torch.zeros_like(rows), half_columns], dim=1)
    refined = par.apply(par.kernel(images, inner), scores)
    return resample(refined, _back(height, half_rows, rows, top), _back(width, half_columns, columns, left))


def _forth(count: int, full: Tensor, half: Tensor, start: Tensor, *, align_corners: bool) -> Tensor:
    """Where the pixels of a side of the canvas, on which ``half`` pixels of a box are laid, lie in the crop."""
    return source_coordinates(count, full, half, align_corners=align_corners) + start[:, None]


def _back(count: int, half: Tensor, full: Tensor, start: Tensor) -> Tensor:
    """Where the pixels of a side lie on the canvas that ``half`` pixels of a box were laid on."""
    places = torch.arange(count, device=half.device) - start[:, None]
    coordinates = (places + 0.5) * (half / full)[:, None] - 0.5
    return torch.minimum(coordinates.clamp(min=0), (half - 1)[:, None].float())
