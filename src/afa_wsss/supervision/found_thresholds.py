"""Background scores that follow the photos while training: ``supervision.low=auto`` and its siblings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed
from jaxtyping import Float, Int
from torch import Tensor, nn

from afa_wsss.evaluation.metrics import iou_of
from afa_wsss.supervision.score_curves import CANDIDATES, at_score, best_thresholds, same_share

AUTO = "auto"
"""Value of a background score that is found."""

DECAY = 0.9
"""Weight of what was seen before for each ``LOOKED_AT`` photos with a class: about 160 photos are remembered."""

FIRST_LOOKS, INTERVAL = 4, 10
"""The first looks are at every step, later ones at every tenth."""

LOOKED_AT = 16
"""Photos that are looked at, of a batch or of those with masks: each is refined once for every candidate."""


class Thresholds(NamedTuple):
    """Background scores: beta_l, beta_h, and the one that validation uses."""

    low: float
    high: float
    background: float


Threshold = float | str
"""A background score, or ``auto``."""

PAPER = Thresholds(0.35, 0.55, 0.45)
"""The paper's on VOC; ``auto`` begins with them."""


class Look(NamedTuple):
    """What the labels at each of ``CANDIDATES`` are like in the photos of a batch.

    Attributes:
        splits: As ``ops.color_split`` gives them.
        shares: Of the pixels that are foreground.
        counted: 1 for photos that have any class, else 0.
    """

    splits: Float[Tensor, "b t"]
    shares: Float[Tensor, "b t"]
    counted: Float[Tensor, " b"]


class _Read(NamedTuple):
    """Buffers of ``FoundThresholds`` as plain numbers."""

    found: list[Thresholds]
    looks: list[int]
    best: list[float]


KINDS = ("cam", "walk")
"""Labels from the CAM and those after the walk have background scores of their own."""


class FoundThresholds(nn.Module):
    """Background scores at which labels split the photos' colors best, or fit the masks of held-out photos best.

    From photos, over recent training crops (``update``): labels at a background score split a photo into foreground and
    background. Where they follow an object, much of the variance of the photo's colors lies between the two parts
    (``ops.color_split``); labels that are too small or too large mix colors of both. For labels from the CAM
    ``background`` is the candidate with the best mean split; between ``low`` and ``high`` the split is at least
    ``NEARLY`` as good, so pixels that change sides there are unknown. The walk moves labels and makes no more of them:
    its scores are those at which as many pixels are foreground as at the scores of the CAM. No mask is read.

    From masks of held-out photos (``score``): ``background`` is the candidate whose labels have the best mIoU, and
    between ``low`` and ``high`` the mIoU is at least ``NEARLY`` as good. Masks say which labels are right, so the walk
    has a search of its own. Each look is at the same photos, so nothing is remembered of earlier ones.

    Attributes:
        sums: Splits and shares at each of ``CANDIDATES``, for both of ``KINDS``; recent photos have more weight.
        beside: Splits and shares of labels from the CAM on the photos that were also looked at after the walk: both
            kinds are compared on the same photos.
        weights: Of the photos in ``sums``; all three stay 0 where scores are found from masks.
        looks: How often photos were looked at; not counted where none of them had a class.
        found: ``low``, ``high`` and ``background``.
        best: Mean split, or mIoU on masks, of the labels at ``background``, of both kinds on the same photos once there
            are two; -1 before the first look.
    """

    def __init__(self, *, compares_walk: bool = False) -> None:
        """Begins with the paper's values; ``compares_walk``: says when labels after the walk get better or worse."""
        super().__init__()
        self.compares_walk = compares_walk
        self.sums: Tensor
        self.beside: Tensor
        self.weights: Tensor
        self.looks: Tensor
        self.found: Tensor
        self.best: Tensor
        self.register_buffer("sums", torch.zeros(len(KINDS), 2, len(CANDIDATES)))
        self.register_buffer("beside", torch.zeros(2, len(CANDIDATES)))
        self.register_buffer("weights", torch.zeros(len(KINDS)))
        self.register_buffer("looks", torch.zeros(len(KINDS), dtype=torch.long))
        self.register_buffer("found", torch.tensor([PAPER] * len(KINDS)))
        self.register_buffer("best", torch.full((len(KINDS),), -1.0))
        self._read: _Read | None = None
        self._looked_since = False
        self.register_load_state_dict_pre_hook(_with_beside)  # type: ignore[no-untyped-call]  # of torch
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]  # of torch

    def wants_look(self, step: int, *, walks: bool) -> bool:
        """Whether to look at the photos of a training step; the same in all processes."""
        return self._state().looks[KINDS.index("walk" if walks else "cam")] < FIRST_LOOKS or step % INTERVAL == 0

    @torch.no_grad()
    def update(
        self,
        cam: Look,
        walk: Look | None,
        *,
        given: Sequence[Threshold] = (AUTO, AUTO, AUTO),
        given_walk: Sequence[Threshold] = (AUTO, AUTO, AUTO),
    ) -> None:
        """Adds a look at a batch, and finds the scores again.

        Args:
            cam: Labels from the CAM.
            walk: Those of the same photos after the walk; None where it makes no labels yet.
            given: Background scores of the CAM as they were set.
            given_walk: Those of the walk; those that are ``auto`` follow the CAM's.
        """
        was_better = self.walk_is_better
        looks = [_summed(look).to(self.sums) for look in (cam, walk) if look is not None]
        decay = DECAY ** (looks[0][2, 0] / LOOKED_AT)  # both kinds are of the same photos
        for kind, seen in enumerate(looks):
            self.sums[kind] = self.sums[kind] * decay + seen[:2]
            self.weights[kind] = self.weights[kind] * decay + seen[2, 0]
            self.looks[kind] += seen[2, 0] > 0
        if walk is not None:
            self.beside = self.beside * decay + looks[0][:2]
        if self.weights[0] > 0:
            splits = self.sums[0, 0] / self.weights[0]
            self.found[0] = _unless_given(best_thresholds(splits), given)
            self.best[0] = at_score(self.found[0, 2], splits)
        if self.weights[1] > 0:
            splits, (before, after) = torch.stack([self.beside, self.sums[1]], dim=1) / self.weights[1]
            self.found[1] = _unless_given(same_share(before, after, self.found[0]), given_walk)
            self.best = torch.stack([at_score(*kind) for kind in zip(self.found[:, 2], splits, strict=True)])
        self._looked("split the photos' colors", was_better=was_better)

    @torch.no_grad()
    def score(self, counts: Int[Tensor, "kinds t c c"]) -> None:
        """Finds the scores again from how labels of held-out photos compare with masks.

        Args:
            counts: Pixels of this process by class, of labels at each of ``CANDIDATES``; rows are targets. Of labels
                from the CAM alone, or of both ``KINDS``.
        """
        was_better = self.walk_is_better
        for kind, miou in enumerate(iou_of(_over_processes(counts)).nanmean(dim=-1)):
            if not miou.isnan().any():  # else no pixel of any mask counts
                self.found[kind], self.best[kind] = best_thresholds(miou), miou.max()
            self.looks[kind] += 1
        self._looked("fit the masks", was_better=was_better)

    def values(self, kind: str) -> Thresholds:
        """Background scores of one of ``KINDS``; those of the CAM until any were found for the walk."""
        index = KINDS.index(kind)
        return self._state().found[index if self._state().best[index] >= 0 else 0]

    @property
    def walk_is_better(self) -> bool:
        """Whether labels after the walk are better than those before it, as both are made; yes until both were seen."""
        before, after = self._state().best
        return after < 0 or after > before

    def _looked(self, what: str, *, was_better: bool) -> None:
        """Reads again what was found, and says so where other labels have become the better ones."""
        self._read, self._looked_since = None, True
        if self.compares_walk and self.walk_is_better != was_better:
            before, after = self._state().best
            kind, how = ("CAM", "no better") if was_better else ("walk", "better")
            note = "labels are from the %s now: after the walk they %s %s (%.3g, before it %.3g)"
            logging.getLogger(__name__).info(note, kind, what, how, after, before)

    def read_again(self) -> None:
        """Takes a look back whose step was left out: then its buffers are those of before the step."""
        if self._looked_since:
            self._read, self._looked_since = None, False

    def _state(self) -> _Read:
        """What was found; read from the device after a look alone, so that no other step waits for it."""
        if self._read is None:
            found = [Thresholds(*scores) for scores in self.found.tolist()]
            self._read = _Read(found, self.looks.tolist(), self.best.tolist())
        return self._read


