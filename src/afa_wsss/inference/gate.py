"""The gate: classes that the class branch does not find in a photo are left out of the labels of the other branch."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.ops.image import constant

AUTO, OFF = "auto", "none"
"""Words for the threshold of each class from the last validation, and for no gate."""

STAND_IN = 0.5
"""Threshold of a class that no validation has found one for."""

LEFT_OUT = -1e9
"""Segmentation logit of an absent class: its probability is 0, and unlike infinity it can be interpolated."""

Gate = float | str | None
"""A probability in (0, 1), ``AUTO``, or None for no gate."""


def check_gate(gate: Gate) -> Gate:
    """``gate`` itself; None for ``OFF``.

    Raises:
        UserError: For another word, and for a number that is not between 0 and 1.
    """
    if gate is None or gate == OFF:
        return None
    number = isinstance(gate, float | int) and not isinstance(gate, bool)
    if gate != AUTO and not (number and 0 < float(gate) < 1):
        raise UserError(f"need {OFF}, {AUTO} or a probability between 0 and 1, got {gate}", arguments=("gate",))
    return gate


class ClassGate:
    """The gate of a network.

    Attributes:
        class_names: Foreground classes.
        found: Thresholds that the last validation found, by class; classes without held-out photos have none.
    """

    def __init__(self, class_names: Sequence[str], found: Mapping[str, float] | None = None) -> None:
        """Without thresholds of a validation ``found`` is None."""
        self.class_names, self.found = tuple(class_names), dict(found or {})
        self._noted: str | None = None

    def thresholds(self, gate: Gate) -> tuple[float, ...]:
        """Probability under which each class counts as absent; without a gate 0."""
        if isinstance(gate, str):
            return tuple(self.found.get(name, STAND_IN) for name in self.class_names)
        return (0.0 if gate is None else float(gate),) * len(self.class_names)

    def apply(
        self, gate: Gate, logits: Float[Tensor, "b c h w"], class_logits: Float[Tensor, "b k"]
    ) -> Float[Tensor, "b c h w"]:
        """Segmentation logits with ``LEFT_OUT`` for absent classes; the background, their first channel, is never one.

        Args:
            gate: See ``InferenceSettings``.
            logits: Segmentation logits, background first.
            class_logits: Class logits. A class is absent where its sigmoid is below its threshold.
        """
        if gate is None:
            return logits
        self._note(gate)
        least = constant([math.log(value / (1 - value)) for value in self.thresholds(gate)], like=class_logits)
        absent = class_logits.float() < least
        absent = torch.cat([torch.zeros_like(absent[:, :1]), absent], dim=1)
        return logits.masked_fill(absent[..., None, None], LEFT_OUT)

    def _note(self, gate: Gate) -> None:
        """One line on classes of ``auto`` without a threshold, once."""
        missing = [name for name in self.class_names if name not in self.found] if gate == AUTO else []
        which = "any class" if len(missing) == len(self.class_names) else ", ".join(missing)
        note = f"inference.gate=auto: no validation has found a threshold of {which}; {STAND_IN} stands in"
        if missing and note != self._noted:
            self._noted = note
            logging.getLogger(__name__).info(note)
