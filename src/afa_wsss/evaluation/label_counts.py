"""Confusion matrices at every background score, and what follows from them for pairs of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.evaluation.metrics import iou_of
from afa_wsss.types import IGNORE_INDEX


class PairQuality(NamedTuple):
    """How good the labels of a pair of background scores are, in percent.

    Attributes:
        labeled: Share of the pixels that are foreground at the high score or background at the low one.
        miou: Over these pixels alone.
        foreground: Share of the pixels that are labeled foreground.
        foreground_precision: Share of those whose class is right.
        background: Share of the pixels that are labeled background.
        background_precision: Share of those that are background.
    """

    labeled: float
    miou: float
    foreground: float
    foreground_precision: float
    background: float
    background_precision: float


def confusions(
    labels: UInt8[Tensor, "t ..."], target: UInt8[Tensor, "..."], *, classes: int
) -> Int[Tensor, "t {classes} {classes}"]:
    """Confusion matrices of several labels of the same pixels, in any shape; rows are targets, 255 is not counted.

    Args:
        labels: Below ``classes``, each pixel has one: those of one background score, where none is unknown.
        target: Classes, 255 ignored.
        classes: With the background.
    """
    count, rows = len(labels), IGNORE_INDEX + 1
    starts = torch.arange(count, device=labels.device, dtype=torch.int32) * rows * classes
    kinds = target.int() * classes + labels.int() + starts.view(-1, *(1,) * target.ndim)
    found = torch.bincount(kinds.flatten(), minlength=count * rows * classes)
    return found.view(count, rows, classes)[:, :classes]


def curve(counts: Int[Tensor, "t c c"]) -> Float[Tensor, " t"]:
    """The mIoU at every score, in percent."""
    return iou_of(counts).nanmean(dim=-1)


def pair_quality(low: Int[Tensor, "c c"], high: Int[Tensor, "c c"]) -> PairQuality:
    """Quality of the labels that two background scores agree on, see ``afa_wsss.ops.pseudo_label.combine``.

    A higher background score takes pixels from the classes and gives none back: of softmax, walk and PAR none has a
    negative weight. What is background at ``low`` is therefore background at ``high``, and the counts of the pair are
    the foreground of one matrix and the background of the other.

    Args:
        low: Confusion matrix at the low score.
        high: Confusion matrix at the high score.
    """
    pair = torch.cat([low[:, :1], high[:, 1:]], dim=1).double()
    pixels, chosen = low.sum().double(), pair.sum(dim=0)
    foreground = chosen[1:].sum()
    right = pair.diagonal()
    return PairQuality(
        labeled=float(100 * pair.sum() / pixels),
        miou=float(iou_of(pair).nanmean()),
        foreground=float(100 * foreground / pixels),
        foreground_precision=float(100 * right[1:].sum() / foreground),
        background=float(100 * chosen[0] / pixels),
        background_precision=float(100 * right[0] / chosen[0]),
    )


def best_pair(
    counts: Int[Tensor, "t c c"], scores: Sequence[float], background: float, *, labeled: float
) -> tuple[float, float]:
    """The background scores low and high whose labels have the best mIoU, of those that leave enough pixels labeled.

    Args:
        counts: Confusion matrices at ``scores``.
        scores: Ascending.
        background: Lies between low and high, or is one of them.
        labeled: Least share of the pixels, in percent, that has a label.

    Returns:
        Low and high. Where no pair leaves enough pixels labeled, the neighbors of ``background`` that leave most.

    Raises:
        UserError: For fewer than two scores.
    """
    if len(scores) < 2:
        raise UserError(f"need two background scores to choose low and high from, got {len(scores)}")
    pairs = [
        (low, high)
        for low in range(len(scores))
        for high in range(low + 1, len(scores))
        if scores[low] <= background <= scores[high]
    ]
    found = {pair: pair_quality(counts[pair[0]], counts[pair[1]]) for pair in pairs}
    enough = [pair for pair in pairs if found[pair].labeled >= labeled]
    if enough:
        low, high = max(enough, key=lambda pair: found[pair].miou)
    else:
        low, high = max(pairs, key=lambda pair: found[pair].labeled)
    return scores[low], scores[high]
