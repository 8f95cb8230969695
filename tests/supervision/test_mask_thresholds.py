"""Background scores from the masks of held-out photos: every candidate's labels against the masks, by plain loops."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from tests.oracles.mask_thresholds import choice, confusion, miou
from tests.two_processes import in_two_processes

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.ops.image import normalize
from afa_wsss.ops.pseudo_label import present_classes
from afa_wsss.supervision import PAR, AFALabels, LabelMaker, NoRefinement
from afa_wsss.supervision.candidates import compare_candidates
from afa_wsss.supervision.found_thresholds import FoundThresholds
from afa_wsss.supervision.maps import Maps
from afa_wsss.supervision.score_curves import CANDIDATES, NEARLY
from afa_wsss.supervision.thresholds import PAPER
from afa_wsss.types import Batch

CLASSES = 3
AUTO = {"low": "auto", "high": "auto", "background": "auto"}
SETTINGS = {"radius": 2, "first_step": 2, "walk_first_step": 4, "cam_scales": (1.0, 0.5)}
SETTINGS |= {"refinement": PAR(dilations=(1, 2), steps=2)}
FINDS = AFALabels(**SETTINGS, **AUTO, auto_from="masks")


def photos(seed, height, width, labels):
    """Photos of blobs, and masks of half the height with a class of each photo in the middle and ignored borders."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(len(labels), 3, height // 8, width // 8, generator=generator)
    images = torch.nn.functional.interpolate(small * 255, size=(height, width), mode="bilinear").to(torch.uint8)
    masks = torch.zeros(len(labels), height, width, dtype=torch.uint8)
    for mask, own in zip(masks, labels, strict=True):
        mask[height // 4 : height // 2, width // 4 :] = own.index(1.0) + 1 if 1.0 in own else 0
        mask[:2] = 255
    boxes = torch.tensor([[0, height, 0, width]] * len(labels))
    names = tuple(f"{seed}_{index}" for index in range(len(labels)))
    most = max(int(sum(own)) for own in labels)
    return Batch(images, torch.tensor(labels), boxes, names, masks, most, full_frames=True)


def held_out():
    return [photos(1, 48, 48, [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), photos(2, 32, 64, [[0.0, 1.0]])]


def network():
    torch.manual_seed(0)
    return create_model("mit_nano", num_classes=CLASSES - 1, decoder_width=16).eval()


@cache
def expected():
    """For each stage, what its labels at every candidate say: one validation for each."""
    model, curves = network(), {"cam_par": [], "pseudo_label": []}
    for score in CANDIDATES:
        found = {stage: [] for stage in curves}
        for batch in held_out():
            images, fixed = normalize(batch.images), AFALabels(**SETTINGS, background=score)
            with torch.no_grad():
                stages = fixed.stages(model, batch, images, model(images))
            for stage, labels in found.items():
                labels.extend(stages[stage].labels)
        targets = [mask for batch in held_out() for mask in batch.masks]
        for stage, labels in found.items():
            curves[stage].append(miou(confusion(labels, targets, CLASSES)))
    assert all(max(curve) > min(curve) + 1 for curve in curves.values())
    return {stage: choice(curve, CANDIDATES, NEARLY) for stage, curve in curves.items()}


def fresh(**changes):
    return AFALabels(**{**SETTINGS, **AUTO, "auto_from": "masks", **changes})


def test_the_scores_are_those_at_which_validation_would_be_best():
    model, labels = network(), fresh()
    labels.look(model, held_out(), step=SETTINGS["walk_first_step"])
    assert labels.cam_thresholds == pytest.approx(expected()["cam_par"], abs=2e-3)
    assert labels.walk_thresholds == pytest.approx(expected()["pseudo_label"], abs=2e-3)


def test_before_the_walk_the_cam_is_looked_at_alone():
    model, labels = network(), fresh()
    labels.look(model, held_out(), step=3)
    assert labels.memory.looks.tolist() == [1, 0]
    assert labels.walk_thresholds == labels.cam_thresholds != PAPER


def test_what_is_set_stays():
    model, labels = network(), fresh(low=0.2, high=0.6)
    labels.look(model, held_out(), step=4)
    assert labels.cam_thresholds[:2] == labels.walk_thresholds[:2] == (0.2, 0.6)
    assert labels.cam_thresholds.background == pytest.approx(expected()["cam_par"][2])


def test_looks_come_when_those_without_masks_do():
    """But for those at every fifth step that look at more photos when the walk begins: masks show the same again."""
    labels, model = fresh(), network()
    photo_labels = fresh(auto_from="photos")
    looked, looked_at_photos = [], []
    for step in range(2, 25):
        if photo_labels.wants_look(step=step):
            looked_at_photos.append(step)
        if labels.wants_look(step=step):
            looked.append(step)
            labels.look(model, [], step=step)
            photo_labels.memory.looks.copy_(labels.memory.looks)
            photo_labels.memory._read = None
    assert looked == [2, 3, 4, 5, 6, 7, 10, 20]  # four for the CAM, from step 4 on until the walk has had four, too
    assert looked_at_photos == [2, 3, 4, 5, 6, 7, 10, 15, 20]


def test_a_look_replaces_the_one_before():
    model, labels, other = network(), fresh(), fresh()
    labels.look(model, held_out()[1:], step=4)
    for maker in (labels, other):
        maker.look(model, held_out(), step=4)
    assert torch.equal(labels.memory.found, other.memory.found)


@pytest.mark.parametrize("seed", range(5))
def test_random_counts_choose_as_the_loops_do(seed):
    counts = torch.randint(0, 50, (2, len(CANDIDATES), 4, 4), generator=torch.Generator().manual_seed(seed))
    counts[:, :, 2] = 0  # a class that no target has
    found = FoundThresholds()
    found.score(counts)
    for kind, name in enumerate(("cam", "walk")):
        curve = [miou(matrix) for matrix in counts[kind].tolist()]
        assert found.values(name) == pytest.approx(choice(curve, CANDIDATES, NEARLY), abs=1e-4)


def test_masks_without_a_pixel_that_counts_change_nothing():
    found = FoundThresholds()
    found.score(torch.zeros(2, len(CANDIDATES), CLASSES, CLASSES, dtype=torch.long))
    assert found.values("cam") == found.values("walk") == pytest.approx(PAPER)


def made(batch):
    cam = torch.rand(3, 2, 48, 48, generator=torch.Generator().manual_seed(3))
    return Maps(present_classes(batch.image_labels, batch.most_classes), cam, torch.rand(3, 9, 9), (3, 3))


def test_what_lies_outside_of_the_photos_is_not_counted():
    batch = held_out()[0]
    batch = batch._replace(boxes=torch.tensor([[0, 48, 0, 24]] * 3), full_frames=False)
    counts = compare_candidates(made(batch), batch, classes=CLASSES, refinement=NoRefinement(), walk=None)
    assert counts.sum(dim=(1, 2)).tolist() == [3 * 46 * 24] * len(CANDIDATES)
    assert counts.sum(dim=2).unique(dim=0).shape[0] == 1  # targets are the same at every candidate


def test_photos_without_masks_are_refused():
    batch = held_out()[0]._replace(masks=None)
    with pytest.raises(UserError, match="need masks to compare labels with"):
        compare_candidates(made(batch), batch, classes=CLASSES, refinement=NoRefinement(), walk=None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"auto_from": "mask"}, "need auto_from to be photos or masks, got mask"),
        ({"auto_from": "masks"}, "need a background score that is auto for auto_from=masks, got numbers alone"),
    ],
)
def test_wrong_use_is_refused(settings, message):
    with pytest.raises(UserError, match=message) as error:
        AFALabels(**settings)
    assert error.value.arguments == ("auto_from",)


def test_masks_are_never_read_by_surprise():
    assert AFALabels().auto_from == "photos"
    assert not AFALabels(**AUTO).learns_from_masks
    assert not LabelMaker.learns_from_masks.fget(None)
    assert FINDS.learns_from_masks


def test_a_walk_that_alone_is_found_may_read_masks():
    labels = fresh(low=0.3, high=0.5, background=0.4, walk_low="auto", walk_high="auto")
    labels.look(network(), held_out(), step=4)
    assert labels.cam_thresholds == (0.3, 0.5, 0.4)
    assert labels.walk_thresholds[:2] != (0.3, 0.5)


def look_at_own_share(rank):
    labels = fresh()
    labels.look(network(), held_out() if rank == 0 else [], step=4)
    return labels.memory.state_dict()


@pytest.mark.ddp
def test_processes_find_the_same_even_without_a_photo(tmp_path):
    labels = fresh()
    labels.look(network(), held_out(), step=4)
    for found in in_two_processes(look_at_own_share, tmp_path):
        assert torch.equal(found["looks"], labels.memory.looks)
        torch.testing.assert_close(found["found"], labels.memory.found, atol=2e-3, rtol=0)
