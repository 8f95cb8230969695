"""Background scores that find themselves: from the splits, into the labels, through checkpoints."""

from __future__ import annotations

import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.ops.color_split import color_split
from afa_wsss.ops.pseudo_label import argmax_labels, box_mask, present_classes
from afa_wsss.supervision import AFALabels, NoRefinement
from afa_wsss.supervision.candidates import look_at_candidates
from afa_wsss.supervision.found_thresholds import KINDS, FoundThresholds, Look
from afa_wsss.supervision.maps import Maps
from afa_wsss.supervision.score_curves import CANDIDATES, best_thresholds, same_share
from afa_wsss.supervision.scores import cam_scores
from afa_wsss.supervision.thresholds import PAPER
from afa_wsss.types import Batch

AUTO = {"low": "auto", "high": "auto", "background": "auto"}


def peaked(best, *, width=4):
    """Splits that fall off on both sides of the candidate ``best``."""
    distance = (torch.arange(len(CANDIDATES)) - CANDIDATES.index(best)).abs().float()
    return 0.3 * torch.exp(-((distance / width) ** 2))


@pytest.mark.parametrize("best", CANDIDATES)
def test_the_best_candidate_lies_between_low_and_high(best):
    low, high, background = best_thresholds(peaked(best)).tolist()
    assert background == pytest.approx(best)
    assert 0 <= low <= background <= high <= 1
    assert low < high


def test_low_and_high_are_where_the_split_is_nearly_as_good():
    splits = torch.zeros(len(CANDIDATES))
    at = CANDIDATES.index(0.45)
    splits[at - 2 : at + 3] = torch.tensor([0.90, 0.98, 1.0, 0.96, 0.5])
    low, high, background = best_thresholds(splits).tolist()
    assert background == pytest.approx(0.45)
    assert low == pytest.approx(0.40 - 0.05 / 8)  # 0.97 lies one eighth of the way from 0.98 to 0.90
    assert high == pytest.approx(0.45 + 0.05 * 3 / 4)


def test_a_flat_end_is_taken_whole():
    low, high, _ = best_thresholds(torch.ones(len(CANDIDATES))).tolist()
    assert (low, high) == pytest.approx((CANDIDATES[0], CANDIDATES[-1]))


def look(best, *, photos=2, share=0.3):
    """Of photos whose labels are best at ``best``; their foreground falls evenly from ``share``."""
    shares = share * (1 - torch.tensor(CANDIDATES))
    return Look(peaked(best).expand(photos, -1), shares.expand(photos, -1))


def test_recent_photos_weigh_more():
    found = FoundThresholds()
    assert found.values("cam") == pytest.approx(PAPER)
    found.update(look(0.2, photos=4), None)
    assert found.values("cam").background == pytest.approx(0.2)
    for _ in range(60):
        found.update(look(0.8), None)
    assert found.values("cam").background == pytest.approx(0.8)


def test_a_look_at_photos_without_a_class_is_none():
    """As where most photos are negatives: the walk's scores stay those of the CAM, and the next step looks again."""
    found = FoundThresholds(compares_walk=True)
    found.update(look(0.04), None)
    empty = look(0.6, photos=0)
    before = {name: value.clone() for name, value in found.state_dict().items()}
    found.update(empty, empty)
    assert found.values("walk") == found.values("cam")
    assert found.values("walk").background == pytest.approx(0.04)
    assert all(torch.equal(value, before[name]) for name, value in found.state_dict().items())
    assert found.wants_look(47, walks=True)
    masks = FoundThresholds()
    masks.score(torch.zeros(2, len(CANDIDATES), 3, 3, dtype=torch.long))
    masks.found[0] = torch.tensor([0.1, 0.3, 0.2])
    assert masks.values("walk") == pytest.approx((0.1, 0.3, 0.2))  # no pixel of any mask counts


