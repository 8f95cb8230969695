"""Falling background scores: their values by the formula, the labels at them, their settings."""

from __future__ import annotations

import math

import pytest
import torch
from benchmarks.options.falling_threshold import falling

from afa_wsss.errors import UserError
from afa_wsss.ops.image import normalize
from afa_wsss.supervision import AFALabels, NoRefinement
from benchmarks.options import DuPLLabels, FallingThresholdLabels

SETTINGS = {"low": 0.1, "high": 0.3, "walk_high": 0.4, "first_step": 20, "walk_first_step": 70}


@pytest.mark.parametrize("step", [0, 20, 45, 70, 119, 120, 10**9])
@pytest.mark.parametrize("kind", [FallingThresholdLabels, DuPLLabels])
def test_scores_equal_the_formula(step, kind) -> None:
    found = kind(start=2.5, falls_until=120, **SETTINGS).at(step)
    t = min(max(step - 20, 0), 100)
    for name, last in (("low", 0.1), ("high", 0.3), ("walk_low", 0.1), ("walk_high", 0.4)):
        first = 2.5 * last
        # DuPL prints tau_0 - (tau_0 - tau_T) (1 - cos(pi t / T)) / 2.
        wanted = first - (first - last) * (1 - math.cos(math.pi * t / 100)) / 2
        assert getattr(found, name) == pytest.approx(wanted)
    assert found.background == AFALabels().background


def test_never_rises() -> None:
    values = [falling(4.0, share / 50) for share in range(51)]
    assert values == sorted(values, reverse=True)
    assert (values[0], values[-1]) == (4.0, 1.0)


@pytest.mark.parametrize("step", [20, 50, 90, 200])
def test_labels_are_those_of_the_scores_at_the_step(network, batch, step) -> None:
    network.eval()
    images, own = normalize(batch.images), {"refinement": NoRefinement(), "walk_low": 0.1}
    output = network(images)
    maker = FallingThresholdLabels(start=2.0, falls_until=120, **SETTINGS, **own)
    factor = falling(2.0, (step - 20) / 100)
    plain = AFALabels(
        low=factor * 0.1,
        high=factor * 0.3,
        walk_low=factor * 0.1,
        walk_high=factor * 0.4,
        first_step=20,
        walk_first_step=70,
        refinement=NoRefinement(),
    )
    found, wanted = (one.targets(network, batch, images, output, step=step) for one in (maker, plain))
    assert torch.equal(found.pseudo_label, wanted.pseudo_label)
    assert torch.equal(found.pair_labels.tokens, wanted.pair_labels.tokens)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 0.9}, "need start of at least 1 and at most 1 / 0.4, the highest background score, got 0.9"),
        ({"start": 2.6}, "got 2.6"),
        ({"start": 2.0, "falls_until": 19}, "need first_step <= falls_until, got 20 and 19"),
    ],
)
def test_settings_are_checked(settings, message) -> None:
    with pytest.raises(UserError, match=message):
        FallingThresholdLabels(**SETTINGS, **settings)


def test_the_command_trains(train_option) -> None:
    metrics, folder = train_option("falling")
    assert "train/segmentation_loss" in metrics
    assert "falls_until: ${trainer.max_steps}" in (folder / "config.yaml").read_text()


@pytest.mark.parametrize("kind", [FallingThresholdLabels, DuPLLabels])
def test_scores_that_are_found_fall_and_are_still_found(network, batch, kind) -> None:
    """The label maker keeps what it learns, which is what AFA's labels learn; labels alone are made at more."""
    network.train()
    images, own = normalize(batch.images), {"low": "auto", "high": "auto", "background": "auto", "walk_when": "better"}
    own |= {"refinement": NoRefinement(), "first_step": 2, "walk_first_step": 4}
    maker, plain = kind(start=1.5, falls_until=50, **own), AFALabels(**own)
    with torch.no_grad():
        output = network(images)
        for step in range(2, 9):
            torch.manual_seed(step)
            maker.targets(network, batch, images, output, step=step)
            torch.manual_seed(step)
            plain.targets(network, batch, images, output, step=step)
    found, wanted = maker.memory.state_dict(), plain.memory.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())
    assert int(maker.memory.looks.min()) > 0
    fixed = maker.at(3)
    assert fixed.memory is maker.memory
    assert fixed.high == pytest.approx(min(1.0, falling(1.5, 1 / 48) * maker.cam_thresholds.high), abs=0.2)
    assert fixed.high <= 1
