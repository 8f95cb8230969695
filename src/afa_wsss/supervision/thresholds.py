"""Background scores as they are set: numbers, or ``auto`` for those that are found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

AUTO = "auto"
"""Value of a background score that is found."""


class Thresholds(NamedTuple):
    """Background scores: beta_l, beta_h, and the one that validation uses."""

    low: float
    high: float
    background: float


Threshold = float | str
"""A background score, or ``auto``."""

PAPER = Thresholds(0.35, 0.55, 0.45)
"""The paper's on VOC; ``auto`` begins with them."""


def unless_given(found: Float[Tensor, "3"], given: Sequence[Threshold]) -> Float[Tensor, "3"]:
    """The scores that were set, and those that were found in place of ``auto``."""
    fixed = found.new_tensor([-1.0 if score == AUTO else float(score) for score in given])
    return torch.where(fixed < 0, found, fixed)


def compared_at(found: Float[Tensor, "3"], given: Sequence[Threshold]) -> Float[Tensor, ""]:
    """The score at which labels are compared: that of training, which lies between ``low`` and ``high``.

    The one that was found where either of these was; ``background`` as it was set may be another.
    """
    return found[2] if AUTO in given[:2] else unless_given(found, given)[2]
