"""The seam for refinements: what fits score maps to the edges of the photo before they become labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from afa_wsss.errors import UserError, described
from afa_wsss.ops.image import resize
from afa_wsss.types import is_own


class Refiner(ABC):
    """Refines score maps of one batch of photos; made by ``Refinement.prepare``.

    Attributes:
        size: Height and width at which the scores of whole frames are wanted.
        photo_size: Height and width of the photos, which refined scores have; set by ``Refinement.refiner``.
    """

    size: tuple[int, int]
    photo_size: tuple[int, int] | None = None

    @abstractmethod
    def refine(self, scores: Float[Tensor, "b c h w"], *, in_boxes: bool) -> Float[Tensor, "b c H W"]:
        """Refined scores at the photos' size.

        Args:
            scores: At ``size``, or at the photos' size with ``in_boxes``; at least 0, background first.
            in_boxes: Whether padding must have no influence. What lies outside the boxes has no meaning then.
        """

    def refine_each(
        self, maps: Sequence[Float[Tensor, "b c _ _"]], *, in_boxes: bool = False
    ) -> tuple[Float[Tensor, "b c H W"], ...]:
        """Several score maps of the same photos; a refinement that is linear may take them in one pass."""
        return tuple(self._refined(scores, in_boxes=in_boxes) for scores in maps)

    def _refined(self, scores: Float[Tensor, "b c h w"], *, in_boxes: bool) -> Float[Tensor, "b c H W"]:
        """``refine``, whose result is checked; whether it is finite where that waits for no device.

        Raises:
            UserError: For anything but as many maps as there are scores, of the photos' size, and for NaN and infinity.
        """
        refined, call = self.refine(scores, in_boxes=in_boxes), f"{type(self).__name__}.refine"
        fits = isinstance(refined, Tensor) and refined.dim() == 4 and refined.shape[:2] == scores.shape[:2]
        if not fits or (self.photo_size is not None and tuple(refined.shape[2:]) != self.photo_size):
            height, width = self.photo_size or ("H", "W")
            wanted = f"scores of shape ({scores.shape[0]}, {scores.shape[1]}, {height}, {width}) from {call}"
            raise UserError(f"need {wanted}, got {described(refined)}")
        judged = is_own(self) and refined.device.type == "cpu"
        if judged and scores.isfinite().all() and not refined.isfinite().all():
            raise UserError(f"need finite scores from {call}, got NaN or infinity")
        return refined


class Refinement(ABC):
    """Settings of a refinement: PAR, the dense CRF, none, or one of your own (docs/extending.md).

    A subclass is a frozen dataclass: its fields are its settings, checked in ``__post_init__``.

    Attributes:
        name: Suffix of the stage that it refines: the CAM after PAR is the stage ``cam_par``. ``refined`` for one that
            gives itself no name.
    """

    name: ClassVar[str] = "refined"

    @abstractmethod
    def prepare(self, photos: Float[Tensor, "b 3 H W"], boxes: Int[Tensor, "b 4"], *, full_frames: bool) -> Refiner:
        """What depends on the photos alone, made once for all score maps.

        Args:
            photos: In [0, 1].
            boxes: (y0, y1, x0, x1) of the photos inside the crops.
            full_frames: Whether every photo is known to fill its frame.
        """

    def refiner(self, photos: Float[Tensor, "b 3 H W"], boxes: Int[Tensor, "b 4"], *, full_frames: bool) -> Refiner:
        """``prepare``, whose result is checked.

        Raises:
            UserError: For anything but a ``Refiner`` with a height and a width as its size.
        """
        found = self.prepare(photos, boxes, full_frames=full_frames)
        if not isinstance(found, Refiner):
            raise UserError(f"need a Refiner from {type(self).__name__}.prepare, got {type(found).__name__}")
        size = getattr(found, "size", None)
        if not (isinstance(size, Sequence) and len(size) == 2):
            raise UserError(f"need a height and a width as size of {type(found).__name__}, got {size}")
        height, width = photos.shape[-2:]
        object.__setattr__(found, "photo_size", (height, width))  # also of one that is frozen
        return found


@dataclass
class Unrefined(Refiner):
    """Scores as they are."""

    size: tuple[int, int]

    def refine(self, scores: Float[Tensor, "b c h w"], *, in_boxes: bool) -> Float[Tensor, "b c H W"]:
        """The scores, resized bilinearly if they have another size."""
        return resize(scores, self.size)


@dataclass(frozen=True)
class NoRefinement(Refinement):
    """Leaves refinement out."""

    name = "none"

    def prepare(self, photos: Float[Tensor, "b 3 H W"], boxes: Int[Tensor, "b 4"], *, full_frames: bool) -> Refiner:
        """A refiner that returns its input."""
        height, width = photos.shape[-2:]
        return Unrefined((height, width))
