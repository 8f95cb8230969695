from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.imagined_gpu import imagined_gpu
from torch import nn
from torchmetrics.functional.classification import binary_auroc

from afa_wsss.evaluation.class_evidence import LEAST_PHOTOS, ClassEvidence, region_means


def split_by_sorting(scores: np.ndarray) -> tuple[float, float]:
    """The definition: the mean of the fifth of the tokens with the highest scores, and that of the others."""
    falling = np.sort(np.maximum(scores, 0).ravel())[::-1]
    size = max(1, round(falling.size / 5))
    return falling[:size].mean(), falling[size:].mean()


def test_the_region_is_the_fifth_of_the_tokens_with_the_highest_scores():
    cam = torch.randn(3, 2, 7, 9)
    inside, outside = region_means(cam)
    for photo in range(3):
        for index in range(2):
            expected = split_by_sorting(cam[photo, index].numpy())
            assert (inside[photo, index].item(), outside[photo, index].item()) == pytest.approx(expected, abs=1e-5)
    inside, outside = region_means(torch.tensor([[[[1.0, 3.0]]]]))
    assert (inside.item(), outside.item()) == (3.0, 1.0)


def test_the_evidence_is_that_of_the_definition():
    cam, image_labels = 3 * torch.randn(80, 2, 5, 6), (torch.rand(80, 2) < 0.4).float()
    cam += image_labels[..., None, None] * torch.rand(80, 2, 5, 6)
    evidence = ClassEvidence(2)
    for photos in range(0, 80, 16):
        evidence.update(cam[photos : photos + 16], image_labels[photos : photos + 16])
    found = evidence.compute()
    inside, outside = region_means(cam)
    for index in range(2):
        present = image_labels[:, index] == 1
        for means, area in ((inside, found.inside), (outside, found.outside)):
            expected = 100 * binary_auroc(means[:, index], present.long(), thresholds=None)
            assert area[index].item() == pytest.approx(expected.item(), abs=0.3)
        rises = [means[present, index].mean() - means[~present, index].mean() for means in (inside, outside)]
        assert found.share[index].item() == pytest.approx((100 * rises[1] / rises[0]).item(), rel=1e-4)


def test_scores_of_any_size_are_told_apart():
    for size in (1e-3, 1.0, 500.0):
        cam = size * (torch.rand(40, 1, 4, 4) + torch.arange(40)[:, None, None, None] % 2)
        evidence = ClassEvidence(1)
        evidence.update(cam, (torch.arange(40)[:, None] % 2).float())
        assert evidence.compute().inside.item() == 100


def test_few_photos_with_or_without_a_class_are_no_evidence():
    evidence = ClassEvidence(3)
    image_labels = torch.zeros(2 * LEAST_PHOTOS, 3)
    image_labels[:LEAST_PHOTOS, 0] = image_labels[1:LEAST_PHOTOS, 1] = image_labels[:, 2] = 1
    evidence.update(torch.rand(len(image_labels), 3, 4, 4) + image_labels[..., None, None], image_labels)
    for values in evidence.compute():
        assert values.isnan().tolist() == [False, True, True]


def trained_scores(*, background_tells: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Class scores that a small network learns from photos of a square or none, and their image labels.

    The square is red or green. ``background_tells``: both classes have gray squares, and their backgrounds the colors.
    """
    classes = torch.arange(96) % 2
    colors = torch.tensor([[1.0, 0.2, 0.2], [0.2, 1.0, 0.2]])[classes][..., None, None].expand(-1, -1, 24, 24)
    photos = 0.4 + 0.3 * torch.rand(96, 3, 24, 24)
    if background_tells:
        photos = 0.5 * photos + 0.5 * colors
    for index, (top, left) in enumerate(torch.randint(2, 12, (96, 2)).tolist()):
        square = (index, slice(None), slice(top, top + 10), slice(left, left + 10))
        photos[square] = 0.5 if background_tells else colors[square]
    image_labels = torch.eye(2)[classes]
    network = nn.Sequential(nn.Conv2d(3, 16, 4, stride=2), nn.ReLU(), nn.Conv2d(16, 2, 2, stride=2, bias=False))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(80):
        loss = nn.functional.multilabel_soft_margin_loss(network(photos).mean(dim=(2, 3)), image_labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network(photos).detach(), image_labels


@pytest.mark.parametrize("background_tells", [True, False])
def test_a_network_that_looks_at_the_background_is_known(background_tells):
    cam, image_labels = trained_scores(background_tells=background_tells)
    evidence = ClassEvidence(2)
    evidence.update(cam, image_labels)
    found = evidence.compute()
    assert (found.inside > 99).all()
    if background_tells:
        assert (found.outside > 97).all()
        assert (found.share > 55).all()
    else:
        assert (found.share < 35).all()


def test_it_waits_for_no_gpu():
    metric = ClassEvidence(2)
    with imagined_gpu() as move:
        move(metric).update(move(torch.zeros(2, 2, 4, 4)), move(torch.ones(2, 2)))
