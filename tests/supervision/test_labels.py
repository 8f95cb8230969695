from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.ops.pseudo_label import background_scores, box_mask, combine, read_cam
from afa_wsss.supervision import PARSettings, Supervision, Walk, label_stages, labels_from_cam, labels_from_walk
from afa_wsss.supervision.scores import refine_in_boxes

THRESHOLDS = {"low": 0.35, "high": 0.55}


@pytest.fixture
def data(golden):
    return {name: torch.from_numpy(np.asarray(value)) for name, value in golden("pseudo_label").items()}


def _inputs(b: int = 2, k: int = 3, size: int = 32):
    labels = torch.zeros(b, k)
    labels[:, 0] = labels[0, 2] = 1
    boxes = torch.tensor([[0, size, 0, size], [3, size - 2, 5, size]])[:b]
    return torch.rand(b, 3, size, size), torch.rand(b, k, size, size), labels, boxes


@pytest.mark.parametrize(("name", "par"), [("refined", PARSettings()), ("unrefined", None)])
def test_labels_from_cam_equal_the_official_ones(data, name, par) -> None:
    found = labels_from_cam(data["image"], data["cam"], data["image_labels"], data["box"], par=par, **THRESHOLDS)
    assert (found == data[name]).float().mean() >= 0.999


@pytest.mark.parametrize(("name", "threshold"), [("box_refined_low", 0.35), ("box_refined_high", 0.55)])
def test_refinement_in_boxes_equals_the_official_one(data, name, threshold) -> None:
    scores = background_scores(data["cam"], data["image_labels"], threshold)
    refined = refine_in_boxes(data["image"], scores, data["box"], par=PARSettings())
    inside = box_mask(data["box"], *refined.shape[-2:])[:, None]
    torch.testing.assert_close(refined * inside, data[name].float(), atol=1e-3, rtol=0)


def test_each_photo_of_a_batch_is_labelled_as_if_alone() -> None:
    images, cam, labels, boxes = _inputs()
    affinity, walk = torch.rand(2, 16, 16), Walk((4, 4), radius=2)
    together = labels_from_walk(images, cam, affinity, labels, boxes, walk=walk, **THRESHOLDS)
    for i in range(2):
        row = slice(i, i + 1)
        alone = (images[row], cam[row], affinity[row], labels[row], boxes[row])
        assert torch.equal(together[row], labels_from_walk(*alone, walk=walk, **THRESHOLDS))


def test_outside_of_the_box_and_absent_classes_are_never_labelled() -> None:
    images, cam, labels, boxes = _inputs()
    walk = Walk((4, 4), radius=2)
    for found in (
        labels_from_cam(images, cam, labels, boxes, **THRESHOLDS),
        labels_from_walk(images, cam, torch.rand(2, 16, 16), labels, boxes, walk=walk, **THRESHOLDS),
    ):
        assert (found[~box_mask(boxes, 32, 32)] == 255).all()
        assert set(found[1].unique().tolist()) <= {0, 1, 255}
        assert set(found[0].unique().tolist()) <= {0, 1, 3, 255}


def test_combining_keeps_what_both_readings_are_sure_of() -> None:
    low, high = torch.tensor([[[0, 1, 2, 2]]]), torch.tensor([[[0, 0, 2, 1]]])
    assert combine(low, high).tolist() == [[[0, 255, 2, 1]]]


def test_a_plain_reading_takes_the_highest_present_class_above_the_background() -> None:
    cam = torch.tensor([[[[0.9, 0.3]], [[0.99, 0.2]], [[0.5, 0.44]]]])
    assert read_cam(cam, torch.tensor([[1.0, 0.0, 1.0]]), 0.4).tolist() == [[[1, 3]]]


