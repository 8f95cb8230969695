"""The affinity times the likeness of class distributions: against loops over tokens, in the window and of all pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from benchmarks.options.class_distribution import ClassPairs, likeness
from tests.oracles import pairs as oracle

from afa_wsss.errors import UserError
from afa_wsss.inference import multi_scale_maps
from afa_wsss.ops.affinity import TokenAffinity
from afa_wsss.ops.image import normalize, resize
from afa_wsss.ops.pseudo_label import argmax_labels
from afa_wsss.supervision import AFALabels, NoRefinement, Walk
from afa_wsss.supervision.scores import walk_scores, walked
from benchmarks.options import ClassDistributionLabels

SETTINGS = {"first_step": 0, "walk_first_step": 0, "refinement": NoRefinement(), "cam_scales": (1.0,), "radius": 2}
GRIDS = [(5, 7, 2), (12, 9, 3), (3, 20, 1), (4, 4, 8)]
"""Height, width, radius."""


def divergence(p, q):
    """Kullback-Leibler divergence in nats, term by term."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def likeness_by_loops(own, other):
    found = np.zeros((len(own), len(other)))
    for i, j in np.ndindex(*found.shape):
        mean = [(a + b) / 2 for a, b in zip(own[i], other[j], strict=True)]
        distance = math.sqrt(max(divergence(own[i], mean) / 2 + divergence(other[j], mean) / 2, 0))
        found[i, j] = math.exp(-distance)
    return found


def distributions(*shape):
    found = (4 * torch.randn(*shape)).softmax(dim=-1)
    found[..., 0, -1] = 0  # an absent class
    return found / found.sum(dim=-1, keepdim=True)


def class_pairs(height, width, *, images=2, classes=3):
    tokens = height * width
    vectors = [0.5 * torch.randn(images, tokens, 6) for _ in range(2)]
    return ClassPairs(TokenAffinity(*vectors, torch.tensor([0.3])), distributions(images, tokens, classes))


def test_likeness_equals_loops_over_tokens() -> None:
    own, other = distributions(5, 4), distributions(6, 4)
    found = likeness(own, other)
    np.testing.assert_allclose(found.numpy(), likeness_by_loops(own.tolist(), other.tolist()), atol=1e-3)
    np.testing.assert_allclose(likeness(other, own).numpy(), found.T.numpy(), atol=1e-5)


