"""The dense CRF as a refinement of scores, in place of PAR."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from afa_wsss.ops.dense_crf import CRFSettings, dense_crf
from afa_wsss.supervision.refinement import Refinement, Refiner


@dataclass(frozen=True)
class DenseCRF(CRFSettings, Refinement):
    """The dense CRF of ``afa_wsss.ops.dense_crf`` with its settings; about as slow as it is exact."""

    name = "crf"

    def prepare(self, photos: Float[Tensor, "b 3 H W"], boxes: Int[Tensor, "b 4"], *, full_frames: bool) -> CRFRefiner:
        """A refiner of photos rounded to uint8."""
        return CRFRefiner(self, (photos * 255).round().to(torch.uint8), boxes, full_frames=full_frames)


class CRFRefiner(Refiner):
    """The dense CRF on each photo without its padding."""

    def __init__(
        self, crf: CRFSettings, photos: UInt8[Tensor, "b 3 H W"], boxes: Int[Tensor, "b 4"], *, full_frames: bool
    ) -> None:
        """``photos`` in 0-255."""
        self.crf, self.photos, self.boxes, self.full_frames = crf, photos, boxes, full_frames
        self.size = (photos.shape[-2], photos.shape[-1])

    def refine(self, scores: Float[Tensor, "b c h w"], *, in_boxes: bool) -> Float[Tensor, "b c H W"]:
        """Padding never has an influence; classes that are absent (0 throughout) stay at 0."""
        if self.full_frames:
            return self._marginals(self.photos, scores)
        refined = scores.clone()
        # Photos of a batch differ in size, so each is a problem of its own.
        for index, (top, bottom, left, right) in enumerate(self.boxes.tolist()):
            window = (slice(index, index + 1), slice(None), slice(top, bottom), slice(left, right))
            refined[window] = self._marginals(self.photos[window], scores[window])
        return refined

    def _marginals(self, photos: Tensor, scores: Tensor) -> Tensor:
        return dense_crf(photos, scores, **asdict(self.crf)) * (scores > 0)
