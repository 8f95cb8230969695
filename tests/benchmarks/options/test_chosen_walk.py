"""The walk where it splits the colors better: which labels are taken, and when."""

from __future__ import annotations

import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.ops.image import normalize
from afa_wsss.supervision import AFALabels, NoRefinement
from afa_wsss.supervision.found_thresholds import CANDIDATES, Look
from benchmarks.options import ChosenWalkLabels

SETTINGS = {"first_step": 0, "walk_first_step": 4, "cam_scales": (1.0,), "radius": 2, "low": "auto", "high": "auto"}


def look(best: float) -> Look:
    """Two photos with a mean split of ``best`` at one candidate and less at the others."""
    splits = torch.full((2, len(CANDIDATES)), 0.01)
    splits[:, 7] = torch.tensor([best / 2, best * 3 / 2])
    return Look(splits, torch.linspace(1, 0, len(CANDIDATES)).expand(2, -1), torch.ones(2))


@pytest.fixture
def maker():
    return ChosenWalkLabels(**SETTINGS, refinement=NoRefinement())


def test_the_walk_is_taken_until_it_was_looked_at(maker) -> None:
    assert maker.walk_splits_better()
    maker.memory.update(look(0.5), None)
    assert maker.walk_splits_better()


@pytest.mark.parametrize(("before", "after", "better"), [(0.2, 0.3, True), (0.3, 0.2, False), (0.3, 0.3, False)])
def test_the_better_split_decides(maker, before, after, better) -> None:
    maker.memory.update(look(before), look(after))
    assert maker.walk_splits_better() == better
    for _ in range(40):  # what was seen before is forgotten
        maker.memory.update(look(0.3), look(0.5))
    assert maker.walk_splits_better()


@pytest.mark.parametrize("better", [False, True])
@torch.no_grad()
def test_labels_are_those_before_the_walk_where_it_does_not_help(network, batch, maker, better) -> None:
    maker.memory.update(look(0.3), look(0.5 if better else 0.1))
    plain = AFALabels(**SETTINGS, refinement=NoRefinement())
    plain.memory.load_state_dict(maker.memory.state_dict())
    images = normalize(batch.images)
    output = network.eval()(images)
    for step in (3, 9):
        found = maker.targets(network, batch, images, output, step=step)
        wanted = plain.targets(network, batch, images, output, step=step if better else 3)
        assert torch.equal(found.pseudo_label, wanted.pseudo_label)
        assert torch.equal(found.pair_labels.tokens, wanted.pair_labels.tokens)
    stages, usual = (one.stages(network, batch, images, output) for one in (maker, plain))
    assert list(stages) == list(usual)
    chosen = "pseudo_label" if better else "cam"
    assert torch.equal(stages["pseudo_label"].labels, usual[chosen].labels)
    assert torch.equal(stages["walk"].labels, usual["walk"].labels)


def test_numbers_in_place_of_auto_are_refused() -> None:
    with pytest.raises(UserError, match="need low, high or background to be auto"):
        ChosenWalkLabels()


def test_trains(train_option) -> None:
    scores, _ = train_option("chosen")
    assert scores["val/pseudo_label_miou"] > 0
