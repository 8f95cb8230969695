"""PAR as a refinement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.ops import par
from afa_wsss.ops.image import resize
from afa_wsss.ops.pseudo_label import background_scores, box_mask
from afa_wsss.supervision import PAR
from afa_wsss.supervision.par import refine_in_boxes

SMALL = PAR(dilations=(1, 2), steps=2)


@pytest.mark.parametrize(("name", "threshold"), [("box_refined_low", 0.35), ("box_refined_high", 0.55)])
def test_refinement_in_boxes_equals_the_official_one(golden, name, threshold) -> None:
    data = {key: torch.from_numpy(np.asarray(value)) for key, value in golden("pseudo_label").items()}
    scores = background_scores(data["cam"], data["image_labels"], threshold)
    refined = refine_in_boxes(data["image"], scores, data["box"], par=PAR())
    inside = box_mask(data["box"], *refined.shape[-2:])[:, None]
    torch.testing.assert_close(refined * inside, data[name].float(), atol=1e-3, rtol=0)


def test_whole_frames_are_refined_at_half_size() -> None:
    photos, scores = torch.rand(2, 3, 20, 30), torch.rand(2, 3, 10, 15)
    refiner = SMALL.prepare(photos, torch.tensor([[0, 20, 0, 30]] * 2), full_frames=False)
    assert refiner.size == (10, 15)
    refined = par.refine(resize(photos, (10, 15)), scores, dilations=(1, 2), steps=2)
    torch.testing.assert_close(refiner.refine(scores, in_boxes=False), resize(refined, (20, 30)))


@pytest.mark.parametrize("in_boxes", [False, True])
@pytest.mark.parametrize("full_frames", [False, True])
def test_several_maps_in_one_pass_are_refined_as_one_by_one(in_boxes, full_frames) -> None:
    photos, boxes = torch.rand(2, 3, 20, 30), torch.tensor([[0, 20, 0, 30], [2, 18, 3, 30]])
    refiner = SMALL.prepare(photos, boxes, full_frames=full_frames)
    maps = [torch.rand(2, 3, *((20, 30) if in_boxes else refiner.size)) for _ in range(2)]
    together = refiner.refine_each(maps, in_boxes=in_boxes)
    for found, one in zip(together, maps, strict=True):
        torch.testing.assert_close(found, refiner.refine(one, in_boxes=in_boxes))


def test_padding_has_no_influence_in_boxes() -> None:
    photos, scores, boxes = torch.rand(1, 3, 20, 30), torch.rand(1, 3, 20, 30), torch.tensor([[2, 18, 4, 26]])
    inside = box_mask(boxes, 20, 30)[:, None]
    found = SMALL.prepare(photos, boxes, full_frames=False).refine(scores, in_boxes=True)
    others = [torch.where(inside, maps, torch.rand_like(maps)) for maps in (photos, scores)]
    again = SMALL.prepare(others[0], boxes, full_frames=False).refine(others[1], in_boxes=True)
    torch.testing.assert_close(found * inside, again * inside)


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ({"dilations": ()}, ("dilations",)),
        ({"dilations": (0, 1)}, ("dilations",)),
        ({"steps": -1}, ("steps",)),
        ({"w1": 0.0}, ("w1",)),
        ({"w3": -1.0}, ("w3",)),
    ],
)
def test_impossible_settings_are_refused(settings, arguments) -> None:
    with pytest.raises(UserError, match="need ") as error:
        PAR(**settings)
    assert set(arguments) <= set(error.value.arguments)
