"""A term of the total loss."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.types import AFAOutput, Targets


class LossTerm(nn.Module, ABC):
    """A loss with its weight in the total and the training step from which it counts.

    Attributes:
        weight: Lambda in L = sum of lambda_i L_i.
        first_step: Counted from 0.
    """

    def __init__(self, weight: float = 1.0, first_step: int = 0) -> None:
        """Checks the weight and step once, where they enter."""
        super().__init__()
        if weight < 0 or first_step < 0:
            raise UserError(f"need a loss weight and first_step of at least 0, got {weight} and {first_step}")
        self.weight = weight
        self.first_step = first_step

    def is_active(self, step: int) -> bool:
        """Whether the term counts at ``step``."""
        return self.weight > 0 and step >= self.first_step

    @abstractmethod
    def forward(self, output: AFAOutput, targets: Targets) -> Float[Tensor, ""]:
        """The loss, not yet weighted."""