def test_about_160_photos_with_a_class_are_remembered():
    """However they are dealt to the looks."""
    weights = []
    for photos in (2, 16, 64):
        found = FoundThresholds()
        for _ in range(2000 // photos):
            found.update(look(0.5, photos=photos), None)
        weights.append(float(found.cam.weight))
    assert weights == pytest.approx([160, 160, 160], rel=0.2)


def test_a_score_that_is_best_by_chance_moves_nothing():
    """A standard error of the lead over the paper's 0.45 is taken off; that score itself needs no lead."""
    rare, level = CANDIDATES.index(0.005), torch.full((16, len(CANDIDATES)), 0.09)
    level[:, CANDIDATES.index(0.45)] = 0.1
    for sure in (0.09, 0.2):  # at 0.75, in every photo
        level[:, CANDIDATES.index(0.75)] = sure
        # 0.005 leads by 0.047 with an error of 0.057, by 0.11 (0.12), and by 0.45 (0.12).
        for photos, value, taken in ((1, 1.0, None), (1, 2.0, None), (8, 1.0, 0.005)):
            level[:, rare], level[:photos, rare] = 0.09, value
            found = FoundThresholds()
            found.update(Look(level, torch.ones_like(level)), None)
            otherwise = 0.45 if sure == 0.09 else 0.75
            assert found.values("cam").background == pytest.approx(taken or otherwise)


def test_one_photo_leaves_the_papers_score():
    found = FoundThresholds()
    found.update(look(0.2, photos=1), None)
    assert found.values("cam").background == pytest.approx(PAPER.background)


@pytest.mark.parametrize("split", [0.0, 0.1])
def test_photos_that_tell_nothing_leave_the_papers_score(split):
    found, level = FoundThresholds(), torch.full((16, len(CANDIDATES)), split)
    found.update(Look(level, torch.ones_like(level)), None)
    assert found.values("cam").background == pytest.approx(PAPER.background)


def test_autocast_changes_nothing():
    found, other = FoundThresholds(compares_walk=True), FoundThresholds(compares_walk=True)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        looks = [Look(*torch.rand(2, 9, len(CANDIDATES), generator=generator)) for _ in KINDS]
        found.update(*looks)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            other.update(*looks)
    for name, value in found.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_photos_with_a_class_are_looked_for_more_often_where_they_are_few():
    """So that a tenth of all photos is looked at or passed over; from masks always at every tenth step."""
    for photos, left_out, interval in ((1, 15, 1), (5, 11, 3), (1, 1, 5), (16, 0, 10), (2, 0, 10)):
        found = FoundThresholds()
        for _ in range(4):
            found.update(look(0.5, photos=photos)._replace(left_out=left_out), None)
        looks = [step for step in range(1, 31) if found.wants_look(step, walks=False)]
        assert looks == list(range(interval, 31, interval))
    masks = FoundThresholds()
    for _ in range(4):
        masks.score(torch.ones(1, len(CANDIDATES), 3, 3, dtype=torch.long))
    assert [step for step in range(1, 31) if masks.wants_look(step, walks=False)] == [10, 20, 30]


def test_the_first_looks_are_close_together():
    found = FoundThresholds()
    looks = []
    for step in range(41, 60):
        if found.wants_look(step, walks=False):
            looks.append(step)
            found.update(look(0.5), None)
    assert looks == [41, 42, 43, 44, 50]
    assert found.wants_look(61, walks=True)


def test_the_walks_scores_leave_as_much_foreground_as_those_of_the_cam():
    """The walk halves all scores: what was above 0.6 is above 0.3."""
    found, scores = FoundThresholds(), torch.tensor(CANDIDATES)
    before, after = 1 - scores, 1 - (2 * scores).clamp(max=1)
    cam, walk = look(0.6), look(0.95)
    found.update(cam._replace(shares=before[None]), walk._replace(shares=after[None]))
    low, high, background = found.values("cam")
    assert background == pytest.approx(0.6)
    assert found.values("walk") == pytest.approx((low / 2, high / 2, background / 2), abs=1e-3)


def test_scores_that_are_set_stay_and_the_walk_follows_them():
    found, scores = FoundThresholds(), torch.tensor(CANDIDATES)
    shares = (1 - scores)[None]
    cam, walk = (look(0.2)._replace(shares=shares) for _ in range(2))
    found.update(cam, walk, given=(0.35, 0.55, 0.45))
    assert found.values("cam") == pytest.approx((0.35, 0.55, 0.45))
    assert found.values("walk") == pytest.approx((0.35, 0.55, 0.45), abs=1e-3)


def test_shares_that_no_score_after_the_walk_reaches_end_at_the_last_one():
    before, after = torch.linspace(1, 0.5, len(CANDIDATES)), torch.linspace(0.2, 0, len(CANDIDATES))
    found = same_share(before, after, torch.tensor([0.1, 0.5, 0.3]))
    assert found.tolist() == pytest.approx([CANDIDATES[0]] * 3)


def test_the_state_is_all_there_is():
    found, other = FoundThresholds(), FoundThresholds()
    found.update(look(0.7), look(0.4))
    other.load_state_dict(found.state_dict())
    assert [other.values(kind) for kind in KINDS] == [found.values(kind) for kind in KINDS]
    wanted = [found.wants_look(step, walks=walks) for step in range(9) for walks in (False, True)]
    assert [other.wants_look(step, walks=walks) for step in range(9) for walks in (False, True)] == wanted


def batch_of_squares():
    """A bright square whose middle is active, on dark photos; the third photo has no class."""
    images = torch.full((3, 3, 64, 64), 40, dtype=torch.uint8)
    images[:, :, 16:48, 16:48] = 200
    rows = (torch.arange(64) - 31.5).abs()
    cam = torch.clamp(1 - torch.maximum(rows[:, None], rows[None, :]) / 32, min=0).expand(3, 1, 64, 64).clone()
    labels = torch.tensor([[1.0], [1.0], [0.0]])
    batch = Batch(images, labels, torch.tensor([[0, 64, 0, 64]] * 3), ("a", "b", "c"), None, 1, full_frames=True)
    return batch, Maps(present_classes(labels, 1), cam, torch.rand(3, 16, 16), (4, 4))


def test_candidates_are_judged_by_their_labels():
    batch, maps = batch_of_squares()
    found = look_at_candidates(maps, batch, refinement=NoRefinement(), walk=None)
    assert (len(found.splits), len(found.shares), found.left_out) == (2, 2, 1)  # one photo has no class
    refiner = NoRefinement().prepare(batch.images / 255, batch.boxes, full_frames=True)
    inside = box_mask(batch.boxes, 64, 64)
    for index, threshold in enumerate(CANDIDATES):
        (scores,) = cam_scores(maps.cam, maps.present.labels, (threshold,), refiner=refiner)
        alone = color_split(batch.images / 255, argmax_labels(scores)[:, None] > 0, inside)
        torch.testing.assert_close(found.splits[:, index], alone[:2, 0])


def test_the_threshold_of_a_square_is_where_the_square_ends():
    """Activation falls from 1 in the middle to 0.5 at the square's border."""
    batch, maps = batch_of_squares()
    memory = FoundThresholds()
    memory.update(look_at_candidates(maps, batch, refinement=NoRefinement(), walk=None), None)
    assert memory.values("cam").background == pytest.approx(0.5)


def test_shares_are_those_of_the_photo_alone():
    batch, maps = batch_of_squares()
    halved = batch._replace(boxes=torch.tensor([[0, 64, 0, 32]] * 3), full_frames=False)
    whole, half = (look_at_candidates(maps, each, refinement=NoRefinement(), walk=None) for each in (batch, halved))
    torch.testing.assert_close(half.shares, whole.shares)  # the square and its activation are symmetric


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": "auto"}, "need two numbers or auto for both low and high, got low=auto, high=0.55"),
        ({"low": "otsu", "high": "auto"}, "need a background score between 0 and 1, or auto, got low=otsu"),
        ({"background": 1.2}, "need a background score between 0 and 1, or auto, got background=1.2"),
        ({"walk_high": "auto"}, "need two numbers or auto for both walk_low and walk_high"),
        ({"background": True}, "need a background score between 0 and 1, or auto, got background=True"),
    ],
)
def test_what_is_no_score_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        AFALabels(**settings)


