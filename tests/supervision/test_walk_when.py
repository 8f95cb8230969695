"""``walk_when=better``: labels are from the walk only while those are better than the labels before it."""

from __future__ import annotations

import logging
import re
from itertools import pairwise

import pytest
import torch
from tests.commands import run_command, small_run, write_small_set

from afa_wsss.cli import train as training
from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.ops.image import normalize
from afa_wsss.supervision import AFALabels, NoRefinement
from afa_wsss.supervision.found_thresholds import FoundThresholds, Look
from afa_wsss.supervision.score_curves import CANDIDATES
from afa_wsss.types import Batch

SIDE = 64
SETTINGS = {"first_step": 0, "walk_first_step": 4, "cam_scales": (1.0,), "radius": 2, "refinement": NoRefinement()}
AUTO = {"low": "auto", "high": "auto", "background": "auto"}


def look(best: float) -> Look:
    """Two photos with a mean split of ``best`` at one candidate and less at the others."""
    splits = torch.full((2, len(CANDIDATES)), best / 3)
    splits[:, 7] = torch.tensor([best / 2, best * 3 / 2])
    return Look(splits, torch.linspace(1, 0, len(CANDIDATES)).expand(2, -1))


def counts(right: int) -> torch.Tensor:
    """Of labels at every candidate: pixels of two classes, so many of each right out of 10."""
    return torch.tensor([[right, 10 - right], [10 - right, right]]).expand(len(CANDIDATES), -1, -1)


def memory_of(maker: AFALabels) -> FoundThresholds:
    assert maker.memory is not None
    return maker.memory


def test_the_walk_is_taken_until_both_kinds_of_labels_were_looked_at() -> None:
    maker = AFALabels(**SETTINGS, walk_when="better")
    assert not maker.leaves_out_walk
    memory_of(maker).update(look(0.5), None)
    assert not maker.leaves_out_walk