def test_likeness_is_one_for_equals_and_least_for_strangers() -> None:
    parts = distributions(5, 4)
    assert (likeness(parts, parts).diagonal() > 0.999).all()
    apart = likeness(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert apart.item() == pytest.approx(math.exp(-math.sqrt(math.log(2))), abs=1e-6)


def test_dense_and_rows_are_the_product() -> None:
    pairs = class_pairs(3, 4)
    found = pairs.dense()
    for image in range(2):
        classes = pairs.classes[image].tolist()
        wanted = pairs.pairs.dense()[image].numpy() * likeness_by_loops(classes, classes)
        np.testing.assert_allclose(found[image].numpy(), wanted, atol=1e-3)
    torch.testing.assert_close(pairs.row(1, 5), found[1, 5])
    torch.testing.assert_close(pairs.detach().dense(), found)


@pytest.mark.parametrize(("height", "width", "radius"), GRIDS)
@pytest.mark.parametrize("steps", [1, 3])
def test_the_walk_in_the_window_equals_loops_over_tokens(height, width, radius, steps) -> None:
    pairs, scores = class_pairs(height, width), torch.rand(2, 4, height, width)
    found = pairs.walked(scores, Walk((height, width), radius=radius, alpha=3.0, steps=steps))
    near = oracle.locality_mask(height, width, radius)
    for image in range(2):
        classes = pairs.classes[image].tolist()
        affinity = pairs.pairs.dense()[image].numpy() * likeness_by_loops(classes, classes)
        wanted = scores[image].flatten(1).numpy()
        for _ in range(steps):
            wanted = oracle.walk(wanted, affinity, near, 3.0)
        np.testing.assert_allclose(found[image].flatten(1).numpy(), wanted, atol=1e-3)


@pytest.mark.parametrize(("height", "width", "radius"), [*GRIDS, (24, 30, 8)])
def test_the_window_equals_the_dense_form(height, width, radius) -> None:
    pairs, scores = class_pairs(height, width), torch.rand(2, 4, height, width)
    walk = Walk((height, width), radius=radius, alpha=3.0, steps=2)
    found = pairs.walked(scores, walk)
    # Equal distributions are 1e-4 apart in one order of the sums and 0 in another.
    torch.testing.assert_close(found, walked(scores, pairs.dense(), walk), atol=2e-3, rtol=0)
    torch.testing.assert_close(
        ClassPairs(pairs.pairs.dense(), pairs.classes).walked(scores, walk), found, atol=2e-3, rtol=0
    )


def test_a_constant_map_stays_constant_but_for_the_floor_of_the_row_sum() -> None:
    walk = Walk((6, 6), radius=2, alpha=1.0, steps=1)
    found = class_pairs(6, 6).walked(torch.full((2, 3, 6, 6), 0.5), walk)
    assert (found < 0.5).all()
    assert (found > 0.4).all()


def test_scores_cross_no_border_between_classes() -> None:
    """Two halves of one object and one background, with an affinity that sees no difference."""
    classes = torch.zeros(1, 8, 2)
    classes[:, :4, 0] = classes[:, 4:, 1] = 1
    alike = TokenAffinity(torch.zeros(1, 8, 1), torch.zeros(1, 8, 1), torch.tensor([4.0]))
    scores, walk = classes.transpose(1, 2).reshape(1, 2, 1, 8), Walk((1, 8), radius=8, alpha=8.0, steps=1)
    blurred = walked(scores, alike, walk)
    kept = ClassPairs(alike, classes).walked(scores, walk)
    torch.testing.assert_close(blurred[0, 0], blurred[0, 1], atol=1e-4, rtol=0)
    assert (kept[0, 0, 0, :4] > 0.9).all()
    assert (kept[0, 1, 0, :4] < 0.01).all()


@pytest.mark.parametrize("sharpness", [1.0, 5.0])
@torch.no_grad()
def test_distributions_are_those_of_the_cam_at_the_tokens(network, batch, sharpness) -> None:
    images = normalize(batch.images)
    output = network.eval()(images)
    maker = ClassDistributionLabels(distribution_sharpness=sharpness, walk_background=0.2, **SETTINGS)
    found = maker.maps(network, batch, images, output)
    cam, affinity = multi_scale_maps(network, images, scales=(1.0,), classes=found.present.classes)
    tokens = resize(cam, found.grid).flatten(2).numpy()
    for image, token in np.ndindex(2, tokens.shape[2]):
        logits = [0.2, *(tokens[image, slot, token] for slot in range(2) if found.present.labels[image, slot])]
        powers = [math.exp(sharpness * value) for value in logits]
        wanted = [power / sum(powers) for power in powers] + [0.0] * (3 - len(powers))
        np.testing.assert_allclose(found.affinity.classes[image, token].numpy(), wanted, atol=1e-4)
    torch.testing.assert_close(dense_of(found.affinity.pairs), dense_of(affinity))


def dense_of(pairs):
    return pairs.dense()


@torch.no_grad()
def test_targets_and_stages_walk_along_it(network, batch) -> None:
    images = normalize(batch.images)
    output = network.eval()(images)
    maker = ClassDistributionLabels(distribution_sharpness=8.0, alpha=8.0, background=0.4, **SETTINGS)
    maps = maker.maps(network, batch, images, output)
    (scores,) = walk_scores(maps.cam, maps.affinity, maps.present.labels, (0.4,), walk=maker.walk_on(maps.grid))
    stages = maker.stages(network, batch, images, output)
    assert torch.equal(stages["walk"].labels, maps.present.named(argmax_labels(scores)))
    plain = AFALabels(alpha=8.0, background=0.4, **SETTINGS).stages(network, batch, images, output)
    assert torch.equal(stages["cam"].labels, plain["cam"].labels)
    assert not torch.equal(stages["walk"].labels, plain["walk"].labels)
    assert maker.targets(network, batch, images, output, step=0).pseudo_label.shape == (2, 64, 64)


def test_sharpness_is_checked() -> None:
    with pytest.raises(UserError, match="need distribution_sharpness above 0, got 0"):
        ClassDistributionLabels(distribution_sharpness=0.0)


def test_the_command_trains(train_option) -> None:
    metrics, folder = train_option("classes", "supervision.distribution_sharpness=2")
    assert {"val/walk_miou", "val/pseudo_label_miou"} <= set(metrics)
    assert "distribution_sharpness: 2.0" in (folder / "config.yaml").read_text()
