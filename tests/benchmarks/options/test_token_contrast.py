"""Patch token contrast: its values against loops over pairs, its gradient, its errors, and a run of the command."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.options.token_contrast import token_contrast

from afa_wsss.errors import UserError
from afa_wsss.ops.affinity import TokenLabels
from afa_wsss.types import AFAOutput, Targets
from benchmarks.options import TokenContrastLoss


def contrast_by_loops(features, classes, radius=None):
    """ToCo, equation 3: pairs (i, j), i != j, of known tokens of one image, ReLU on negative cosines."""
    width = classes.shape[2]
    positives, negatives = [], []
    for image in range(len(classes)):
        vectors, labels = features[image].reshape(features.shape[1], -1).T, classes[image].reshape(-1)
        for i, j in np.ndindex(len(labels), len(labels)):
            far = max(abs(i // width - j // width), abs(i % width - j % width))
            if i == j or 255 in (labels[i], labels[j]) or (radius is not None and far > radius):
                continue
            cosine = vectors[i] @ vectors[j] / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j])
            if labels[i] == labels[j]:
                positives.append(1 - cosine)
            else:
                negatives.append(max(cosine, 0))
    return sum(float(np.mean(found)) for found in (positives, negatives) if found)


def output_of(features):
    b = 2
    return AFAOutput(
        torch.zeros(b, 2), torch.zeros(b, 3, 4, 4), torch.zeros(b, 12, 12), torch.zeros(b, 2, 3, 4), features=features
    )


def targets_of(pairs):
    return Targets(torch.ones(2, 2), affinity_label=pairs)


@pytest.fixture
def classes():
    return torch.from_numpy(np.random.default_rng(0).choice([0, 1, 2, 255], (2, 3, 4)).astype(np.uint8))


@pytest.mark.parametrize("radius", [None, 1, 2])
def test_equals_loops_over_pairs(classes, radius) -> None:
    features = torch.randn(2, 5, 3, 4)
    wanted = contrast_by_loops(features.double().numpy(), classes.numpy(), radius)
    term = TokenContrastLoss(radius=radius)
    # The labels' own radius is that of the affinity loss.
    found = term(output_of(features), targets_of(TokenLabels(classes, 1)))
    assert float(found) == pytest.approx(wanted, abs=1e-5)


def test_labels_of_pairs_keep_their_window(classes) -> None:
    features, pairs = torch.randn(2, 5, 3, 4), TokenLabels(classes, 2)
    found = TokenContrastLoss()(output_of(features), targets_of(pairs.dense()))
    torch.testing.assert_close(found, TokenContrastLoss(radius=2)(output_of(features), targets_of(pairs)))


@pytest.mark.parametrize("label", [0, 1, 255])
def test_without_pairs_of_a_kind_it_is_finite(label) -> None:
    features = torch.randn(1, 5, 2, 2, requires_grad=True)
    loss = token_contrast(features, torch.full((1, 4, 4), label, dtype=torch.uint8))
    loss.backward()
    assert loss.isfinite()
    assert features.grad.isfinite().all()
    assert (label == 255) == (loss.item() == 0)


def test_a_step_down_pulls_one_class_together_and_two_apart() -> None:
    features = torch.randn(1, 5, 1, 3, requires_grad=True)
    labels = TokenLabels(torch.tensor([[[1, 1, 2]]], dtype=torch.uint8), None).dense()
    optimizer = torch.optim.SGD([features], lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        token_contrast(features, labels).backward()
        optimizer.step()
    tokens = torch.nn.functional.normalize(features.detach()[0, :, 0], dim=0)
    cosine = tokens.T @ tokens
    assert cosine[0, 1] > 0.9
    assert cosine[0, 2] < 0.1


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_length_of_the_features_has_no_influence(classes, scale) -> None:
    features, labels = torch.randn(2, 5, 3, 4), TokenLabels(classes, None).dense()
    torch.testing.assert_close(token_contrast(scale * features, labels), token_contrast(features, labels))


def test_runs_under_bfloat16(classes) -> None:
    features, labels = torch.randn(2, 5, 3, 4), TokenLabels(classes, None).dense()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = token_contrast(features.bfloat16(), labels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, token_contrast(features, labels), atol=1e-2, rtol=0)


def test_gradient() -> None:
    labels = TokenLabels(torch.tensor([[[0, 1], [1, 255]]], dtype=torch.uint8), None).dense()
    features = torch.randn(1, 4, 2, 2, requires_grad=True)
    token_contrast(features, labels).backward()
    moved = features.detach().double()
    step, wanted = 1e-3, torch.zeros_like(moved)
    for index in np.ndindex(*moved.shape):
        shift = torch.zeros_like(moved)
        shift[index] = step
        wanted[index] = (token_contrast(moved + shift, labels) - token_contrast(moved - shift, labels)) / (2 * step)
    torch.testing.assert_close(features.grad.double(), wanted, atol=1e-3, rtol=1e-2)


def test_errors() -> None:
    labels = targets_of(TokenLabels(torch.zeros(2, 3, 4, dtype=torch.uint8), None))
    with pytest.raises(UserError, match="need radius of at least 1, or none for all pairs, got 0"):
        TokenContrastLoss(radius=0)
    with pytest.raises(UserError, match="need weight of at least 0"):
        TokenContrastLoss(weight=-1.0)
    with pytest.raises(UserError, match="need the features"):
        TokenContrastLoss()(output_of(None), labels)
    with pytest.raises(UserError, match=r"a feature for each of the 12 tokens, got a map of \(6, 8\)"):
        TokenContrastLoss()(output_of(torch.zeros(2, 5, 6, 8)), labels)


def test_the_command_trains(train_option) -> None:
    metrics, folder = train_option("ptc")
    assert 0 < metrics["train/ptc_loss"] <= 3
    assert "weight: 0.2" in (folder / "config.yaml").read_text()
