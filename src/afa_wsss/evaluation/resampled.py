"""What to expect of settings that are chosen by the masks of a few photos: choosing and scoring, resampled."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from afa_wsss.errors import UserError

SPREAD = (0.05, 0.95)
"""Quantiles that bound what is expected."""


class PhotoCounts(NamedTuple):
    """Pixels of each photo, of which a score of any set of photos is made. Pixels without a target are left out.

    Attributes:
        hits: Pixels of each class that are labeled as it, under each of s settings.
        labeled: Pixels labeled as the class, right or wrong.
        targets: Pixels of the class.
    """

    hits: Int[Tensor, "n s c"]
    labeled: Int[Tensor, "n s c"]
    targets: Int[Tensor, "n c"]


class Expected(NamedTuple):
    """mIoU in percent of the settings that the masks of ``photos`` photos choose, on other photos.

    Attributes:
        photos: How many have masks.
        mean: Over the draws.
        low: Nineteen of twenty draws are above it.
        high: Nineteen of twenty draws are below it.
        gain: Mean difference from a given setting on the same other photos; None where none is given.
        worse: Share of draws, in percent, that are worse than that setting; None where none is given.
    """

    photos: int
    mean: float
    low: float
    high: float
    gain: float | None
    worse: float | None


def counts_of(confusions: Int[Tensor, "s c c"]) -> tuple[Int[Tensor, "s c"], Int[Tensor, "s c"], Int[Tensor, " c"]]:
    """Hits, labeled pixels and targets of one photo from its confusion matrices; rows are targets."""
    return confusions.diagonal(dim1=-2, dim2=-1), confusions.sum(dim=-2), confusions[0].sum(dim=-1)


def miou_of(
    hits: Shaped[Tensor, "*s c"], labeled: Shaped[Tensor, "*s c"], targets: Shaped[Tensor, "*s c"]
) -> Float[Tensor, "*s"]:
    """Mean IoU in percent over the classes that have targets; NaN where none has. Counts may be weighted sums."""
    hits, targets = hits.double(), targets.double()
    iou = 100 * hits / (targets + labeled - hits)
    return torch.where(targets > 0, iou, torch.nan).nanmean(dim=-1).float()


def expected(
    counts: PhotoCounts, photos: int, *, given: int | None = None, draws: int = 500, seed: int = 0
) -> Expected:
    """Draws photos without replacement, chooses the setting with the best mIoU on them, and scores it on the others.

    Args:
        counts: Counts of all photos.
        photos: How many are drawn each time.
        given: A setting to compare with.
        draws: How often.
        seed: Seed of the draws.

    Raises:
        UserError: Where no photo would be left to score on, or none to choose by.
    """
    total = len(counts.targets)
    if not 0 < photos < total:
        raise UserError(f"need at least 1 photo to choose by, and fewer than the {total} with masks, got {photos}")
    random = torch.Generator().manual_seed(seed)
    whole = [part.sum(0) for part in counts]
    scores = torch.empty(draws, 2)  # NaN where no photo that is left has a target
    for draw in range(draws):
        chosen = torch.randperm(total, generator=random)[:photos]
        seen = [part[chosen].sum(0) for part in counts]
        best = int(_all_scores(seen).nan_to_num(-1.0).argmax())
        others = _all_scores([every - some for every, some in zip(whole, seen, strict=True)])
        scores[draw] = torch.stack([others[best], others[best if given is None else given]])
    found, before = scores[~scores.isnan().any(dim=1)].double().unbind(1)
    low, high = found.quantile(torch.tensor(SPREAD, dtype=torch.float64)).tolist()
    gain = None if given is None else float((found - before).mean())
    worse = None if given is None else float(100 * (found < before).double().mean())
    return Expected(photos, float(found.mean()), low, high, gain, worse)


def _all_scores(counts: list[Tensor]) -> Float[Tensor, " s"]:
    hits, labeled, targets = counts
    return miou_of(hits, labeled, targets.expand_as(hits))


def bootstrap_spread(counts: PhotoCounts, setting: int, *, draws: int = 500, seed: int = 0) -> tuple[float, float]:
    """Quantiles ``SPREAD`` of the mIoU of one setting over photos that are drawn with replacement."""
    total = len(counts.targets)
    random = torch.Generator().manual_seed(seed)
    weights = torch.zeros(draws, total, dtype=torch.float64)
    weights.scatter_add_(1, torch.randint(total, (draws, total), generator=random), torch.ones_like(weights))
    parts = (counts.hits[:, setting], counts.labeled[:, setting], counts.targets)
    hits, labeled, targets = (weights @ part.double() for part in parts)
    quantiles = torch.tensor(SPREAD, dtype=torch.float64)
    low, high = miou_of(hits, labeled, targets).double().nanquantile(quantiles).tolist()
    return low, high
