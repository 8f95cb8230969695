"""Choosing by the masks of a few photos, beside a loop over all subsets."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.evaluation.metrics import iou_of
from afa_wsss.evaluation.resampled import PhotoCounts, bootstrap_spread, counts_of, expected, miou_of

PHOTOS, SETTINGS, CLASSES = 6, 4, 3


@pytest.fixture
def confusion():
    found = torch.randint(0, 40, (PHOTOS, SETTINGS, CLASSES, CLASSES), generator=torch.Generator().manual_seed(1))
    return balanced(found)


def balanced(found):
    """Targets have to be those of the photo under every setting: the last column takes what is missing."""
    rows = found.sum(-1)
    found[..., -1] += rows.max(dim=1, keepdim=True).values - rows
    return found


@pytest.fixture
def counts(confusion):
    return PhotoCounts(*(torch.stack(parts) for parts in zip(*map(counts_of, confusion), strict=True)))


def oracle(confusion, photos):
    return iou_of(confusion[list(photos)].sum(0)).nanmean(-1)


def total_miou(counts):
    hits, labeled, targets = (part.sum(0) for part in counts)
    return miou_of(hits, labeled, targets.expand_as(hits))


def test_scores_of_counts_are_those_of_confusion_matrices(confusion, counts):
    torch.testing.assert_close(total_miou(counts), oracle(confusion, range(PHOTOS)))


def test_a_class_without_targets_does_not_count():
    hits, labeled = torch.tensor([5, 0]), torch.tensor([5, 7])
    assert float(miou_of(hits, labeled, torch.tensor([10, 0]))) == 50.0


def test_the_mean_is_that_over_all_subsets(confusion, counts):
    scores, before = [], []
    for seen in combinations(range(PHOTOS), 2):
        best = int(oracle(confusion, seen).argmax())
        others = oracle(confusion, [photo for photo in range(PHOTOS) if photo not in seen])
        scores.append(float(others[best]))
        before.append(float(others[1]))
    found = expected(counts, 2, given=1, draws=3000)
    assert found.mean == pytest.approx(sum(scores) / len(scores), abs=0.2)
    assert found.gain == pytest.approx((sum(scores) - sum(before)) / len(scores), abs=0.2)
    assert min(scores) - 1e-3 <= found.low <= found.mean <= found.high <= max(scores) + 1e-3
    worse = 100 * sum(new < old for new, old in zip(scores, before, strict=True)) / len(scores)
    assert found.worse == pytest.approx(worse, abs=4)


def test_draws_depend_on_the_seed_alone(counts):
    assert expected(counts, 3, draws=20) == expected(counts, 3, draws=20)
    assert expected(counts, 3, draws=20).gain is None
    assert expected(counts, 3, draws=20) != expected(counts, 3, draws=20, seed=1)


def test_the_bootstrap_spreads_around_the_score(counts):
    low, high = bootstrap_spread(counts, 2)
    assert low < float(total_miou(counts)[2]) < high
    same = PhotoCounts(*(part[:1].expand(PHOTOS, *part.shape[1:]) for part in counts))
    low, high = bootstrap_spread(same, 2)
    assert low == pytest.approx(high, abs=1e-5)  # photos that are alike


@pytest.mark.parametrize("photos", [0, PHOTOS])
def test_some_photos_must_be_left(counts, photos):
    with pytest.raises(UserError, match=f"fewer than the {PHOTOS} with masks, got {photos}"):
        expected(counts, photos)