@pytest.mark.parametrize(("before", "after", "left_out"), [(0.2, 0.3, False), (0.3, 0.2, True), (0.3, 0.3, True)])
@pytest.mark.parametrize("scores", [{}, AUTO])
def test_the_better_split_of_recent_photos_decides(
    before: float, after: float, left_out: bool, scores: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    maker = AFALabels(**SETTINGS, **scores, walk_when="better")
    found = memory_of(maker)
    with caplog.at_level(logging.INFO, logger="afa_wsss"):
        found.update(look(before), look(after))
        assert maker.leaves_out_walk == left_out
        for _ in range(40):  # what was seen before is forgotten
            found.update(look(0.3), look(0.5))
        assert not maker.leaves_out_walk
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 * left_out
    if left_out:
        assert told[0].startswith("labels are from the CAM now: after the walk they split the photos' colors no better")
        assert told[1].startswith("labels are from the walk now: after the walk they split the photos' colors better")


def test_a_lead_that_is_not_sure_is_said_to_be_so(caplog: pytest.LogCaptureFixture) -> None:
    shares = torch.linspace(1, 0, len(CANDIDATES)).expand(2, -1)
    cam, walk = (Look(torch.tensor(splits).expand_as(shares.T).T, shares) for splits in ([0.3, 0.3], [0.2, 0.45]))
    with caplog.at_level(logging.INFO, logger="afa_wsss"):
        FoundThresholds(compares_walk=True).update(cam, walk)
    (record,) = caplog.records
    assert "the photos' colors not surely better (0.325, before it 0.3)" in record.getMessage()


def test_both_kinds_are_compared_on_the_same_photos() -> None:
    """Photos from before there was a walk, here with twice the split and more foreground, count for the CAM alone."""
    maker = AFALabels(**SETTINGS, **AUTO, walk_when="better")
    found, alone = memory_of(maker), FoundThresholds()
    for _ in range(10):
        found.update(look(0.6)._replace(shares=torch.full((2, len(CANDIDATES)), 0.9)), None)
    found.update(look(0.3), look(0.4))
    alone.update(look(0.3), look(0.4))
    assert not maker.leaves_out_walk
    torch.testing.assert_close(found.best, alone.best)
    assert found.values("walk").background == pytest.approx(alone.values("walk").background)


def test_labels_are_compared_at_the_scores_that_they_are_made_at() -> None:
    """The walk's best candidate is better than the CAM's; at the score that leaves as much foreground it is not."""
    found = FoundThresholds(compares_walk=True)
    after = look(0.4)
    found.update(look(0.3), after)
    assert found.walk_is_better
    moved = Look(after.splits, after.shares / 2)  # half as much foreground: a lower score is taken
    for _ in range(60):
        found.update(look(0.3), moved)
    assert found.values("walk").background < found.values("cam").background
    assert not found.walk_is_better
    for _ in range(60):
        found.update(look(0.3), moved, given_walk=(0.05, 0.1, CANDIDATES[7]))
    assert found.walk_is_better
    assert found.values("walk") == pytest.approx((0.05, 0.1, CANDIDATES[7]))


def test_a_background_score_of_validation_does_not_decide_where_those_of_training_are_found() -> None:
    given, alone = FoundThresholds(compares_walk=True), FoundThresholds(compares_walk=True)
    scores = ("auto", "auto", CANDIDATES[20])
    for _ in range(3):
        given.update(look(0.3), look(0.4), given=scores, given_walk=scores)
        alone.update(look(0.3), look(0.4))
    assert given.values("cam").background == given.values("walk").background == pytest.approx(CANDIDATES[20])
    assert (given.walk_is_better, alone.walk_is_better) == (True, True)
    torch.testing.assert_close(given.best, alone.best)


@pytest.mark.parametrize(("before", "after"), [(0.3, 0.4), (0.4, 0.3), (0.3, -1.0)])
def test_a_memory_of_an_older_checkpoint_is_read(before: float, after: float) -> None:
    """Its scores and its choice stay; the photos behind them are forgotten, so the next look finds them again."""
    old = {"sums": torch.ones(2, 2, len(CANDIDATES)), "weights": torch.ones(2), "looks": torch.tensor([7, 3])}
    old |= {"found": torch.tensor([[0.1, 0.3, 0.2], [0.2, 0.4, 0.3]]), "best": torch.tensor([before, after])}
    for state in (old, old | {"beside": torch.ones(2, len(CANDIDATES))}):
        found = FoundThresholds(compares_walk=True)
        found.load_state_dict(state)
        assert found.values("cam") == pytest.approx((0.1, 0.3, 0.2))
        assert found.walk_is_better == (after < 0 or after > before)
        assert [step for step in range(1, 21) if found.wants_look(step, walks=False)] == [10, 20]
        found.update(look(0.3), None)
        assert found.values("cam").background == pytest.approx(CANDIDATES[7])


def test_a_difference_that_chance_may_explain_changes_nothing() -> None:
    """The walk is taken once it is better by more than two standard errors, and left once it is no better."""
    found = FoundThresholds(compares_walk=True)
    shares = torch.linspace(1, 0, len(CANDIDATES)).expand(16, -1)
    cam, level = Look(torch.full_like(shares, 0.3), shares), torch.tensor([0.5, 0.2]).repeat(8)[:, None]
    level = level.expand_as(shares)  # 0.05 better, a standard deviation of 0.15 over about 320 photos
    for shift, better in ((0, True), (-0.038, True), (-0.055, False), (-0.038, False), (-0.02, True)):
        for _ in range(60):
            found.update(cam, Look(level + shift, shares))
        assert found.walk_is_better == better


def test_the_first_looks_at_the_walk_come_twice_as_often() -> None:
    found, looked = FoundThresholds(compares_walk=True), []
    for step in range(200):
        if found.wants_look(step, walks=True):
            looked.append(step)
            found.update(look(0.3), look(0.3))
    assert looked == [*range(4), *range(5, 81, 5), *range(90, 200, 10)]


def test_masks_decide_where_scores_are_found_from_them() -> None:
    maker = AFALabels(**SETTINGS, **AUTO, auto_from="masks", walk_when="better")
    found = memory_of(maker)
    found.score(torch.stack([counts(8)]))
    assert not maker.leaves_out_walk
    found.score(torch.stack([counts(8), counts(6)]))
    assert maker.leaves_out_walk
    found.score(torch.stack([counts(8), counts(9)]))
    assert not maker.leaves_out_walk


def test_masks_compare_at_the_scores_that_were_set() -> None:
    maker = AFALabels(**SETTINGS, low=0.35, high=0.55, background=0.45, auto_from="masks", walk_when="better")
    walk = counts(2).clone()
    walk[CANDIDATES.index(0.9)] = counts(9)[0]  # the best of all, at a score that no label is made at
    memory_of(maker).score(torch.stack([counts(6), walk]), given=maker._given(), given_walk=maker._given(of_walk=True))
    assert maker.leaves_out_walk


def test_without_a_walk_there_is_nothing_to_compare() -> None:
    maker = AFALabels(**SETTINGS | {"walk_first_step": None}, walk_when="better")
    assert maker.memory is None
    assert not maker.wants_look(step=0)
    with pytest.raises(UserError, match="need a background score that is auto for auto_from=masks"):
        AFALabels(**SETTINGS | {"walk_first_step": None}, walk_when="better", auto_from="masks")


def test_always_asks_nobody() -> None:
    maker = AFALabels(**SETTINGS, **AUTO)
    memory_of(maker).update(look(0.3), look(0.1))
    assert not maker.leaves_out_walk


def test_the_choice_is_stored_with_the_weights() -> None:
    maker, resumed = (AFALabels(**SETTINGS, walk_when="better") for _ in range(2))
    memory_of(maker).update(look(0.3), look(0.1))
    memory_of(resumed).load_state_dict(memory_of(maker).state_dict())
    assert resumed.leaves_out_walk


@pytest.mark.parametrize("better", [False, True])
@torch.no_grad()
def test_labels_are_those_before_the_walk_where_it_does_not_help(batch: Batch, better: bool) -> None:
    network = create_model("mit_nano", 3, decoder_width=8).eval()
    maker, plain = AFALabels(**SETTINGS, **AUTO, walk_when="better"), AFALabels(**SETTINGS, **AUTO)
    memory_of(maker).update(look(0.3), look(0.5 if better else 0.1))
    memory_of(plain).load_state_dict(memory_of(maker).state_dict())
    images = normalize(batch.images)
    output = network(images)
    for step in (3, 9):
        found = maker.targets(network, batch, images, output, step=step)
        wanted = plain.targets(network, batch, images, output, step=step if better else 3)
        assert torch.equal(found.pseudo_label, wanted.pseudo_label)
        assert torch.equal(found.pair_labels.tokens, wanted.pair_labels.tokens)
        assert maker.thresholds(step=step) == plain.thresholds(step=step if better else 3)
    stages, usual = (one.stages(network, batch, images, output) for one in (maker, plain))
    assert list(stages) == list(usual)
    assert torch.equal(stages["pseudo_label"].labels, usual["pseudo_label" if better else "cam"].labels)
    assert torch.equal(stages["walk"].labels, usual["walk"].labels)


def test_another_word_is_refused() -> None:
    with pytest.raises(UserError, match="need walk_when to be always or better, got never"):
        AFALabels(walk_when="never")


def test_masks_need_background_scores_or_a_choice_to_find() -> None:
    with pytest.raises(UserError, match="need a background score that is auto"):
        AFALabels(auto_from="masks")
    AFALabels(auto_from="masks", walk_when="better")


@pytest.mark.slow
def test_the_real_command_looks_at_photos_and_at_masks(tmp_path, capsys) -> None:
    root = write_small_set(tmp_path / "photos")
    for source in ("photos", "masks"):
        words = ["callbacks=quiet", "supervision.walk_when=better", f"supervision.auto_from={source}"]
        assert run_command(training.main, *small_run(root), *words, f"output_dir={tmp_path / source}") == 0
        state = torch.load(tmp_path / source / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        said = re.findall("labels are from the (CAM|walk) now", capsys.readouterr().out)
        assert ["walk", *said][-1] == ("walk" if state["label_memory.walk_leads"] else "CAM")
        assert all(one != other for one, other in pairwise(["walk", *said]))
