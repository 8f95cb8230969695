"""The walk where it helps: labels are those after it only while these split the photos' colors better.

``auto`` knows without masks how well labels at each background score split the colors of recent photos
(``ops.color_split``), before the walk and after it. At the end of a training the labels whose best split is higher
were the better ones on PartShapes, voc_animals and steel (docs/real.md): the walk helps on animals alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.supervision import AFALabels
from afa_wsss.supervision.maps import Maps
from afa_wsss.supervision.refinement import Refiner
from afa_wsss.types import Batch


@dataclass(frozen=True)
class ChosenWalkLabels(AFALabels):
    """AFA's labels, from the walk only while its labels split the colors better than those before it.

    Photos are looked at before and after the walk all the time, so the choice may change in both directions. The stage
    ``pseudo_label`` is that of the labels which are chosen.
    """

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: Where no background score is ``auto``, and for what AFA's labels refuse.
        """
        super().__post_init__()
        if self.memory is None or self.auto_from != "photos":
            raise UserError("need low, high or background to be auto, from photos", arguments=("low", "auto_from"))

    def walk_splits_better(self) -> bool:
        """Whether the best mean split after the walk is above that before it; True until photos were looked at."""
        if self.memory is None or not bool((self.memory.weights > 0).all()):
            return True
        before, after = (self.memory.sums[:, 0] / self.memory.weights[:, None]).amax(dim=1)
        return bool(after > before)

    def _slot_labels(
        self, batch: Batch, maps: Maps, *, step: int
    ) -> tuple[UInt8[Tensor, "b H W"], UInt8[Tensor, "b H W"]]:
        """Those of the last step before the walk where it does not help."""
        if self.walk_first_step is not None and not self.walk_splits_better():
            step = min(step, self.walk_first_step - 1)
        return super()._slot_labels(batch, maps, step=step)

    def _stage_labels(self, maps: Maps, refiner: Refiner) -> dict[str, UInt8[Tensor, "b H W"]]:
        """The stage before the walk in place of the last one where it does not help."""
        stages = super()._stage_labels(maps, refiner)
        if self.walk_splits_better():
            return stages
        names = list(stages)
        return stages | {"pseudo_label": stages[names[names.index("walk") - 1]]}
