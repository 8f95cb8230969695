"""Labels of one photo under many settings: every background score, walk and refinement, from the same maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from afa_wsss.ops.affinity import TokenAffinity
from afa_wsss.ops.cam import zero_absent
from afa_wsss.ops.pseudo_label import argmax_labels
from afa_wsss.supervision.afa import AFALabels
from afa_wsss.supervision.maps import Maps
from afa_wsss.supervision.par import PAR
from afa_wsss.supervision.refinement import NoRefinement, Refinement, Refiner
from afa_wsss.supervision.scores import cam_scores, walk_scores

STAGES = ("cam", "cam_par", "walk", "walk_par")
REFINED = "+par"
"""Suffix of a walk's title for its labels after refinement."""

NODES = 7
"""Background scores that are computed where more are asked for."""


class Study(NamedTuple):
    """What a sweep computes.

    Attributes:
        maker: Scales of the CAMs, and the refinement.
        walks: Walks by the name of their stage; the grid of each photo is set later.
        scores: Background scores in [0, 1], ascending.
        stages: Some of ``STAGES``.
    """

    maker: AFALabels
    walks: Mapping[str, AFALabels]
    scores: Sequence[float]
    stages: Sequence[str] = STAGES


def stage_names(study: Study) -> list[str]:
    """What ``stage_labels`` yields, in its order."""
    walks = [(stage, title + end) for title in study.walks for stage, end in (("walk", ""), ("walk_par", REFINED))]
    return [name for stage, name in (("cam", "cam"), ("cam_par", "cam_par"), *walks) if stage in study.stages]


def stage_labels(maps: Maps, refiner: Refiner, study: Study) -> Iterator[tuple[str, Tensor]]:
    """(t, H, W) labels of the slots of one photo at every background score, by stage."""
    cam, present = maps.cam, maps.present.labels
    if "cam" in study.stages:
        value, best = zero_absent(cam, present)[0].max(dim=0)
        above = value > value.new_tensor(study.scores).view(-1, 1, 1)
        yield "cam", torch.where(above, best + 1, 0).to(torch.uint8)
    nodes = score_nodes(study.scores) if is_linear(maps, study.maker.refinement) else tuple(study.scores)
    if "cam_par" in study.stages:
        yield "cam_par", _labels(cam_scores(cam, present, nodes, refiner=refiner), nodes, study.scores)
    walks = study.walks if {"walk", "walk_par"} & set(study.stages) else {}
    for title, maker in walks.items():
        moved = walk_scores(cam, maps.affinity, present, nodes, walk=maker.walk_on(maps.grid))
        if "walk" in study.stages:
            yield title, _labels(moved, nodes, study.scores)
        if "walk_par" in study.stages:
            yield f"{title}{REFINED}", _labels(refiner.refine_each(moved, in_boxes=True), nodes, study.scores)


def is_linear(maps: Maps, refinement: Refinement) -> bool:
    """Whether walk and refinement are known to be linear in the scores; one of one's own may be anything, a PAR too."""
    return type(refinement) in (PAR, NoRefinement) and isinstance(maps.affinity, Tensor | TokenAffinity)


def score_nodes(scores: Sequence[float]) -> tuple[float, ...]:
    """The background scores to compute: ``scores`` themselves where they are few, else Chebyshev points of [0, 1].

    Scores at a pixel are smooth in the background score t: exp(c) / (exp(t) + Z), with Z of at least 1, has its poles
    at a distance of pi from the axis. Walk and PAR are linear. The polynomial through 7 points is within 1e-7 of it.
    """
    if len(scores) <= NODES:
        return tuple(scores)
    return tuple(0.5 - 0.5 * math.cos(math.pi * (2 * index + 1) / (2 * NODES)) for index in range(NODES))


def between_nodes(nodes: Sequence[float], scores: Sequence[float]) -> Float[Tensor, "t n"]:
    """Weights of Lagrange's polynomial: a function of degree below n at ``scores``, from its values at ``nodes``."""
    x, at = torch.tensor(nodes, dtype=torch.float64), torch.tensor(scores, dtype=torch.float64)
    apart = x[:, None] - x
    others = ~torch.eye(len(nodes), dtype=torch.bool)
    shares = (at[:, None, None] - x) / apart.masked_fill(~others, 1.0)
    return shares.masked_fill(~others, 1.0).prod(dim=-1).float()


def _labels(maps: Sequence[Tensor], nodes: Sequence[float], scores: Sequence[float]) -> Tensor:
    """(t, H, W) labels of one photo at ``scores``, from its score maps at ``nodes``."""
    if tuple(nodes) == tuple(scores):
        return torch.cat([argmax_labels(each) for each in maps])
    weights = between_nodes(nodes, scores).to(maps[0].device)
    stacked = torch.cat(list(maps))
    return torch.cat([argmax_labels(torch.tensordot(row, stacked, dims=1)[None]) for row in weights])
