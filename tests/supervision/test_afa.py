"""AFA's label maker: its phases, its thresholds, its stages, and refinements of one's own."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from afa_wsss.errors import UserError
from afa_wsss.ops.image import normalize, truncated
from afa_wsss.ops.pseudo_label import argmax_labels, box_mask, present_classes
from afa_wsss.supervision import PAR, AFALabels, DenseCRF, NoRefinement, Refinement, Refiner
from afa_wsss.supervision.maps import Maps, make_maps
from afa_wsss.supervision.scores import walk_scores
from afa_wsss.types import FROM_BATCH

SIDE = 64
GRID = (4, 4)


@pytest.fixture
def maps(batch):
    """Random maps of the slots, and a random affinity."""
    return Maps(present_classes(batch.image_labels, 2), torch.rand(2, 2, SIDE, SIDE), torch.rand(2, 16, 16), GRID)


@torch.no_grad()
def stages_of(maker, network, batch):
    images = normalize(batch.images)
    return maker.stages(network, batch, images, network(images))


@pytest.mark.parametrize(
    ("settings", "step", "made"),
    [
        ({"walk_first_step": 8}, 5, ["cam"]),
        ({"walk_first_step": 8}, 8, ["cam", "walk"]),
        ({"walk_first_step": 8, "affinity_from_walk": True}, 7, ["cam"]),
        ({"walk_first_step": 8, "affinity_from_walk": True}, 8, ["walk"]),
        ({"walk_first_step": None}, 10**6, ["cam"]),
    ],
)
def test_phases(batch, maps, settings, step, made, monkeypatch) -> None:
    values, calls = {"cam": 0, "walk": 1}, []
    for name, value in values.items():

        def label(*_args, name=name, value=value, **_settings):
            calls.append(name)
            return torch.full((2, SIDE, SIDE), value, dtype=torch.uint8)

        monkeypatch.setattr(f"afa_wsss.supervision.afa.labels_from_{name}", label)
    given = []
    monkeypatch.setattr(
        "afa_wsss.supervision.afa.token_labels",
        lambda labels, **_settings: given.append(labels) or torch.zeros(2, 16, 16, dtype=torch.uint8),
    )
    targets = AFALabels(first_step=4, radius=2, **settings).targets_from(maps, batch, grid=GRID, step=step)
    assert calls == made
    assert (targets.pseudo_label == values[made[-1]]).all()
    assert (given[0] == values[made[0]]).all()  # affinity labels come from the CAM unless asked otherwise


def test_targets_hold_what_the_batch_holds_and_what_is_made(network, batch) -> None:
    maker, images = AFALabels(radius=2), normalize(batch.images)
    targets = maker.targets(network, batch, images, network(images), step=0)
    assert targets.pseudo_label.shape == (2, SIDE, SIDE)
    assert (targets.pseudo_label[~box_mask(batch.boxes, SIDE, SIDE)] == 255).all()
    assert targets.affinity_label.shape == (2, 64, 64)
    assert not targets.pseudo_label.requires_grad
    made = {name for name, value in targets._asdict().items() if torch.is_tensor(value)}
    assert made == {*FROM_BATCH, *maker.makes}


def test_the_official_truncation_of_photos_is_for_training_alone(network, batch, monkeypatch) -> None:
    given, prepare = [], NoRefinement.prepare

    def watched(self, photos, boxes, *, full_frames):
        given.append(photos)
        return prepare(self, photos, boxes, full_frames=full_frames)

    monkeypatch.setattr(NoRefinement, "prepare", watched)
    images = normalize(batch.images)
    for truncate in (False, True):
        maker = AFALabels(radius=2, truncate_photos=truncate, refinement=NoRefinement())
        maker.targets(network, batch, images, network(images), step=0)
        stages_of(maker, network, batch)
    photos, truncated_photos = batch.images / 255, truncated(batch.images / 255)
    assert not torch.equal(photos, truncated_photos)
    assert all(map(torch.equal, given, [photos, photos, truncated_photos, photos]))


def test_the_walk_may_have_background_scores_of_its_own(network, batch, maps) -> None:
    same = {"low": 0.2, "high": 0.3, "background": 0.25, "first_step": 0, "walk_first_step": 1, "radius": 2}
    own = {"walk_low": 0.45, "walk_high": 0.5, "walk_background": 0.48}
    there = {"low": 0.45, "high": 0.5, "background": 0.48}

    def labeled(settings: dict, step: int):
        return AFALabels(**settings).targets_from(maps, batch, grid=GRID, step=step)

    assert torch.equal(labeled(same | own, 0).pseudo_label, labeled(same, 0).pseudo_label)
    assert torch.equal(labeled(same | own, 1).pseudo_label, labeled(same | there, 1).pseudo_label)
    assert torch.equal(labeled(same | own, 1).affinity_label, labeled(same, 1).affinity_label)
    settings = (same | own, same, same | there)
    both, cam, walk = (stages_of(AFALabels(**chosen), network, batch) for chosen in settings)
    assert torch.equal(both["cam_par"].labels, cam["cam_par"].labels)
    assert torch.equal(both["pseudo_label"].labels, walk["pseudo_label"].labels)


def test_stages_follow_the_method_and_the_cam_has_scores(network, batch) -> None:
    stages = stages_of(AFALabels(radius=2), network, batch)
    assert list(stages) == ["cam", "cam_par", "walk", "pseudo_label"]
    assert [name for name, stage in stages.items() if stage.scores is not None] == ["cam"]
    scores = stages["cam"].scores
    assert scores.shape == (2, 3, SIDE, SIDE)
    assert torch.equal(scores.flatten(2).amax(dim=2) > 0, batch.image_labels.bool())
    for stage in stages.values():
        assert set(stage.labels[0].unique().tolist()) <= {0, 1, 3}
        assert set(stage.labels[1].unique().tolist()) <= {0, 1}


def test_the_walk_may_have_a_window_of_its_own(network, batch, maps) -> None:
    both = {"first_step": 0, "walk_first_step": 0, "low": 0.2, "high": 0.3}
    own, near, far = (
        AFALabels(**both, **radii).targets_from(maps, batch, grid=GRID, step=0)
        for radii in ({"radius": 1, "walk_radius": 4}, {"radius": 1}, {"radius": 4})
    )
    assert torch.equal(own.affinity_label, near.affinity_label)
    assert torch.equal(own.pseudo_label, far.pseudo_label)
    assert not torch.equal(near.pseudo_label, far.pseudo_label)


@pytest.mark.parametrize("steps", [1, 2])
def test_without_a_radius_all_pairs_count(network, batch, steps) -> None:
    """The dense form, beside the window form with a window as large as the grid."""
    images = normalize(batch.images)
    found = []
    for radius in (None, 64):
        maker = AFALabels(radius=radius, walk_steps=steps, first_step=0, walk_first_step=0)
        found.append(maker.targets(network, batch, images, network(images), step=0))
    assert torch.equal(found[0].affinity_label, found[1].affinity_label)
    assert (found[0].pseudo_label == found[1].pseudo_label).float().mean() >= 0.999


def test_without_refinement_there_is_no_stage_of_it(network, batch) -> None:
    stages = stages_of(AFALabels(radius=2, refinement=NoRefinement()), network, batch)
    assert list(stages) == ["cam", "walk", "pseudo_label"]
    assert torch.equal(stages["pseudo_label"].labels, stages["walk"].labels)


def test_the_crf_names_its_stage_and_makes_labels(network, batch) -> None:
    maker = AFALabels(radius=2, first_step=0, walk_first_step=0, refinement=DenseCRF(steps=1))
    stages = stages_of(maker, network, batch)
    assert list(stages) == ["cam", "cam_crf", "walk", "pseudo_label"]
    assert not torch.equal(stages["pseudo_label"].labels, stages["walk"].labels)
    images = normalize(batch.images)
    targets = maker.targets(network, batch, images, network(images), step=0)
    assert set(targets.pseudo_label[0].unique().tolist()) <= {0, 1, 3, 255}


@dataclass(frozen=True)
class MeanFilter(Refinement):
    """The mean of each pixel's surroundings."""

    name = "mean"
    side: int = 5

    def prepare(self, photos, boxes, *, full_frames):
        return MeanRefiner(self.side, photos.shape[-2:])


