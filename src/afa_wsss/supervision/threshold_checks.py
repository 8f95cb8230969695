"""Checks of the settings of background scores and walk."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import nn

from afa_wsss.errors import UserError
from afa_wsss.supervision.found_thresholds import FoundThresholds
from afa_wsss.supervision.thresholds import AUTO, Threshold

SOURCES = ("photos", "masks")
"""What background scores are found from: the colors of training photos, or the masks of held-out photos."""


def check_pair(low_name: str, low: Threshold, high_name: str, high: Threshold) -> None:
    """Checks the two background scores of training.

    Raises:
        UserError: Where they are not in order between 0 and 1, or only one of them is ``auto``.
    """
    check_scores({low_name: low, high_name: high})
    names, got = (low_name, high_name), f"got {low_name}={low}, {high_name}={high}"
    if (low == AUTO) != (high == AUTO):
        raise UserError(f"need two numbers or auto for both {low_name} and {high_name}, {got}", arguments=names)
    if isinstance(low, int | float) and isinstance(high, int | float) and not 0 <= low < high <= 1:
        raise UserError(f"need 0 <= {low_name} < {high_name} <= 1, {got}", arguments=names)


def check_scores(scores: Mapping[str, Threshold | None]) -> None:
    """Checks background scores by name; None stands for that of the CAM.

    Raises:
        UserError: For one that is neither a number between 0 and 1 nor ``auto``.
    """
    wrong = [name for name, score in scores.items() if not (score is None or score == AUTO or _is_score(score))]
    if wrong:
        got = ", ".join(f"{name}={scores[name]}" for name in wrong)
        raise UserError(f"need a background score between 0 and 1, or auto, got {got}", arguments=wrong)


def check_source(source: str, *, finds: bool) -> None:
    """Checks what background scores are found from.

    Args:
        source: One of ``SOURCES``.
        finds: Whether any background score is ``auto``.

    Raises:
        UserError: For another source, and for masks where nothing is found.
    """
    if source not in SOURCES:
        raise UserError(f"need auto_from to be photos or masks, got {source}", arguments=("auto_from",))
    if source == "masks" and not finds:
        raise UserError(
            "need a background score that is auto for auto_from=masks, got numbers alone; set low and high or "
            "background to auto, or leave auto_from at photos",
            arguments=("auto_from",),
        )


def check_walk(least: Mapping[str, int | None], *, alpha: float, first_step: int) -> None:
    """Checks windows and steps of the walk, by name, its power, and when labels begin.

    Raises:
        UserError: Naming what is out of its range.
    """
    given = {**least, "alpha": alpha, "first_step": first_step}
    wrong = [name for name, value in least.items() if value is not None and value < 1]
    wrong += [] if 0 < alpha < math.inf else ["alpha"]
    wrong += [] if first_step >= 0 else ["first_step"]
    if wrong:
        raise UserError(
            f"need {', '.join(least)} of at least 1, alpha above 0 and first_step of at least 0, got "
            + ", ".join(f"{name}={given[name]}" for name in wrong),
            arguments=wrong,
        )


def _is_score(value: Threshold) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def check_found(memory: nn.Module | None, *, owner: str) -> FoundThresholds:
    """The memory of a label maker that finds its background scores; a subclass may have put its own in its place.

    Args:
        memory: Of the label maker.
        owner: Its class.

    Raises:
        UserError: For a memory of another kind.
    """
    if isinstance(memory, FoundThresholds):
        return memory
    raise UserError(
        f"need FoundThresholds as memory of {owner} for auto and walk_when=better, got {type(memory).__name__}; derive "
        "its class from it, or set numbers and walk_when=always"
    )