@pytest.mark.parametrize(("step", "calls"), [(5, ("cam",)), (8, ("cam", "walk"))])
def test_phases(step, calls, monkeypatch) -> None:
    made = []
    module = "afa_wsss.supervision.settings"
    for name in ("cam", "walk"):

        def label(*_args, name=name, **_settings):
            made.append(name)
            return torch.full((2, 32, 32), len(name), dtype=torch.uint8)

        monkeypatch.setattr(f"{module}.labels_from_{name}", label)
    images, cam, labels, boxes = _inputs()
    settings = Supervision(first_step=4, walk_first_step=8, radius=2)
    grids = {"grid": (4, 4), "affinity_grid": (4, 4)}
    targets = settings.targets(images, cam, torch.rand(2, 16, 16), labels, boxes, step=step, **grids)
    assert tuple(made) == calls
    assert targets.pseudo_label[0, 0, 0] == len(calls[-1])
    assert targets.affinity_label.shape == (2, 16, 16)


def test_affinity_labels_from_the_walk_need_no_labels_from_cam(monkeypatch) -> None:
    monkeypatch.setattr("afa_wsss.supervision.settings.labels_from_cam", lambda *_a, **_s: pytest.fail("made"))
    images, cam, labels, boxes = _inputs()
    settings = Supervision(first_step=0, walk_first_step=1, affinity_from_walk=True, radius=2)
    grids = {"grid": (4, 4), "affinity_grid": (4, 4)}
    targets = settings.targets(images, cam, torch.rand(2, 16, 16), labels, boxes, step=1, **grids)
    assert targets.pseudo_label is not None


def test_stages_without_par_differ_by_the_walk_alone() -> None:
    images, cam, labels, boxes = _inputs()
    stages = label_stages(
        images, cam, torch.rand(2, 16, 16), labels, boxes, background=0.45, walk=Walk((4, 4)), par=None
    )
    assert torch.equal(stages.cam, stages.cam_par)
    assert torch.equal(stages.walk, stages.walk_par)


def test_the_walk_may_have_background_scores_of_its_own() -> None:
    images, cam, labels, boxes = _inputs()
    affinity = torch.rand(2, 16, 16)
    grids = {"grid": (4, 4), "affinity_grid": (4, 4)}
    same = {"low": 0.2, "high": 0.3, "background": 0.25, "first_step": 0, "walk_first_step": 1, "radius": 2}
    own = {"walk_low": 0.45, "walk_high": 0.5, "walk_background": 0.48}
    there = {"low": 0.45, "high": 0.5, "background": 0.48}
    maps = (images, cam, affinity, labels, boxes)

    def labelled(settings: dict, step: int):
        return Supervision(**settings).targets(*maps, step=step, **grids)

    assert torch.equal(labelled(same | own, 0).pseudo_label, labelled(same, 0).pseudo_label)
    assert torch.equal(labelled(same | own, 1).pseudo_label, labelled(same | there, 1).pseudo_label)
    assert torch.equal(labelled(same | own, 1).affinity_label, labelled(same, 1).affinity_label)
    stages = Supervision(**same, **own).stages(*maps, affinity_grid=(4, 4))
    assert torch.equal(stages.cam_par, Supervision(**same).stages(*maps, affinity_grid=(4, 4)).cam_par)
    assert torch.equal(stages.walk_par, Supervision(**same | there).stages(*maps, affinity_grid=(4, 4)).walk_par)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"low": 0.6, "high": 0.5}, "need 0 <= supervision.low < supervision.high <= 1, got low=0.6, high=0.5"),
        ({"background": 1.5}, "background"),
        ({"walk_low": 0.6}, "(null stands for low and high), got walk_low=0.6, walk_high=0.55"),
        ({"walk_background": -1.0}, "background=0.45, walk_background=-1.0"),
        ({"radius": 0}, "radius"),
        ({"first_step": 10, "walk_first_step": 5}, "first_step <= supervision.walk_first_step, got 10 and 5"),
    ],
)
def test_impossible_settings_are_refused(settings, told) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        Supervision(**settings)


@pytest.mark.parametrize("settings", [{"dilations": ()}, {"steps": -1}, {"w1": 0.0}, {"w3": -1.0}])
def test_impossible_refinements_are_refused(settings) -> None:
    with pytest.raises(UserError, match="of PAR"):
        PARSettings(**settings)
