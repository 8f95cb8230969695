"""Scores of background and present classes, before they become labels: from the CAM, and after the random walk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from afa_wsss.ops.affinity import TokenAffinity, locality_mask
from afa_wsss.ops.image import resize
from afa_wsss.ops.pseudo_label import background_scores
from afa_wsss.ops.random_walk import propagate, transition_matrix
from afa_wsss.ops.window_affinity import window_walk
from afa_wsss.supervision.refinement import Refiner
from afa_wsss.types import AffinityPairs, dense


class Walk(NamedTuple):
    """The random walk on a token grid.

    Attributes:
        grid: Height and width of the grid of the affinity.
        radius: Tokens farther apart (Chebyshev) exchange nothing; None for no limit.
        alpha: Power of the affinity.
        steps: How often scores are propagated.
    """

    grid: tuple[int, int]
    radius: int | None
    alpha: float
    steps: int


@runtime_checkable
class OwnWalk(AffinityPairs, Protocol):
    """An affinity that scores are propagated along in a way of its own."""

    def walked(self, scores: Float[Tensor, "b c h w"], walk: Walk) -> Float[Tensor, "b c h w"]:
        """``scores`` after the walk on ``walk.grid``; those of several thresholds lie one after the other in c."""


def cam_scores(
    cam: Float[Tensor, "b k H W"],
    image_labels: Float[Tensor, "b k"],
    thresholds: Sequence[float],
    *,
    refiner: Refiner,
) -> tuple[Float[Tensor, "b c H W"], ...]:
    """Softmax over [background score, classes present] at each background score, refined (AFA, sections 3.2 and 3.4).

    Args:
        cam: In [0, 1], at the photos' size.
        image_labels: Multi-hot.
        thresholds: Background scores; one pass of the refiner serves all.
        refiner: Refiner of these photos, see ``Refinement.prepare``.
    """
    source = resize(cam, refiner.size)
    return refiner.refine_each([background_scores(source, image_labels, threshold) for threshold in thresholds])


def walk_scores(
    cam: Float[Tensor, "b k H W"],
    affinity: AffinityPairs | Tensor,
    image_labels: Float[Tensor, "b k"],
    thresholds: Sequence[float],
    *,
    walk: Walk,
    chosen: Int[Tensor, " n"] | None = None,
) -> tuple[Float[Tensor, "_ c H W"], ...]:
    """Scores at each background score after the random walk on the token grid, at full size (AFA, section 3.3).

    Args:
        cam: In [0, 1], at the photos' size.
        affinity: Affinity of the tokens of ``walk.grid``; see ``walked`` for its forms.
        image_labels: Multi-hot.
        thresholds: Background scores; one walk serves all.
        walk: Grid, window, power and steps of the random walk.
        chosen: Indices of the photos whose scores are wanted; None for all. All photos walk, since the affinity is that
            of the whole batch.
    """
    tokens = resize(cam, walk.grid)
    scores = torch.cat([background_scores(tokens, image_labels, threshold) for threshold in thresholds], dim=1)
    moved = walked(scores, affinity, walk)
    moved = moved if chosen is None else moved[chosen]
    return resize(moved, cam.shape[-2:]).chunk(len(thresholds), dim=1)


def walked(scores: Float[Tensor, "b c h w"], affinity: AffinityPairs | Tensor, walk: Walk) -> Float[Tensor, "b c h w"]:
    """M <- T M, ``walk.steps`` times.

    A ``TokenAffinity`` within a radius is walked on without its n x n values; an ``OwnWalk`` says how itself.
    """
    # The network's own affinity first: torch.compile cannot trace the question whether a class fits a protocol.
    if not isinstance(affinity, Tensor | TokenAffinity) and isinstance(affinity, OwnWalk):
        return affinity.walked(scores, walk)
    if walk.radius is None:
        return propagate(scores, transition_matrix(dense(affinity), alpha=walk.alpha), steps=walk.steps)
    if isinstance(affinity, TokenAffinity):
        return window_walk(scores, affinity, radius=walk.radius, alpha=walk.alpha, steps=walk.steps)
    window = locality_mask(*walk.grid, radius=walk.radius, device=scores.device)
    return propagate(scores, transition_matrix(dense(affinity), alpha=walk.alpha, mask=window), steps=walk.steps)
