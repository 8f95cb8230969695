"""PAR as a refinement (AFA, section 3.4), at half of the photos' size as in the official code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from afa_wsss.ops.image import half_size, resample, resize, source_coordinates
from afa_wsss.ops.par import PARSettings, apply_kernel, neighbor_kernel
from afa_wsss.ops.par_forms import PARKernel
from afa_wsss.supervision.refinement import Refinement, Refiner


@dataclass(frozen=True)
class PAR(PARSettings, Refinement):
    """Pixel-adaptive refinement; the settings are those of ``afa_wsss.ops.par.PARSettings``."""

    name = "par"

    def prepare(self, photos: Float[Tensor, "b 3 H W"], boxes: Int[Tensor, "b 4"], *, full_frames: bool) -> PARRefiner:
        """A refiner whose kernels are made when they are first needed."""
        return PARRefiner(self, photos, boxes, full_frames=full_frames)


class PARRefiner(Refiner):
    """PAR of one batch: one kernel for whole frames, one for the boxes, each for any number of score maps."""

    def __init__(self, par: PARSettings, photos: Tensor, boxes: Tensor, *, full_frames: bool) -> None:
        """Makes nothing yet."""
        self.par, self.photos, self.boxes, self.full_frames = par, photos, boxes, full_frames
        self.full_size = (photos.shape[-2], photos.shape[-1])
        self.size = half_size(*self.full_size)
        self._frame_kernel: PARKernel | None = None

    def refine(self, scores: Float[Tensor, "b c h w"], *, in_boxes: bool) -> Float[Tensor, "b c H W"]:
        """Scores of whole frames come at half size; in boxes each photo is refined as if it were cropped to its box."""
        if not in_boxes:
            return resize(self._apply(self.frame_kernel(), scores), self.full_size)
        if self.full_frames:
            half = resize(scores, self.size, align_corners=True)
            return resize(self._apply(self.frame_kernel(), half), self.full_size)
        return refine_in_boxes(self.photos, scores, self.boxes, par=self.par)

    def refine_each(
        self, maps: Sequence[Float[Tensor, "b c _ _"]], *, in_boxes: bool = False
    ) -> tuple[Float[Tensor, "b c H W"], ...]:
        """All maps in one pass: PAR is linear in the scores and treats channels alike."""
        return self.refine(torch.cat(list(maps), dim=1), in_boxes=in_boxes).chunk(len(maps), dim=1)

    def frame_kernel(self) -> PARKernel:
        """The kernel of whole frames at half their size."""
        if self._frame_kernel is None:
            self._frame_kernel = _kernel(self.par, resize(self.photos, self.size))
        return self._frame_kernel

    def _apply(self, kernel: PARKernel, scores: Tensor) -> Tensor:
        return apply_kernel(kernel, scores, steps=self.par.steps)


def _kernel(par: PARSettings, photos: Tensor, boxes: Tensor | None = None) -> PARKernel:
    return neighbor_kernel(photos, dilations=par.dilations, w1=par.w1, w2=par.w2, w3=par.w3, boxes=boxes)


def refine_in_boxes(
    photos: Float[Tensor, "b 3 H W"],
    scores: Float[Tensor, "b c H W"],
    boxes: Int[Tensor, "b 4"],
    *,
    par: PARSettings,
) -> Float[Tensor, "b c H W"]:
    """PAR of each photo inside its own box alone, at half of the box's size, for the whole batch at once.

    Every box is moved to the top left of a canvas of half the crop's size, refined there, and moved back. Outside the
    boxes the result has no meaning.

    Args:
        photos: In [0, 1].
        scores: At the photos' size.
        boxes: (y0, y1, x0, x1) of the photos inside the crops.
        par: Settings of PAR.
    """
    height, width = photos.shape[-2:]
    top, bottom, left, right = boxes.unbind(1)
    rows, columns = bottom - top, right - left
    half_rows, half_columns = (rows // 2).clamp(min=1), (columns // 2).clamp(min=1)
    canvas = half_size(height, width)

    sides = ((canvas[0], rows, half_rows, top), (canvas[1], columns, half_columns, left))
    photos = resample(photos, *(_onto_canvas(*side, align_corners=False) for side in sides))
    scores = resample(scores, *(_onto_canvas(*side, align_corners=True) for side in sides))
    inner = torch.stack([torch.zeros_like(rows), half_rows, torch.zeros_like(rows), half_columns], dim=1)
    refined = apply_kernel(_kernel(par, photos, inner), scores, steps=par.steps)
    return resample(
        refined, _from_canvas(height, half_rows, rows, top), _from_canvas(width, half_columns, columns, left)
    )


def _onto_canvas(count: int, full: Tensor, half: Tensor, start: Tensor, *, align_corners: bool) -> Tensor:
    """Crop coordinates of the ``count`` pixels along a side of the canvas, which holds a box in ``half`` pixels."""
    return source_coordinates(count, full, half, align_corners=align_corners) + start[:, None]


def _from_canvas(count: int, half: Tensor, full: Tensor, start: Tensor) -> Tensor:
    """Canvas coordinates of the ``count`` pixels along a side of the crop."""
    places = torch.arange(count, device=half.device) - start[:, None]
    coordinates = (places + 0.5) * (half / full)[:, None] - 0.5
    return torch.minimum(coordinates.clamp(min=0), (half - 1)[:, None].float())
