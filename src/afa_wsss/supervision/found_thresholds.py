"""Background scores that follow the photos while training: ``supervision.low=auto`` and its siblings."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from afa_wsss.evaluation.metrics import iou_of
from afa_wsss.ops.processes import sum_over_processes
from afa_wsss.supervision.recent_splits import SLOW_DECAY, RecentSplits
from afa_wsss.supervision.score_curves import (
    CANDIDATES,
    at_score,
    best_thresholds,
    same_share,
    thresholds_at,
    weights_at,
)
from afa_wsss.supervision.thresholds import AUTO, PAPER, Threshold, Thresholds, compared_at, unless_given

FIRST_LOOKS, INTERVAL = 4, 10
"""The first looks are at every step, later ones at every tenth, or oftener where photos have no class."""

EARLY_LOOKS = 20
"""So many looks at labels after the walk come twice as often: two kinds of labels differ less than two scores do."""

SURE = 2
"""Standard errors by which the walk has to lead before labels are made with it."""


class Look(NamedTuple):
    """What the labels at each of ``CANDIDATES`` are like in photos that have a class.

    Attributes:
        splits: Result of ``ops.color_split`` for each photo and candidate.
        shares: Share of the pixels that are foreground, in [0, 1].
        left_out: How many photos without a class were passed over.
    """

    splits: Float[Tensor, "b t"]
    shares: Float[Tensor, "b t"]
    left_out: int = 0


class _Read(NamedTuple):
    """Buffers of ``FoundThresholds`` as plain numbers."""

    found: list[Thresholds]
    looks: list[int]
    interval: int
    best: list[float]
    walk_leads: bool


KINDS = ("cam", "walk")
"""Labels from the CAM and those after the walk have background scores of their own."""


class FoundThresholds(nn.Module):
    """Background scores at which labels split the photos' colors best, or fit the masks of held-out photos best.

    From photos, over recent training crops (``update``): labels at a background score split a photo into foreground and
    background. Where they follow an object, much of the variance of the photo's colors lies between the two parts
    (``ops.color_split``); labels that are too small or too large mix colors of both. For labels from the CAM
    ``background`` is the candidate whose mean split is the farthest above that at the paper's score, less one standard
    error of this lead over the photos: a candidate that is best by chance moves nothing. Between ``low`` and ``high``
    the split is at least ``NEARLY`` as good as there, so pixels that change sides there are unknown. The walk moves
    labels and makes no more of them: its scores are those at which as many pixels are foreground as at the scores of
    the CAM. No mask is read.

    From masks of held-out photos (``score``): ``background`` is the candidate whose labels have the best mIoU, and
    between ``low`` and ``high`` the mIoU is at least ``NEARLY`` as good. Masks say which labels are right, so the walk
    has a search of its own. Each look is at the same photos, so nothing is remembered of earlier ones.

    Attributes:
        cam: Splits of labels from the CAM at each of ``CANDIDATES``.
        both: Splits of labels from the CAM, and then of those after the walk, on the photos that were looked at both
            ways: both kinds are compared on the same photos.
        shares: Foreground of both kinds, summed over the photos of ``both`` with their weights.
        looks: How often photos were looked at; not counted where none of them had a class.
        photos: That were looked at, and that were passed over since they have no class.
        found: ``low``, ``high`` and ``background``.
        best: Mean split, or mIoU on masks, of the labels at ``background``, of both kinds on the same photos once there
            are two; -1 before the first look.
        walk_leads: Whether labels after the walk are better than those before it.
    """

    def __init__(self, *, compares_walk: bool = False) -> None:
        """Begins with the paper's values; ``compares_walk``: says when labels after the walk get better or worse."""
        super().__init__()
        self.compares_walk = compares_walk
        self.cam = RecentSplits(len(CANDIDATES))
        self.both = RecentSplits(len(KINDS) * len(CANDIDATES), decay=SLOW_DECAY)
        self.shares: Tensor
        self.looks: Tensor
        self.photos: Tensor
        self.found: Tensor
        self.best: Tensor
        self.walk_leads: Tensor
        self.register_buffer("shares", torch.zeros(len(KINDS), len(CANDIDATES)))
        self.register_buffer("looks", torch.zeros(len(KINDS), dtype=torch.long))
        self.register_buffer("photos", torch.zeros(2, dtype=torch.long))
        self.register_buffer("found", torch.tensor([PAPER] * len(KINDS)))
        self.register_buffer("best", torch.full((len(KINDS),), -1.0))
        self.register_buffer("walk_leads", torch.tensor(data=False))
        self._read: _Read | None = None
        self._looked_since = False
        self.register_load_state_dict_pre_hook(_as_stored_now)  # type: ignore[no-untyped-call]  # of torch
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]  # of torch

    def wants_look(self, step: int, *, walks: bool, same_photos: bool = False) -> bool:
        """Whether to look at photos at a training step; the same in all processes.

        Args:
            step: From 0.
            walks: Whether the walk makes labels yet.
            same_photos: Whether each look is at the same ones, as at those with masks: early looks then tell no more.
        """
        state = self._state()
        looks = state.looks[KINDS.index("walk" if walks else "cam")]
        early = walks and looks < EARLY_LOOKS and not same_photos
        return looks < FIRST_LOOKS or step % (math.ceil(state.interval / 2) if early else state.interval) == 0

    @torch.no_grad()
    def update(
        self,
        cam: Look,
        walk: Look | None,
        *,
        given: Sequence[Threshold] = (AUTO, AUTO, AUTO),
        given_walk: Sequence[Threshold] = (AUTO, AUTO, AUTO),
    ) -> None:
        """Adds a look at the photos of a batch that have a class, and finds the scores again.

        Args:
            cam: Labels from the CAM.
            walk: Those of the same photos after the walk; None where it makes no labels yet.
            given: Background scores of the CAM as they were set.
            given_walk: Those of the walk; those that are ``auto`` follow the CAM's.
        """
        was_better = self.walk_is_better
        with torch.autocast(self.found.device.type, enabled=False):
            self._remember(cam, walk)
            self._find(given, given_walk)
        self._looked("split the photos' colors", was_better=was_better)

    def _remember(self, cam: Look, walk: Look | None) -> None:
        photos = sum_over_processes(self.photos.new_tensor([len(cam.splits), cam.left_out]))
        self.photos += photos
        self.looks[: 1 if walk is None else 2] += photos[0] > 0
        self.cam.add(cam.splits)
        if walk is not None:
            self.both.add(torch.cat([cam.splits, walk.splits], dim=1))
            shares = torch.stack([cam.shares.sum(dim=0), walk.shares.sum(dim=0)]).to(self.shares)
            self.shares = self.shares * self.both.after(photos[0]) + sum_over_processes(shares)

    def _find(self, given: Sequence[Threshold], given_walk: Sequence[Threshold]) -> None:
        if not self.cam.weight > 0:
            return
        found = self._thresholds()
        self.found[0] = unless_given(found, given)
        compared = compared_at(found, given)
        self.best[0] = at_score(compared, self.cam.means)
        if self.both.weight > 0:
            before, after = self.shares / self.both.weight
            self.found[1] = unless_given(same_share(before, after, self.found[0]), given_walk)
            walked = same_share(before, after, compared.expand(3))
            self._compare_walk(compared, compared_at(walked, given_walk))

    def _thresholds(self) -> Float[Tensor, "3"]:
        """The paper's where labels at the chosen score split no color: every other score would be nearly as good."""
        means, chosen = self.cam.means, self._background()
        found = thresholds_at(means, chosen)
        return torch.where(means[chosen] > 0, found, found.new_tensor(PAPER))

    def _background(self) -> int:
        """The candidate whose lead over the paper's score is the largest, less a standard error."""
        each, paper = torch.eye(len(CANDIDATES)).to(self.found), CANDIDATES.index(PAPER.background)
        lead = self.cam.lead(each - each[paper])
        sure = lead.mean - lead.error
        sure[paper] = 1e-6  # so that it is taken where no candidate leads, as on photos of one color
        return int(sure.argmax())

    def _compare_walk(self, *made_at: Tensor) -> None:
        """Compares both kinds at the scores ``made_at``.

        Labels after the walk are taken once they lead by more than ``SURE`` standard errors, and until they lead no
        more: a walk that joins objects to their background costs more than a good one gains (docs/real.md).
        """
        before, after = (weights_at(score, self.found) for score in made_at)
        lead = self.both.lead(torch.cat([-before, after])[None])
        self.best = torch.stack([before, after]).mul(self.both.means.view(len(KINDS), -1)).sum(dim=1)
        self.walk_leads = ((lead.mean > SURE * lead.error) | (self.walk_leads & (lead.mean > 0)))[0]

    @torch.no_grad()
    def score(
        self,
        counts: Int[Tensor, "kinds t c c"],
        *,
        given: Sequence[Threshold] = (AUTO, AUTO, AUTO),
        given_walk: Sequence[Threshold] = (AUTO, AUTO, AUTO),
    ) -> None:
        """Finds the scores again from how labels of held-out photos compare with masks.

        Args:
            counts: Pixels of this process by class, of labels at each of ``CANDIDATES``; rows are targets. Of labels
                from the CAM alone, or of both ``KINDS``.
            given: Background scores of the CAM as they were set.
            given_walk: Those of the walk.
        """
        was_better = self.walk_is_better
        total = sum_over_processes(counts)
        has_object = bool(total[..., 1:, :].any())  # else the most background is the best
        for kind, (miou, own) in enumerate(zip(iou_of(total).nanmean(dim=-1), (given, given_walk), strict=False)):
            if has_object and not miou.isnan().any():  # else no pixel of any mask counts
                found = best_thresholds(miou)
                self.found[kind], self.best[kind] = unless_given(found, own), at_score(compared_at(found, own), miou)
            self.looks[kind] += 1
        self.walk_leads = self.best[1] > self.best[0]
        self._looked("fit the masks", was_better=was_better)

    def values(self, kind: str) -> Thresholds:
        """Background scores of one of ``KINDS``; those of the CAM until any were found for the walk."""
        index = KINDS.index(kind)
        return self._state().found[index if self._state().best[index] >= 0 else 0]

    @property
    def walk_is_better(self) -> bool:
        """Whether labels after the walk are better than those before it, as both are made; yes until both were seen."""
        return self._state().best[1] < 0 or self._state().walk_leads

    def _looked(self, what: str, *, was_better: bool) -> None:
        """Reads again what was found, and says so where other labels have become the better ones."""
        self._read, self._looked_since = None, True
        if self.compares_walk and self.walk_is_better != was_better:
            before, after = self._state().best
            worse = "not surely better" if after > before else "no better"
            kind, how = ("CAM", worse) if was_better else ("walk", "better")
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
            interval = _interval(*self.photos.tolist())
            self._read = _Read(found, self.looks.tolist(), interval, self.best.tolist(), bool(self.walk_leads))
        return self._read