def test_only_what_is_auto_is_found():
    assert AFALabels().memory is None
    labels = AFALabels(**AUTO, walk_low=0.1, walk_high=0.2)
    labels.memory.update(look(0.8), None)
    assert labels.cam_thresholds.background == pytest.approx(0.8)
    assert labels.walk_thresholds[:2] == (0.1, 0.2)
    assert labels.walk_thresholds.background == pytest.approx(0.8)  # that of the CAM, until the walk was looked at
    labels.memory.update(look(0.8), look(0.3, share=0.1))
    assert labels.walk_thresholds.background < 0.8
    assert list(labels.thresholds(step=10**6)) == ["walk_low", "walk_high", "walk_background"]


def test_the_papers_scores_stay_where_no_score_splits_a_color():
    found, nothing = FoundThresholds(), torch.zeros(2, len(CANDIDATES))
    found.update(Look(nothing, nothing), Look(nothing, nothing))
    assert found.values("cam") == pytest.approx(PAPER)


def test_the_papers_scores_stay_where_they_split_nothing_and_no_other_surely_splits_more():
    """One photo whose object fills no pixel at 0.45: nothing is sure yet, and all of it would be unknown."""
    found, below = FoundThresholds(), torch.tensor([CANDIDATES]) < 0.4
    found.update(Look(0.2 * below, 0.1 * below), None)
    assert found.values("cam") == pytest.approx(PAPER)
    found.update(Look(0.2 * below, 0.1 * below), None)
    assert found.values("cam").background < 0.4


def test_masks_of_the_background_alone_choose_nothing():
    found, counts = FoundThresholds(), torch.zeros(2, len(CANDIDATES), 3, 3, dtype=torch.long)
    counts[..., 0, 0] = 100
    found.score(counts)
    assert found.values("cam") == pytest.approx(PAPER)
