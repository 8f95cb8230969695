"""Background scores that follow the photos while training: ``supervision.low=auto`` and its siblings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.distributed
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.errors import UserError

AUTO = "auto"
"""Value of a background score that is found."""

CANDIDATES = (
    *(0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.14, 0.2, 0.25, 0.3, 0.35),
    *(0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
)
"""Background scores that are tried: closer together where they are low, since activations fall off quickly."""

DECAY = 0.9
"""Weight of what was seen before at each look: about ten looks are remembered, forty photos."""

FIRST_LOOKS, INTERVAL = 4, 5
"""The first looks are at every step, later ones at every fifth."""

LOOKED_AT = 4
"""Photos of a batch that are looked at: each is refined once for every candidate."""

NEARLY = 0.97
"""``low`` and ``high`` are where the split is this much of the best one."""


class Thresholds(NamedTuple):
    """Background scores: beta_l, beta_h, and the one that validation uses."""

    low: float
    high: float
    background: float


Threshold = float | str
"""A background score, or ``auto``."""

PAPER = Thresholds(0.35, 0.55, 0.45)
"""The paper's on VOC; ``auto`` begins with them."""


class FoundThresholds(nn.Module):
    """Background scores at which labels split the photos' colors best, over recent training crops.

    Labels at a background score split a photo into foreground and background. Where they follow an object, much of the
    variance of the photo's colors lies between the two parts (``ops.color_split``); labels that are too small or too
    large mix colors of both. ``background`` is the candidate with the best mean split; between ``low`` and ``high``
    the split is at least ``NEARLY`` as good, so pixels that change sides there are unknown. No mask is read.

    Attributes:
        splits: Mean split at each of ``CANDIDATES``, recent photos with more weight.
        looks: How often photos were looked at.
        found: ``low``, ``high`` and ``background``.
    """

    def __init__(self) -> None:
        """Begins with the paper's values."""
        super().__init__()
        self.splits: Tensor
        self.looks: Tensor
        self.found: Tensor
        self.register_buffer("splits", torch.zeros(len(CANDIDATES), 2))
        self.register_buffer("looks", torch.zeros((), dtype=torch.long))
        self.register_buffer("found", torch.tensor(PAPER))
        self._read: tuple[Thresholds, int] | None = (PAPER, 0)
        self.register_load_state_dict_post_hook(_read_again)  # type: ignore[no-untyped-call]  # of torch

    def wants_look(self, step: int) -> bool:
        """Whether to look at the photos of a training step; the same in all processes."""
        return self._state()[1] < FIRST_LOOKS or step % INTERVAL == 0

    @torch.no_grad()
    def update(self, splits: Float[Tensor, "b t"], counted: Float[Tensor, " b"]) -> None:
        """Adds a look at a batch, and finds the scores again.

        Args:
            splits: Of each photo at each of ``CANDIDATES``, as ``ops.color_split`` gives them.
            counted: 1 for photos that have any class, else 0.
        """
        seen = torch.stack([(splits * counted[:, None]).sum(0), counted.sum().expand(len(CANDIDATES))], dim=1)
        self.splits.mul_(DECAY).add_(_over_processes(seen.to(self.splits)))
        self.looks.add_(1)
        if self.splits[0, 1] > 0:
            self.found.copy_(best_thresholds(self.splits[:, 0] / self.splits[:, 1]))
        self._read = None

    @property
    def values(self) -> Thresholds:
        """The background scores."""
        return self._state()[0]

    @property
    def looked(self) -> bool:
        """Whether the scores were found, and are not the paper's any more."""
        return self._state()[1] > 0

    def _state(self) -> tuple[Thresholds, int]:
        """Scores and number of looks; read from the device after a look alone, so that no other step waits for it."""
        if self._read is None:
            self._read = Thresholds(*self.found.tolist()), int(self.looks)
        return self._read


def _read_again(found: FoundThresholds, _: object) -> None:
    found._read = None


def _over_processes(seen: Tensor) -> Tensor:
    """The sum over all processes, so that they find the same."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(seen)
    return seen


def best_thresholds(splits: Float[Tensor, " t"]) -> Float[Tensor, "3"]:
    """``low``, ``high`` and ``background`` from the mean split at each of ``CANDIDATES``; see ``FoundThresholds``.

    Between two candidates splits lie on a line. Where the split stays nearly as good to the end, the end is taken.
    """
    scores = splits.new_tensor(CANDIDATES)
    best = int(splits.argmax())
    limit = splits[best] * NEARLY
    low = _crossing(scores[: best + 1].flip(0), splits[: best + 1].flip(0), limit)
    high = _crossing(scores[best:], splits[best:], limit)
    return torch.stack([low, high, scores[best]])


def _crossing(scores: Tensor, splits: Tensor, limit: Tensor) -> Tensor:
    """Where the split, which begins at or above ``limit``, first falls below it."""
    below = (splits < limit).nonzero()
    if len(below) == 0:
        return scores[-1]
    after = int(below[0])
    before = after - 1
    part = (splits[before] - limit) / (splits[before] - splits[after]).clamp(min=1e-12)
    return torch.lerp(scores[before], scores[after], part)


def resolved(given: Sequence[Threshold], memory: nn.ModuleDict | None, scores: str) -> Thresholds:
    """Background scores with what was found in place of ``auto``.

    Args:
        given: As they were set, in the order of ``Thresholds``.
        memory: A ``FoundThresholds`` for each kind of scores; None where nothing is ``auto``.
        scores: Which kind counts: ``cam`` or ``walk``.
    """
    values = PAPER
    for name in ("cam", scores):  # until the walk's labels are looked at, those of the CAM stand in
        found = None if memory is None else memory[name]
        if isinstance(found, FoundThresholds) and found.looked:
            values = found.values
    return Thresholds(
        *(own if isinstance(own, int | float) else value for own, value in zip(given, values, strict=True))
    )


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


def _is_score(value: Threshold) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
