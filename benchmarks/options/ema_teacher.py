"""Labels from a moving average of the network: class activation maps and affinity of a mean teacher.

The average is that of Tarvainen and Valpola, "Mean teachers are better role models" (NeurIPS 2017), equation 2:
theta'_t = a_t theta'_(t-1) + (1 - a_t) theta_t, with a_t = min(decay, (1 + t) / (10 + t)), so that the first networks
are forgotten soon.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.models import AFA
from afa_wsss.supervision import AFALabels, Network
from afa_wsss.types import AFAOutput, AffinityPairs, Batch, Labels, Targets
from benchmarks.options.networks import whole


def warm_decay(decay: float, updates: int) -> float:
    """a_t = min(decay, (1 + t) / (10 + t)) after t updates.

    Example:
        >>> [round(warm_decay(0.9, updates), 2) for updates in (1, 10, 1000)]
        [0.18, 0.55, 0.9]
    """
    return min(decay, (1 + updates) / (10 + updates))


class MovingAverage:
    """A network whose parameters are the moving average of another's over training steps; its buffers are copies.

    Attributes:
        network: The average, in evaluation mode, without gradient; None before the first step.
        updates: How often it was moved.
    """

    def __init__(self) -> None:
        """Holds nothing yet."""
        self.network: AFA | None = None
        self.updates = 0
        self._step = -1

    @torch.no_grad()
    def follow(self, network: AFA, *, step: int, decay: float) -> AFA:
        """The average after ``step``: at the first one a copy; several batches of one step move it once."""
        if self.network is None:
            self.network = copy.deepcopy(network).requires_grad_(False).eval()
        elif step != self._step:
            self.updates += 1
            share = 1 - warm_decay(decay, self.updates)
            for mean, own in zip(self.network.parameters(), network.parameters(), strict=True):
                mean.lerp_(own, share)
            for kept, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
                kept.copy_(buffer)
        self._step = step
        return self.network


class Apart:
    """Stands for a network in front of a label maker that has another network's output: nothing of it is reused."""

    def __init__(self, network: Network) -> None:
        """Around ``network``."""
        self.network, self.num_classes = network, network.num_classes

    def activate(
        self, images: Tensor, *, affinity: bool = False, mirror: bool = False
    ) -> tuple[Tensor, AffinityPairs | Tensor | None]:
        """That of the network."""
        return self.network.activate(images, affinity=affinity, mirror=mirror)

    def forward_activates(self) -> bool:
        """Never: the output is not of this network."""
        return False

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """That of the network."""
        return self.network.grid(height, width)


@dataclass(frozen=True)
class EMATeacherLabels(AFALabels):
    """AFA's labels with the maps and the affinity of a moving average of the network.

    The average starts as a copy at the first step that asks for labels. It is kept in memory alone: a run that is
    resumed starts with a copy again, and a checkpoint holds the student.

    Attributes:
        decay: Share of the average that stays in a step, once it is warm; in [0, 1).
        teacher_in_validation: Whether the stages in validation are those of the average, where there is one.
        average: The average; no setting.
    """

    decay: float = 0.99
    teacher_in_validation: bool = False
    average: MovingAverage = field(init=False, repr=False, compare=False, default_factory=MovingAverage)

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For a decay outside [0, 1), and for what AFA's labels refuse.
        """
        super().__post_init__()
        if not 0 <= self.decay < 1:
            raise UserError(f"need 0 <= decay < 1, got {self.decay}", arguments=("decay",))

    def targets(
        self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput, *, step: int
    ) -> Targets:
        """AFA's targets from the average, which is moved first; a network that is not in training moves nothing.

        Raises:
            UserError: For a network of another kind, which cannot be averaged.
        """
        student = whole(network, purpose="to average")
        if not student.training:
            return super().targets(self._validated(network), batch, images, output, step=step)
        teacher = Apart(self.average.follow(student, step=step, decay=self.decay))
        return super().targets(teacher, batch, images, output, step=step)

    def stages(
        self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput
    ) -> dict[str, Labels]:
        """AFA's stages of the student, or of the average with ``teacher_in_validation``."""
        return super().stages(self._validated(network), batch, images, output)

    def _validated(self, network: Network) -> Network:
        average = self.average.network
        return network if average is None or not self.teacher_in_validation else Apart(average)
