"""Labels at many background scores from those at a few, beside each score computed for itself."""

from __future__ import annotations

import pytest
import torch

from afa_wsss.data.loading.held_out import HeldOut
from afa_wsss.models import create_model
from afa_wsss.ops.pseudo_label import argmax_labels, background_scores, present_classes
from afa_wsss.supervision import PAR, AFALabels, NoRefinement, Refinement
from afa_wsss.supervision.label_race import photo_confusions, stops
from afa_wsss.supervision.label_sweep import (
    NODES,
    Study,
    between_nodes,
    is_linear,
    score_nodes,
    stage_labels,
    stage_names,
)
from afa_wsss.supervision.maps import Maps
from afa_wsss.supervision.scores import cam_scores, walk_scores
from afa_wsss.types import Batch

SCORES = tuple(round(0.01 + 0.049 * step, 4) for step in range(20))


def maps(height=32, width=40):
    present = present_classes(torch.tensor([[0.0, 1.0, 1.0]]), 2)
    grid = (4, 5)
    affinity = torch.rand(1, 20, 20)
    return Maps(present, torch.rand(1, 2, height, width), (affinity + affinity.mT) / 2, grid)


def refiner_of(refinement, height=32, width=40):
    return refinement.prepare(torch.rand(1, 3, height, width), torch.tensor([[0, height, 0, width]]), full_frames=True)


def test_scores_between_nodes_are_exact_to_a_millionth():
    cam, present = torch.rand(1, 4, 9, 9), torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    nodes = score_nodes(SCORES)
    assert len(nodes) == NODES
    stacked = torch.cat([background_scores(cam, present, node) for node in nodes])
    for score, weights in zip(SCORES, between_nodes(nodes, SCORES), strict=True):
        found = torch.tensordot(weights, stacked, dims=1)
        torch.testing.assert_close(found[None], background_scores(cam, present, score), atol=1e-6, rtol=0)


def test_between_nodes_is_a_polynomial_and_its_weights_sum_to_1():
    nodes = (0.0, 0.3, 1.0)
    weights = between_nodes(nodes, (0.1, 0.3, 0.8))
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    torch.testing.assert_close(weights @ torch.tensor(nodes).square(), torch.tensor([0.01, 0.09, 0.64]))


@pytest.mark.parametrize("refinement", [PAR(dilations=(1, 2), steps=3), NoRefinement()], ids=["par", "none"])
def test_labels_are_those_of_every_score_for_itself(refinement):
    made, refiner = maps(), refiner_of(refinement)
    maker = AFALabels(refinement=refinement, radius=2)
    found = dict(stage_labels(made, refiner, Study(maker, {"walk": maker}, SCORES)))
    cam = cam_scores(made.cam, made.present.labels, SCORES, refiner=refiner)
    moved = walk_scores(made.cam, made.affinity, made.present.labels, SCORES, walk=maker.walk_on(made.grid))
    both = refiner.refine_each(moved, in_boxes=True)
    for name, scores in (("cam_par", cam), ("walk", moved), ("walk+par", both)):
        labels = torch.cat([argmax_labels(each) for each in scores])
        assert (found[name] != labels).float().mean() < 1e-3, name  # where two scores are equal to a millionth


class OtherRefinement(Refinement):
    """Not one of the package's."""

    name = "other"

    def prepare(self, photos, boxes, *, full_frames):
        return NoRefinement().prepare(photos, boxes, full_frames=full_frames)


class OwnPAR(PAR):
    """Makes a refiner of its own."""


def test_only_what_is_known_to_be_linear_is_interpolated():
    made = maps()
    assert is_linear(made, PAR())
    assert not is_linear(made, OtherRefinement())
    assert not is_linear(made, OwnPAR())
    assert not is_linear(made._replace(affinity=object()), PAR())
    assert score_nodes(SCORES[:3]) == SCORES[:3]


def test_stages_that_are_not_asked_for_are_left_out():
    made = maps()
    study = Study(AFALabels(), {"a": AFALabels(), "b": AFALabels(alpha=4.0)}, (0.2, 0.4), ("cam", "walk"))
    found = dict(stage_labels(made, refiner_of(NoRefinement()), study))
    assert list(found) == stage_names(study) == ["cam", "a", "b"]


@pytest.mark.parametrize("size", [(60, 1), (1, 60)])
def test_photos_that_are_narrower_than_the_network_takes_are_compared(size):
    network = create_model("convnext_atto", num_classes=2, decoder_width=16).eval()
    batch = Batch(
        torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8),
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[0, size[0], 0, size[1]]]),
        ("a",),
    )
    study = Study(
        AFALabels(cam_scales=(1.0, 0.5), refinement=NoRefinement()), {"own": AFALabels()}, SCORES, ("cam", "walk")
    )
    with torch.inference_mode():
        found = photo_confusions(network, study, HeldOut(batch, torch.zeros(size, dtype=torch.uint8)))
    assert all(counts.sum(dim=(1, 2)).eq(60).all() for counts in found.values())


def test_walks_drop_out_where_there_are_many():
    assert stops(445, 12, 3) == {37: 6, 111: 3}
    assert stops(10, 12, 3) == {8: 6, 9: 3}
    assert stops(445, 3, 3) == {}
