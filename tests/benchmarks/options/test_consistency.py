"""Consistency on pixels without a label: which pixels have a target, the loss on them, and a run of the command."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.options.consistency import consistency, sure_where_unknown

from afa_wsss.errors import UserError
from afa_wsss.ops.image import normalize
from afa_wsss.supervision import AFALabels, NoRefinement
from afa_wsss.training.terms import check_targets
from afa_wsss.types import AFAOutput, Targets
from benchmarks.options import ConsistencyLabels, ConsistencyLoss, DuPLLabels

SETTINGS = {"low": 0.1, "high": 0.9, "first_step": 0, "walk_first_step": None, "refinement": NoRefinement()}


def softmax(values):
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def targets_by_loops(logits, labels, boxes, image_labels, confidence):
    """Pixel by pixel of the logits; the label is that at the upper left pixel of each, nearest from below."""
    found = np.zeros_like(logits)
    scale = labels.shape[-1] // logits.shape[-1]
    for image, row, column in np.ndindex(len(logits), *logits.shape[2:]):
        y, x = row * scale, column * scale
        top, bottom, left, right = boxes[image]
        probabilities = softmax(logits[image, :, row, column])
        best = int(probabilities.argmax())
        inside = top <= y < bottom and left <= x < right
        there = best == 0 or image_labels[image, best - 1] == 1
        if labels[image, y, x] == 255 and inside and there and probabilities[best] > confidence:
            found[image, :, row, column] = probabilities
    return found


def loss_by_loops(logits, soft):
    found = []
    for image, row, column in np.ndindex(len(logits), *logits.shape[2:]):
        if soft[image, :, row, column].sum() > 0:
            logarithms = np.log(softmax(logits[image, :, row, column]))
            found.append(-(soft[image, :, row, column] * logarithms).sum())
    return float(np.mean(found)) if found else 0.0


@pytest.mark.parametrize("confidence", [0.0, 0.6, 0.9])
def test_targets_equal_loops_over_pixels(batch, confidence) -> None:
    logits = 3 * torch.randn(2, 4, 16, 16)
    labels = torch.from_numpy(np.random.default_rng(0).choice([0, 1, 255], (2, 64, 64)).astype(np.uint8))
    found = sure_where_unknown(logits, labels, batch, confidence=confidence)
    wanted = targets_by_loops(
        logits.double().numpy(), labels.numpy(), batch.boxes.tolist(), batch.image_labels.numpy(), confidence
    )
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-6)
    assert 0 < (found.sum(1) > 0).sum() < found[:, 0].numel() / 2


def test_loss_equals_loops_over_pixels() -> None:
    logits, soft = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6).softmax(dim=1)
    soft *= torch.rand(2, 1, 6, 6) < 0.3
    wanted = loss_by_loops(logits.double().numpy(), soft.double().numpy())
    assert consistency(logits, soft).item() == pytest.approx(wanted, abs=1e-5)
    assert consistency(logits, torch.zeros_like(soft)).item() == 0


def test_only_pixels_with_a_target_have_a_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    soft = torch.zeros(1, 3, 4, 4)
    soft[0, :, 1, 2] = torch.tensor([0.1, 0.9, 0.0])
    output = AFAOutput(torch.zeros(1, 2), logits, torch.zeros(1, 4, 4), torch.zeros(1, 2, 2, 2))
    ConsistencyLoss()(output, Targets(torch.ones(1, 2), others={"soft_target": soft})).backward()
    moved = logits.grad.abs().sum(1)[0] > 0
    assert moved.nonzero().tolist() == [[1, 2]]
    torch.testing.assert_close(logits.grad[0, :, 1, 2], (logits.detach().softmax(1) - soft)[0, :, 1, 2])


@pytest.mark.parametrize("kind", [ConsistencyLabels, DuPLLabels])
def test_the_weak_view_is_the_mirrored_crop_in_evaluation_mode(network, batch, kind) -> None:
    images = normalize(batch.images)
    output = network(images)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    maker = (
        kind(confidence=0.0, **SETTINGS) if kind is ConsistencyLabels else kind(confidence=0.0, start=1.0, **SETTINGS)
    )
    found = maker.targets(network, batch, images, output, step=0)
    assert network.training
    assert network.segmentation_head.training
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
    soft = found.others["soft_target"]
    assert not soft.requires_grad
    network.eval()
    with torch.no_grad():
        mirrored = network.segment(images.flip(-1)).flip(-1)
    torch.testing.assert_close(soft, sure_where_unknown(mirrored, found.pseudo_label, batch, confidence=0.0))
    assert (soft.sum(1) > 0).any()
    plain = AFALabels(**SETTINGS).targets(network, batch, images, network(images), step=0)
    assert torch.equal(found.pseudo_label, plain.pseudo_label)
    assert torch.equal(found.pair_labels.tokens, plain.pair_labels.tokens)


def test_the_loss_needs_this_label_maker() -> None:
    losses = {"consistency": ConsistencyLoss()}
    check_targets(losses, ConsistencyLabels())
    with pytest.raises(UserError, match="need a label maker that makes soft_target for the loss 'consistency'"):
        check_targets(losses, AFALabels())


@pytest.mark.parametrize("confidence", [-0.1, 1.0])
def test_confidence_is_checked(confidence) -> None:
    with pytest.raises(UserError, match="need 0 <= confidence < 1, got"):
        ConsistencyLabels(confidence=confidence)


@pytest.mark.parametrize("option", ["consistency", "dupl"])
def test_the_command_trains(train_option, option) -> None:
    metrics, _ = train_option(option, "supervision.confidence=0")
    assert metrics["train/consistency_loss"] >= 0
    assert "val/miou" in metrics
