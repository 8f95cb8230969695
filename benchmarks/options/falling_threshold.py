"""Background scores that fall while the network learns, after the dynamic threshold of DuPL (Wu et al., CVPR 2024).

tau(t) = tau_T + (tau_0 - tau_T) (1 + cos(pi t / T)) / 2: few sure foreground pixels first, more as the maps improve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from afa_wsss.errors import UserError
from afa_wsss.supervision import AFALabels
from afa_wsss.supervision.maps import Maps
from afa_wsss.types import Batch, Targets


def falling(start: float, share: float) -> float:
    """From ``start`` to 1 by half a cosine; ``share`` of the way, in [0, 1] and constant beyond.

    Example:
        >>> [round(falling(3.0, share), 2) for share in (-1, 0, 0.5, 1, 2)]
        [3.0, 3.0, 2.0, 1.0, 1.0]
    """
    return 1 + (start - 1) * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0))) / 2


@dataclass(frozen=True)
class FallingThresholdLabels(AFALabels):
    """AFA's labels at background scores that fall from ``start`` times their values to these.

    All of them fall, those after the walk and those that are found (``auto``) too; validation reads labels at its own
    score as before. Where a score that is found would be above 1, the factor is less.

    Attributes:
        start: Factor of the background scores at ``first_step``; at least 1.
        falls_until: Training step at which they reach their values.
    """

    start: float = 2.0
    falls_until: int = 20000

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For a factor below 1 or one that lifts a score that is set above 1, a last step before
                ``first_step``, and what AFA's labels refuse.
        """
        super().__post_init__()
        highest = max((score for score in (self.high, self.walk_high) if isinstance(score, float)), default=0.0)
        if not 1 <= self.start < math.inf or self.start * highest > 1:
            most = f" and at most 1 / {highest}, the highest background score," if highest else ","
            raise UserError(f"need start of at least 1{most} got {self.start}", arguments=("start",))
        if self.falls_until < self.first_step:
            raise UserError(
                f"need first_step <= falls_until, got {self.first_step} and {self.falls_until}",
                arguments=("first_step", "falls_until"),
            )

    def at(self, step: int) -> FallingThresholdLabels:
        """These labels with the background scores of a training step, which do not fall any more."""
        cam, walk = self.cam_thresholds, self.walk_thresholds
        factor = falling(self.start, (step - self.first_step) / max(self.falls_until - self.first_step, 1))
        factor = min(factor, 1 / max(cam.high, walk.high))
        fixed = replace(
            self,
            low=factor * cam.low,
            high=factor * cam.high,
            walk_low=factor * walk.low,
            walk_high=factor * walk.high,
            start=1.0,
        )
        object.__setattr__(fixed, "memory", self.memory)  # what was found, such as whether labels from the walk count
        return fixed

    def targets_from(self, maps: Maps, batch: Batch, *, grid: tuple[int, int], step: int) -> Targets:
        """AFA's targets at the scores of ``step``."""
        return super(FallingThresholdLabels, self.at(step)).targets_from(maps, batch, grid=grid, step=step)