class MeanRefiner(Refiner):
    def __init__(self, side, size):
        self.side, self.size = side, tuple(size)

    def refine(self, scores, *, in_boxes):
        return F.avg_pool2d(scores, self.side, stride=1, padding=self.side // 2, count_include_pad=False)


def test_a_refinement_of_ones_own_makes_stages_and_targets(network, batch) -> None:
    maker = AFALabels(radius=2, first_step=0, walk_first_step=0, refinement=MeanFilter(side=7))
    stages = stages_of(maker, network, batch)
    assert list(stages) == ["cam", "cam_mean", "walk", "pseudo_label"]
    images = normalize(batch.images)
    output = network(images)
    maps = make_maps(network, batch, images, output, scales=maker.cam_scales)
    (walked,) = walk_scores(maps.cam, maps.affinity, maps.present.labels, (0.45,), walk=maker.walk_on(maps.grid))
    filtered = F.avg_pool2d(walked, 7, stride=1, padding=3, count_include_pad=False)
    assert torch.equal(stages["pseudo_label"].labels, maps.present.named(argmax_labels(filtered)))
    assert not torch.equal(stages["pseudo_label"].labels, stages["walk"].labels)
    unrefined = AFALabels(radius=2, first_step=0, walk_first_step=0, refinement=NoRefinement())
    targets, other = (one.targets(network, batch, images, output, step=0) for one in (maker, unrefined))
    assert not torch.equal(targets.pseudo_label, other.pseudo_label)


def test_the_thresholds_of_a_phase_are_those_that_it_uses() -> None:
    plain, own = AFALabels(), AFALabels(walk_low=0.2, walk_high=0.4)
    assert plain.thresholds(step=9000) == {"low": 0.35, "high": 0.55, "background": 0.45}
    assert own.thresholds(step=6000) == plain.thresholds(step=6000)
    assert own.thresholds(step=6001) == {"walk_low": 0.2, "walk_high": 0.4, "background": 0.45}


def test_phases_are_marked_in_the_charts() -> None:
    assert AFALabels().marks() == {"labels from the CAM": 2001, "labels from the walk": 6001}
    assert AFALabels(walk_first_step=None).marks() == {"labels from the CAM": 2001}


@pytest.mark.parametrize(
    ("settings", "message", "arguments"),
    [
        ({"low": 0.6, "high": 0.5}, "need 0 <= low < high <= 1, got low=0.6, high=0.5", ("low", "high")),
        ({"background": 1.5}, "got background=1.5", ("background",)),
        ({"walk_background": -1.0}, "got walk_background=-1.0", ("walk_background",)),
        ({"walk_low": 0.6}, "walk_low < walk_high <= 1, got walk_low=0.6, walk_high=0.55", ("walk_low", "walk_high")),
        ({"radius": 0}, "got radius=0", ("radius",)),
        ({"walk_radius": 0}, "got walk_radius=0", ("walk_radius",)),
        ({"alpha": 0.0, "walk_steps": 0}, "got walk_steps=0, alpha=0.0", ("walk_steps", "alpha")),
        ({"first_step": -1, "walk_first_step": None}, "got first_step=-1", ("first_step",)),
        (
            {"first_step": 10, "walk_first_step": 5},
            "need first_step <= walk_first_step, got 10 and 5",
            ("first_step", "walk_first_step"),
        ),
        ({"cam_scales": ()}, "need scales above 0, got []", ("cam_scales",)),
    ],
)
def test_impossible_settings_name_their_arguments(settings, message, arguments) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as error:
        AFALabels(**settings)
    assert error.value.arguments == arguments


@pytest.mark.parametrize("refinement", [PAR(dilations=(1, 2), steps=2), NoRefinement()])
def test_without_the_walk_pseudo_labels_are_those_before_it(network, batch, refinement):
    """They are what training learns from: ``walk_first_step=None`` means no walk, in validation too."""
    stages = stages_of(AFALabels(radius=2, walk_first_step=None, refinement=refinement), network, batch)
    before = "cam" if isinstance(refinement, NoRefinement) else "cam_par"
    assert torch.equal(stages["pseudo_label"].labels, stages[before].labels)
    assert not torch.equal(stages["walk"].labels, stages["pseudo_label"].labels)
