"""What the targets of one training step are made with, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

from jaxtyping import Float, Int
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.ops.affinity import affinity_labels
from afa_wsss.ops.image import truncated
from afa_wsss.ops.par import PARKernel
from afa_wsss.supervision.labels import labels_from_cam, labels_from_walk
from afa_wsss.supervision.scores import PARSettings, Walk
from afa_wsss.supervision.stages import LabelStages, label_stages
from afa_wsss.types import Targets


class _Refining(TypedDict):
    par: PARSettings | None
    kernel: PARKernel | None


@dataclass(frozen=True)
class Supervision:
    """Thresholds, walk, refinement, and the steps from which each kind of label counts (AFA, section 4.1).

    Attributes:
        low: Background score beta_l.
        high: Background score beta_h.
        background: The one score at which validation reads labels.
        walk_low: beta_l for the walk's labels; None, the paper's choice, for ``low``.
        walk_high: beta_h for the walk's labels; None for ``high``.
        walk_background: The one score at which validation reads labels after the walk; None for ``background``.
        radius: Of the window of affinity labels and walk, in tokens (Chebyshev).
        alpha: Power of the affinity.
        walk_steps: Of the random walk.
        first_step: From this training step on (from 0) there are labels from CAM; before it, class labels alone.
        walk_first_step: From this step on the walk makes the labels for segmentation; None for never.
        affinity_from_walk: Whether it then also makes those for affinity (COCO).
        par: Pixel-adaptive refinement; None to leave it out.
        truncate_photos: Whether PAR sees photos in training as the official code hands them over: see ``truncated``.
    """

    low: float = 0.35
    high: float = 0.55
    background: float = 0.45
    walk_low: float | None = None
    walk_high: float | None = None
    walk_background: float | None = None
    radius: int = 8
    alpha: float = 2.0
    walk_steps: int = 1
    first_step: int = 2001
    walk_first_step: int | None = 6001
    affinity_from_walk: bool = False
    par: PARSettings | None = field(default_factory=PARSettings)
    truncate_photos: bool = False

    def __post_init__(self) -> None:
        """Checks the settings once, where they enter."""
        if not 0 <= self.low < self.high <= 1:
            raise UserError(f"need 0 <= supervision.low < supervision.high <= 1, got low={self.low}, high={self.high}")
        low, high, background = self.walk_thresholds
        if not 0 <= low < high <= 1:
            raise UserError(
                "need 0 <= supervision.walk_low < supervision.walk_high <= 1 (null stands for low and high), "
                f"got walk_low={low}, walk_high={high}"
            )
        if not (0 <= self.background <= 1 and 0 <= background <= 1):
            raise UserError(
                "need supervision.background and walk_background between 0 and 1, "
                f"got background={self.background}, walk_background={background}"
            )
        if self.radius < 1 or self.alpha <= 0 or self.walk_steps < 1:
            raise UserError(
                "need supervision.radius and walk_steps of at least 1 and alpha above 0, "
                f"got radius={self.radius}, walk_steps={self.walk_steps}, alpha={self.alpha}"
            )
        if self.walk_first_step is not None and self.walk_first_step < self.first_step:
            raise UserError(
                "need supervision.first_step <= supervision.walk_first_step, "
                f"got {self.first_step} and {self.walk_first_step}"
            )

    @property
    def walk_thresholds(self) -> tuple[float, float, float]:
        """Low, high and the one background score for what the walk has spread."""
        pairs = ((self.walk_low, self.low), (self.walk_high, self.high), (self.walk_background, self.background))
        low, high, background = (same if own is None else own for own, same in pairs)
        return low, high, background

    def targets(
        self,
        images: Float[Tensor, "b 3 H W"],
        cam: Float[Tensor, "b k H W"],
        affinity: Float[Tensor, "b n n"],
        image_labels: Float[Tensor, "b k"],
        boxes: Int[Tensor, "b 4"],
        *,
        grid: tuple[int, int],
        affinity_grid: tuple[int, int],
        step: int,
        full_frames: bool = False,
    ) -> Targets:
        """Labels of pixels and of pairs of tokens for a training step at or after ``first_step``.

        Args:
            images: In [0, 1].
            cam: In [0, 1], at the images' size.
            affinity: Of the largest scale.
            image_labels: Multi-hot.
            boxes: (y0, y1, x0, x1) of the photos inside the crops.
            grid: Token grid of the training pass, for the affinity labels.
            affinity_grid: Token grid of ``affinity``.
            step: From 0.
            full_frames: Whether every photo is known to fill its frame: both kinds of label then share one kernel.
        """
        walks = self.walk_first_step is not None and step >= self.walk_first_step
        images = truncated(images) if self.truncate_photos else images
        kernel = self.par.half_size_kernel(images) if self.par is not None and full_frames else None
        refining: _Refining = {"par": self.par, "kernel": kernel}
        labels = []
        if not (walks and self.affinity_from_walk):
            maps = (images, cam, image_labels, boxes)
            labels.append(labels_from_cam(*maps, low=self.low, high=self.high, **refining))
        if walks:
            walk = self.walk_on(affinity_grid)
            walked = (images, cam, affinity, image_labels, boxes)
            low, high, _ = self.walk_thresholds
            labels.append(labels_from_walk(*walked, low=low, high=high, walk=walk, **refining))
        # Pairs are labelled by the first that is made, CAM where there is one; pixels by the last.
        pairs = affinity_labels(labels[0], grid=grid, radius=self.radius)
        return Targets(image_labels, labels[-1], pairs)

    def walk_on(self, grid: tuple[int, int]) -> Walk:
        """The random walk on a token grid."""
        return Walk(grid, radius=self.radius, alpha=self.alpha, steps=self.walk_steps)

    def stages(
        self,
        images: Float[Tensor, "b 3 H W"],
        cam: Float[Tensor, "b k H W"],
        affinity: Float[Tensor, "b n n"],
        image_labels: Float[Tensor, "b k"],
        boxes: Int[Tensor, "b 4"],
        *,
        affinity_grid: tuple[int, int],
        full_frames: bool = False,
    ) -> LabelStages:
        """What each stage of the method adds, for validation: see ``label_stages``."""
        return label_stages(
            images,
            cam,
            affinity,
            image_labels,
            boxes,
            background=self.background,
            walk_background=self.walk_thresholds[2],
            walk=self.walk_on(affinity_grid),
            par=self.par,
            full_frames=full_frames,
        )
