"""The noise filter: which pixels lose their label, when, and what stays."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from benchmarks.options.noise_filter import filtered, noisy_pixels
from tests.oracles.mixture import density, fitted_by_loops

from afa_wsss.errors import UserError
from afa_wsss.ops.image import normalize
from afa_wsss.supervision import AFALabels, NoRefinement
from benchmarks.options import NoiseFilteredLabels

SETTINGS = {"low": 0.2, "high": 0.5, "first_step": 10, "walk_first_step": None, "refinement": NoRefinement()}


def noisy_by_loops(losses, foreground, gamma, eta):
    """Photo by photo, pixel by pixel."""
    found = np.zeros_like(foreground)
    for image in range(len(losses)):
        places = list(zip(*np.nonzero(foreground[image]), strict=True))
        values = [float(losses[image][place]) for place in places]
        if len(set(values)) < 2:
            continue
        (clean_weight, clean, clean_variance), (weight, mean, variance) = fitted_by_loops(values, 20)
        for place, value in zip(places, values, strict=True):
            noisy, other = weight * density(value, mean, variance), clean_weight * density(value, clean, clean_variance)
            found[image][place] = noisy / (noisy + other) > gamma and mean - clean > eta
    return found


def losses_of(side=8):
    """Three photos: two groups of losses far apart, two that are near, no foreground."""
    generator = np.random.default_rng(2)
    losses = generator.normal(0.4, 0.1, (3, side, side))
    losses[0, :3] += 3.0
    losses[1, :3] += 0.5
    foreground = generator.random((3, side, side)) < 0.7
    foreground[2] = False
    return torch.from_numpy(losses), torch.from_numpy(foreground)


@pytest.mark.parametrize(("gamma", "eta"), [(0.9, 1.0), (0.5, 0.0), (0.99, 0.3)])
def test_equals_loops_over_photos_and_pixels(gamma, eta) -> None:
    losses, foreground = losses_of()
    found = noisy_pixels(losses, foreground, gamma=gamma, eta=eta)
    wanted = noisy_by_loops(losses.numpy(), foreground.numpy(), gamma, eta)
    np.testing.assert_array_equal(found.numpy(), wanted)
    assert found[0, :3].sum() == foreground[0, :3].sum()
    assert not found[0, 3:].any()
    assert found[1].any() == (eta < 0.5)
    assert not found[2].any()


def test_labels_that_the_branch_contradicts_become_unknown() -> None:
    labels = torch.zeros(1, 16, 16, dtype=torch.uint8)
    labels[:, 4:12, 4:12] = 1
    labels[:, 0] = 255
    logits = torch.zeros(1, 3, 16, 16)
    logits[:, 1, 4:12, 4:12] = 6 + 0.1 * torch.randn(8, 8)
    logits[:, 2, 4:6, 4:12] = 12.0  # here the branch says 2
    found = filtered(labels, logits)
    assert (found[:, 4:6, 4:12] == 255).all()
    kept = torch.ones_like(labels, dtype=torch.bool)
    kept[:, 4:6, 4:12] = False
    assert torch.equal(found[kept], labels[kept])


@pytest.mark.parametrize(("step", "filters"), [(29, False), (30, True)])
def test_filters_from_its_step_on(network, batch, monkeypatch, step, filters) -> None:
    called = []

    def fake(labels, logits, *, gamma, eta):
        called.append((tuple(logits.shape), gamma, eta))
        return labels.masked_fill(labels == 1, 255)

    monkeypatch.setattr("benchmarks.options.noise_filter.filtered", fake)
    images = normalize(batch.images)
    output = network.eval()(images)
    found = NoiseFilteredLabels(filter_after=20, gamma=0.8, eta=0.5, **SETTINGS).targets(
        network, batch, images, output, step=step
    )
    plain = AFALabels(**SETTINGS).targets(network, batch, images, output, step=step)
    assert called == ([((2, 4, 16, 16), 0.8, 0.5)] if filters else [])
    assert (found.pseudo_label == 1).any() == (not filters)
    assert torch.equal(found.pair_labels.tokens, plain.pair_labels.tokens)


@pytest.mark.parametrize(("setting", "value"), [("gamma", 1.1), ("eta", -0.1), ("filter_after", -1), ("eta", math.nan)])
def test_settings_are_checked(setting, value) -> None:
    with pytest.raises(UserError, match=f"need gamma between 0 and 1.*, got {setting}=") as error:
        NoiseFilteredLabels(**{setting: value})
    assert error.value.arguments == (setting,)


def test_the_command_trains(train_option) -> None:
    metrics, folder = train_option("noise", "supervision.filter_after=0")
    assert "train/segmentation_loss" in metrics
    assert "filter_after: 0" in (folder / "config.yaml").read_text()


def test_the_branch_of_a_teacher_is_decoded_too() -> None:
    """A mean teacher decodes only what the label maker says that it reads."""
    assert NoiseFilteredLabels.reads_seg_logits
