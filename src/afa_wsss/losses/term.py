"""A term of the total loss: the seam for losses of one's own (docs/extending.md)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.errors import check_at_least_0
from afa_wsss.types import AFAOutput, Targets


class LossTerm(nn.Module, ABC):
    """A loss with its weight in the total and the training step from which it counts.

    A subclass takes further settings as keywords of its ``__init__``: they become settings of the command under the
    term's name. Parameters and buffers are trained, moved and saved with the network.

    Attributes:
        weight: Lambda in L = sum of lambda_i L_i.
        first_step: Counted from 0.
        needs: Names of the fields of ``Targets`` that the term cannot do without; an active term that lacks one is an
            error before training starts.
        reads_seg_logits: Whether ``forward`` reads ``output.seg_logits``. Where neither an active term nor the label
            maker does, the training step leaves the decoder out.

    Example:
        >>> class ConfidenceLoss(LossTerm):
        ...     needs = ("pseudo_label",)
        ...
        ...     def __init__(self, *, weight: float = 1.0, first_step: int = 0, temperature: float = 2.0) -> None:
        ...         super().__init__(weight=weight, first_step=first_step)
        ...         self.temperature = temperature
        ...
        ...     def forward(self, output, targets):
        ...         return (output.seg_logits / self.temperature).softmax(dim=1).amax(dim=1).mean()
        >>> ConfidenceLoss(first_step=100).is_active(99)
        False
    """

    needs: ClassVar[tuple[str, ...]] = ()
    reads_seg_logits: ClassVar[bool] = True

    def __init__(self, *, weight: float = 1.0, first_step: int = 0) -> None:
        """Checks both, once.

        Raises:
            UserError: For a weight or step that is negative or not finite.
        """
        super().__init__()
        check_at_least_0({"weight": weight, "first_step": first_step})
        self.weight = weight
        self.first_step = first_step

    def is_active(self, step: int) -> bool:
        """Whether the term counts at ``step``."""
        return self.weight > 0 and step >= self.first_step

    @abstractmethod
    def forward(self, output: AFAOutput, targets: Targets) -> Float[Tensor, ""]:
        """The loss, not yet weighted; the targets in ``needs`` are there."""
