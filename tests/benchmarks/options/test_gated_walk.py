"""The walk with a class gate: against loops that gate after each step, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.options.gated_walk import GatedPairs
from tests.oracles import pairs as oracle

from afa_wsss.errors import UserError
from afa_wsss.ops.affinity import TokenAffinity
from afa_wsss.ops.image import normalize
from afa_wsss.supervision import AFALabels, NoRefinement, Walk
from benchmarks.options import GatedWalkLabels

SETTINGS = {"first_step": 0, "walk_first_step": 0, "refinement": NoRefinement(), "cam_scales": (1.0,), "radius": 2}


@pytest.mark.parametrize("steps", [1, 4])
def test_equals_loops_that_gate_after_each_step(steps) -> None:
    height, width, radius = 5, 6, 2
    vectors = [0.5 * torch.randn(2, 30, 6) for _ in range(2)]
    affinity = TokenAffinity(*vectors, torch.tensor([0.3]))
    gate = torch.tensor([[1.0, 0, 1], [1, 1, 0]])
    scores = torch.rand(2, 6, height, width)  # two thresholds, one after the other
    found = GatedPairs(affinity, gate).walked(scores, Walk((height, width), radius=radius, alpha=2.0, steps=steps))
    near = oracle.locality_mask(height, width, radius)
    for image in range(2):
        wanted = scores[image].flatten(1).numpy()
        for _ in range(steps):
            wanted = oracle.walk(wanted, affinity.dense()[image].numpy(), near, 2.0)
            for channel in range(6):
                if gate[image, channel % 3] == 0:
                    wanted[channel] = 0
        np.testing.assert_allclose(found[image].flatten(1).numpy(), wanted, atol=1e-5)


def test_pairs_are_those_of_the_affinity() -> None:
    affinity = TokenAffinity(torch.randn(2, 6, 3), torch.randn(2, 6, 3), torch.zeros(1))
    pairs = GatedPairs(affinity, torch.ones(2, 3)).detach()
    torch.testing.assert_close(pairs.dense(), affinity.dense())
    torch.testing.assert_close(pairs.row(1, 2), affinity.row(1, 2))


@pytest.mark.parametrize("gate", [0.0, 0.5, 1.0])
@torch.no_grad()
def test_the_gate_is_that_of_the_classes_in_the_photo(network, batch, gate) -> None:
    images = normalize(batch.images)
    output = network.eval()(images)._replace(class_logits=torch.tensor([[2.0, -9, -1], [-3, 9, 9]]))
    found = GatedWalkLabels(gate=gate, **SETTINGS).maps(network, batch, images, output).affinity.gate
    # The first photo has classes 0 and 2, the second class 0, and class 1 in the slot that is left over.
    wanted = {0.0: [[1, 1, 1], [1, 1, 1]], 0.5: [[1, 1, 0], [1, 0, 1]], 1.0: [[1, 0, 0], [1, 0, 0]]}[gate]
    assert found.tolist() == wanted


@torch.no_grad()
def test_the_walk_loses_classes_that_are_not_found_and_the_cam_none(network, batch) -> None:
    images = normalize(batch.images)
    output = network.eval()(images)._replace(class_logits=torch.tensor([[9.0, 9, -9], [9, 9, 9]]))
    settings = {"background": 0.2, "low": 0.1, "high": 0.2, "affinity_from_walk": False, **SETTINGS}
    maker, plain = GatedWalkLabels(**settings), AFALabels(**settings)
    found, wanted = (one.stages(network, batch, images, output) for one in (maker, plain))
    assert torch.equal(found["cam"].labels, wanted["cam"].labels)
    assert (wanted["walk"].labels[0] == 3).any()
    assert not (found["walk"].labels[0] == 3).any()
    assert torch.equal(found["walk"].labels[1], wanted["walk"].labels[1])
    made, usual = (one.targets(network, batch, images, output, step=0) for one in (maker, plain))
    assert not (made.pseudo_label[0] == 3).any()
    assert torch.equal(made.pair_labels.tokens, usual.pair_labels.tokens)


@pytest.mark.parametrize("gate", [-0.1, 1.1])
def test_gate_is_checked(gate) -> None:
    with pytest.raises(UserError, match="need a gate between 0 and 1, got"):
        GatedWalkLabels(gate=gate)


def test_the_command_trains(train_option) -> None:
    metrics, folder = train_option("steps3")
    assert {"val/walk_miou", "val/pseudo_label_miou"} <= set(metrics)
    assert "walk_steps: 3" in (folder / "config.yaml").read_text()