def _as_stored_now(found: FoundThresholds, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Reads checkpoints from before differences were tested: scores stay, the photos behind them are forgotten."""
    if f"{prefix}weights" not in state or f"{prefix}best" not in state:
        return
    for name in ("sums", "beside", "weights"):
        state.pop(f"{prefix}{name}", None)
    before, after = state[f"{prefix}best"]
    state[f"{prefix}walk_leads"] = after > before
    for name, value in type(found)().state_dict().items():
        if name.startswith(("cam.", "both.", "shares", "photos")):
            state[f"{prefix}{name}"] = value


def _interval(with_class: int, without: int) -> int:
    """Steps between looks: those without a class cost nothing, so the fewer have one, the more steps look at theirs."""
    return max(1, round(INTERVAL * with_class / (with_class + without))) if with_class else INTERVAL


def _forget(found: FoundThresholds, _: object) -> None:
    found._read = None


def resolved(given: Sequence[Threshold], memory: FoundThresholds | None, kind: str) -> Thresholds:
    """Background scores with what was found in place of ``auto``.

    Args:
        given: Background scores as they were set, in the order of ``Thresholds``.
        memory: What was found; None where nothing is ``auto``.
        kind: Which of ``KINDS`` counts.
    """
    values = PAPER if memory is None else memory.values(kind)
    return Thresholds(
        *(own if isinstance(own, int | float) else value for own, value in zip(given, values, strict=True))
    )