def _with_beside(_: FoundThresholds, state: dict[str, Tensor], prefix: str, *__: object) -> None:
    """Puts the recent photos' in place of ``beside``, which checkpoints from before there was such a buffer lack."""
    sums, weights = state.get(f"{prefix}sums"), state.get(f"{prefix}weights")
    if sums is not None and weights is not None and f"{prefix}beside" not in state:
        state[f"{prefix}beside"] = sums[0] * weights[1] / weights[0].clamp(min=1e-12)


def _forget(found: FoundThresholds, _: object) -> None:
    found._read = None


def _summed(look: Look) -> Float[Tensor, "3 t"]:
    """Splits and shares summed over the photos of all processes that have a class, and the number of these photos."""
    counted = look.counted[:, None]
    photos = look.counted.sum().expand(look.splits.shape[1])
    return _over_processes(torch.stack([(look.splits * counted).sum(0), (look.shares * counted).sum(0), photos]))


def _over_processes(seen: Tensor) -> Tensor:
    """The sum over all processes, so that they find the same."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(seen)
    return seen


def _unless_given(found: Float[Tensor, "3"], given: Sequence[Threshold]) -> Float[Tensor, "3"]:
    """The scores that were set, and those that were found in place of ``auto``."""
    fixed = found.new_tensor([-1.0 if score == AUTO else float(score) for score in given])
    return torch.where(fixed < 0, found, fixed)


def resolved(given: Sequence[Threshold], memory: FoundThresholds | None, kind: str) -> Thresholds:
    """Background scores with what was found in place of ``auto``.

    Args:
        given: As they were set, in the order of ``Thresholds``.
        memory: What was found; None where nothing is ``auto``.
        kind: Which of ``KINDS`` counts.
    """
    values = PAPER if memory is None else memory.values(kind)
    return Thresholds(
        *(own if isinstance(own, int | float) else value for own, value in zip(given, values, strict=True))
    )
