"""True masks in place of pseudo labels: the ceiling that a study compares label makers with. Not weak supervision."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from afa_wsss.errors import UserError, check_at_least_0
from afa_wsss.ops.affinity import token_labels
from afa_wsss.ops.pseudo_label import box_mask
from afa_wsss.supervision.label_maker import LabelMaker, Network
from afa_wsss.types import IGNORE_INDEX, AFAOutput, Batch, Labels, Targets


@dataclass(frozen=True)
class OracleLabels(LabelMaker):
    """Targets from the masks of the training photos: what a network reaches with perfect labels of every pixel.

    Network, losses and steps stay those of the run that it is compared with. It has no prediction stages, so
    validation scores the segmentation branch and the class branch alone.

    Attributes:
        radius: Window of affinity labels, in tokens (Chebyshev); None for all pairs.
        first_step: Training step (from 0) from which losses that need labels count, unless a term says otherwise: the
            loss table refers to it. True masks need no network that has learnt classes first.
    """

    makes = ("pseudo_label", "affinity_label")
    needs_masks = True
    reads_seg_logits = False

    radius: int | None = 8
    first_step: int = 0

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For a radius below 1 or a step below 0.
        """
        if self.radius is not None and self.radius < 1:
            raise UserError(f"need radius of at least 1, or none, got {self.radius}", arguments=("radius",))
        check_at_least_0({"first_step": self.first_step})

    def marks(self) -> dict[str, int]:
        """Where the masks begin."""
        return {"true masks": self.first_step}

    def targets(
        self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput, *, step: int
    ) -> Targets:
        """The masks, 255 outside the photos, and the affinity labels of their values at the tokens.

        Raises:
            UserError: For photos without masks.
        """
        if batch.masks is None:
            raise UserError("need masks to take labels from, the photos have none; OracleLabels makes none itself")
        height, width = images.shape[-2:]
        labels = batch.masks.masked_fill(~box_mask(batch.boxes, height, width), IGNORE_INDEX)
        grid = network.grid(height, width)
        return Targets.of(
            batch, pseudo_label=labels, affinity_label=token_labels(labels, grid=grid, radius=self.radius)
        )

    def stages(
        self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput
    ) -> dict[str, Labels]:
        """None: compared with the masks, the masks are always right."""
        return {}
