"""Losses beside the official ones, and their edge cases."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from afa_wsss.losses import LabelDistributionLoss
from afa_wsss.losses.affinity import affinity_loss
from afa_wsss.losses.classification import multilabel_soft_margin
from afa_wsss.losses.segmentation import balanced_cross_entropy
from afa_wsss.types import AFAOutput, Targets


def test_losses_equal_the_official_ones(golden) -> None:
    data = {name: torch.from_numpy(value) for name, value in golden("affinity").items() if value.ndim}
    expected = {name: float(golden("affinity")[name]) for name in ("loss", "seg_loss", "cls_loss")}
    found = {
        "loss": affinity_loss(data["affinity"], data["affinity_label"]),
        "seg_loss": balanced_cross_entropy(data["seg_logits"], data["seg_label"]),
        "cls_loss": multilabel_soft_margin(data["cls_logits"], data["image_labels"]),
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, abs=1e-4)


def test_affinity_loss_pulls_equal_pairs_together() -> None:
    """With A a similarity, the formula as printed, which exchanges the two sets, would do the opposite."""
    labels = torch.tensor([[[1, 0], [0, 1]]], dtype=torch.uint8)
    good, bad = torch.tensor([[[0.9, 0.1], [0.1, 0.9]]]), torch.tensor([[[0.1, 0.9], [0.9, 0.1]]])
    assert affinity_loss(good, labels) < affinity_loss(bad, labels)
    assert float(affinity_loss(good, labels)) == pytest.approx(0.5 * 0.2 / 3 + 0.5 * 0.2 / 3)


def test_background_and_foreground_have_equal_weight() -> None:
    logits, labels = torch.randn(2, 4, 6, 6), torch.randint(0, 4, (2, 6, 6))
    labels[0, :3] = 255
    parts = [
        F.cross_entropy(logits, labels.where(chosen, -100)) for chosen in (labels == 0, (labels > 0) & (labels < 255))
    ]
    assert float(balanced_cross_entropy(logits, labels)) == pytest.approx(float(sum(parts)) / 2, abs=1e-6)


@pytest.mark.parametrize("value", [0, 1, 255])
def test_an_empty_set_contributes_nothing_and_gradients_stay_finite(value) -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = balanced_cross_entropy(logits, torch.full((1, 4, 4), value, dtype=torch.uint8))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    assert (float(loss.detach()) == 0) == (value == 255)


def test_without_known_pairs_the_affinity_loss_is_zero() -> None:
    assert float(affinity_loss(torch.rand(1, 3, 3), torch.full((1, 3, 3), 255, dtype=torch.uint8))) == 0


def test_label_distribution_loss_gives_each_label_of_a_photo_an_equal_share() -> None:
    output = AFAOutput(torch.randn(2, 3), torch.randn(2, 4, 4, 4), torch.rand(2, 4, 4), torch.randn(2, 3, 2, 2))
    log = output.class_logits.log_softmax(dim=1)
    expected = -(log[0, 0] + (log[1, 1] + log[1, 2]) / 2) / 2
    targets = Targets(torch.tensor([[1.0, 0, 0], [0, 1.0, 1.0]]))
    assert float(LabelDistributionLoss()(output, targets)) == pytest.approx(float(expected))
